"""One whole Airflow and one local Trigger.dev server for all tests of the session."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from airflow_provider_trigger.testing import TriggerDevServer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from whole_airflow.airflow import WholeAirflow  # noqa: E402
from whole_airflow.postgres import Postgres  # noqa: E402
from whole_airflow.state import State  # noqa: E402
from whole_airflow.versions import AIRFLOW  # noqa: E402


@pytest.fixture(scope="session")
def server() -> Iterator[TriggerDevServer]:
    """Return a Trigger.dev server without a rate limit."""
    with TriggerDevServer(rate_limit=None) as server:
        yield server


@pytest.fixture(scope="session")
def home(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Return a directory for the whole Airflow; it stays when a test has failed."""
    directory = Path(tempfile.mkdtemp(prefix="airflow-e2e-"))
    yield directory
    if request.session.testsfailed:
        print(f"\nThe whole Airflow's files are kept in {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def state(home: Path) -> State:
    """Return what the Dags' tasks tell the tests, and the other way round."""
    return State(home / "state")


@pytest.fixture(scope="session")
def airflow(server: TriggerDevServer, home: Path, state: State) -> Iterator[WholeAirflow]:
    """Return a whole Airflow with the Dags of ``dags/`` and a connection to the server."""
    connection = {"conn_type": "trigger_dev", "host": server.url, "password": server.secret_key}
    environment = {
        "AIRFLOW_CONN_TRIGGER_DEV_DEFAULT": json.dumps(connection),
        "E2E_STATE_DIR": str(state.directory),
    }
    with ExitStack() as stack:
        # Airflow 2.11 refuses the LocalExecutor on SQLite.
        database = stack.enter_context(Postgres()).url if AIRFLOW < (3, 0) else None
        airflow = WholeAirflow(
            home / "airflow", dags=HERE / "dags", environment=environment, database=database
        )
        stack.enter_context(airflow)
        airflow.wait_for_dags("route_fence")
        yield airflow
