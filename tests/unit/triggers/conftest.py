"""What the tests of triggers share: a triggerer in virtual time, a connection that changes, and a log."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_log import Log

from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger


@pytest.fixture
def set_connection(server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Set a connection to the server, the default one unless another id is given, and return its id."""

    def change(
        key: str = server.secret_key, *, conn_id: str = "", host: str = server.url, **extra: Any
    ) -> str:
        conn_id = conn_id or "trigger_dev_default"
        fields = {"conn_type": "trigger_dev", "host": host, "password": key, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        return conn_id

    return change


@pytest.fixture
def log(keep_log) -> Log:
    """The log of triggers."""
    kept: Log = keep_log(TriggerDevRunTrigger)
    return kept
