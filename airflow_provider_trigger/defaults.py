"""The default value of each public argument, and the keys of XComs, once. Imports nothing."""

from __future__ import annotations

CONN_ID = "trigger_dev_default"

API_URL = "https://api.trigger.dev"
DASHBOARD_URL = "https://cloud.trigger.dev"

REQUEST_TIMEOUT = 30.0
"""For one request, in seconds."""

RETRY_FOR = 120.0
"""How long one call is repeated, in seconds."""

RATE_LIMIT_RESERVE = 0.05
"""The share of the rate limit's bucket that is left to the application, 0 to 1."""

MAX_CONCURRENCY = 32
"""How many requests are in flight at a time."""

MAX_RUNS = 1000
"""How many runs may be canceled that are found by tags and batches."""

POLL_INTERVAL = 2.0
"""Between two status checks of a run while waiting for it, in seconds."""

BULK_ACTION_NAME = "Canceled by Apache Airflow"
"""The name of bulk actions in the dashboard."""

TERMINATION_TIMEOUT = 90.0
"""How long to wait until canceled runs are terminated, in seconds."""

NOTIFIER_TIMEOUT = 30.0
"""The time limit of a notifier, in seconds."""

PENDING_VERSION_TIMEOUT = 300.0
"""How long a run may wait for a deployed version that has its task, in seconds."""

MAX_OUTPUT_SIZE = 1024 * 1024
"""The largest output that goes into XCom, in bytes of JSON; a larger one is replaced by a reference."""

AUTOMATIC_KEY = "auto"
"""The idempotency key of a run is made of what identifies its task instance."""

TAGS_OF_OURS = 3
"""How many tags the provider adds to those of a run: its Dag, its Dag run and its task."""

BULK_FROM = 300
"""From more runs on, a cancel and a check for each would use up the default rate limit's burst of 750."""

BULK_FROM_AT_A_STOP = 20
"""The same where tasks were ended from outside: many more may follow, and the rate limit may be used up."""

EVENT_HOLD = 10.0
"""How long after a deferral its trigger sends an event at the earliest, in seconds, before Airflow 3.4."""

LONGEST_EVENT_HOLD = 30.0
"""The same where Airflow is slow, at most."""

PACKED_ABOVE = 1000
"""Above so many run ids a trigger's arguments are compressed: 1,473 exceed the 64 KB of MySQL (measured)."""

RETURN_VALUE_KEY = "return_value"
"""What a task returns."""

RUN_ID_KEY = "run_id"
"""The run that a task has started; a list of those of a batch, with None for one that is not known yet."""

RUN_URL_KEY = "run_url"
"""That run's page in the dashboard, or the first one's."""

RUN_KEY = "run"
"""What is known of that run at its end: status, times, cost and more."""

RESULTS_KEY = "results"
"""What became of each run of a batch."""
