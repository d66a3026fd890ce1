"""The keys of XComs, and which operators push them. Imports nothing."""

from __future__ import annotations

RETURN_VALUE_KEY = "return_value"
"""What a task returns."""

RUN_ID_KEY = "run_id"
"""The run that a task has started."""

RUN_URL_KEY = "run_url"
"""That run's page in the dashboard."""

STARTS_RUNS = frozenset({"RunTriggerTaskOperator", "ReplayTriggerRunOperator"})
"""The operators whose tasks push ``RUN_ID_KEY`` and ``RUN_URL_KEY``."""
