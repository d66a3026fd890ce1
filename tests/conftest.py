from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

# Before anything imports Airflow, which reads these once and would else make a home of its own; and what a
# developer has set for another Airflow must not be used.
for name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
    del os.environ[name]
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-provider-trigger-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"

from airflow_provider_trigger.testing import TriggerDevServer


@pytest.fixture
def server() -> Iterator[TriggerDevServer]:
    """A local Trigger.dev server whose workers acknowledge a cancel almost at once."""
    with TriggerDevServer(acknowledge_after=0.05) as server:
        yield server


@pytest.fixture
def connection(server: TriggerDevServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of an Airflow connection to the server; failures are given up after 2 s."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_TRIGGER_DEV_DEFAULT",
        json.dumps(
            {
                "conn_type": "trigger_dev",
                "host": server.url,
                "password": server.secret_key,
                "extra": {"timeout": 2, "retry_for": 2},
            }
        ),
    )
    return "trigger_dev_default"
