"""The keys of XComs, and which operators push them. Imports nothing."""

from __future__ import annotations

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

STARTS_RUNS = frozenset({"RunTriggerTaskOperator", "RunTriggerTaskBatchOperator", "ReplayTriggerRunOperator"})
"""The operators whose tasks push ``RUN_ID_KEY`` and ``RUN_URL_KEY``."""
