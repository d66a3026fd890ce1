"""Every default value, once. Imports nothing, so that a Dag's parse pays nothing for it."""

from __future__ import annotations

CONN_ID = "trigger_dev_default"
XCOM_KEY = "return_value"

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

POLL_INTERVAL = 2.0
"""Between two status checks of a run while waiting for it, in seconds."""

TERMINATION_TIMEOUT = 90.0
"""How long to wait until canceled runs are terminated, in seconds."""

NOTIFIER_TIMEOUT = 30.0
"""The time limit of a notifier, in seconds."""
