"""The default value of each public argument, and the keys of XComs and metadata, once. Imports nothing."""

from __future__ import annotations

CONN_ID = "trigger_dev_default"
API_URL = "https://api.trigger.dev"
DASHBOARD_URL = "https://cloud.trigger.dev"

# In seconds.
REQUEST_TIMEOUT = 30.0
RETRY_FOR = 120.0  # how long one call is repeated
POLL_INTERVAL = 2.0  # between two status checks of a run while waiting for it
TERMINATION_TIMEOUT = 90.0  # how long to wait until canceled runs are terminated
NOTIFIER_TIMEOUT = 30.0
PENDING_VERSION_TIMEOUT = 300.0  # how long a run may wait for a deployed version that has its task
EVENT_HOLD = 10.0  # how long after a deferral its trigger sends an event at the earliest, before Airflow 3.4
LONGEST_EVENT_HOLD = 30.0  # the same where Airflow is slow, at most

RATE_LIMIT_RESERVE = 0.05  # the share of the rate limit's bucket that is left to the application, 0 to 1
MAX_CONCURRENCY = 32  # how many requests are in flight at a time
MAX_RUNS = 1000  # how many runs that tags and batches find may be canceled or waited for
MAX_OUTPUT_SIZE = 1024 * 1024  # in bytes of JSON; a larger output is replaced in XCom by a reference
AUTOMATIC_KEY = "auto"  # the idempotency key of a run is made of what identifies its task instance
TAGS_OF_OURS = 3  # how many tags the provider adds to those of a run: its Dag, its Dag run and its task
BULK_ACTION_NAME = "Canceled by Apache Airflow"  # in the dashboard
BULK_FROM = 300  # of more runs, a cancel and a check each would use up the default rate limit's burst of 750
BULK_FROM_IN_A_CALLBACK = 99  # a page of the list has 100: more follow, and single cancels slow it down
BULK_FROM_AT_A_STOP = 20  # where tasks were ended from outside: many more may follow, and use up the limit
# Above so many run ids a trigger's arguments are compressed: 1,473 exceed the 64 KB of MySQL (measured).
PACKED_ABOVE = 1000

RETURN_VALUE_KEY = "return_value"
RUN_ID_KEY = "run_id"  # of a batch the ids of all its runs, with None for one that is not known yet
RUN_URL_KEY = "run_url"  # that run's page in the dashboard, or the first one's
RUN_KEY = "run"  # what is known of that run at its end: status, times, cost and more
LINK_KEY = "airflow"  # of a run's metadata: the URL of the log of its task
RESULTS_KEY = "results"  # what became of each run of a batch
