"""Every default value, once. Imports nothing, so that a Dag's parse pays nothing for it."""

from __future__ import annotations

CONN_ID = "trigger_dev_default"
XCOM_KEY = "return_value"

RUN_ID_KEY = "run_id"
"""The XCom key of a run that a task has started."""

RUN_URL_KEY = "run_url"
"""The XCom key of its page in the dashboard."""

STARTS_RUNS = frozenset({"RunTriggerTaskOperator", "ReplayTriggerRunOperator"})
"""The operators that push these."""

API_URL = "https://api.trigger.dev"
DASHBOARD_URL = "https://cloud.trigger.dev"

REQUEST_TIMEOUT = 30.0
"""For one request, in seconds."""

RETRY_FOR = 120.0
"""How long one call goes on trying, in seconds."""

RATE_LIMIT_RESERVE = 0.05
"""The share of the rate limit's bucket that is left to the application, 0 to 1."""

MAX_CONCURRENCY = 32
"""How many requests are in flight at a time."""

CHECK_CONCURRENCY = 16
"""How many status checks are in flight at a time where runs are only checked."""

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
"""Of a run's output in XCom, in bytes of JSON; a larger one is replaced by a reference."""

AUTOMATIC_KEY = "auto"
"""The idempotency key of a run is made of what identifies its task instance."""
