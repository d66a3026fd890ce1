"""
One whole Airflow and one local Trigger.dev server for all tests of the session.

The Airflow is the one of the environment that runs pytest. With ``E2E_EXECUTOR=CeleryExecutor`` it is run as
large teams do: PostgreSQL, Redis, two workers, two triggerers. Otherwise it has the LocalExecutor, on SQLite,
or on PostgreSQL for 2.11. What is needed of that comes from Debian's ``postgresql`` and ``redis-server``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import visible
from airflow_names import AIRFLOW_URL
from cryptography.fernet import Fernet

from airflow_provider_trigger.testing import TriggerDevServer

EXECUTOR = os.environ.get("E2E_EXECUTOR", "LocalExecutor")
HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "example_dags"
sys.path.insert(0, str(HERE))

from marker import Marked, marked_servers  # noqa: E402
from whole_airflow.airflow import WholeAirflow  # noqa: E402
from whole_airflow.postgres import Postgres  # noqa: E402
from whole_airflow.state import State  # noqa: E402
from whole_airflow.versions import AIRFLOW, EXAMPLES_WITHOUT_DAG, HAS_WATCHERS  # noqa: E402

AT_ONCE = 4
"""How many tests run side by side: Airflow runs eight tasks at a time."""

_begun: dict[str, Future[None]] = {}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "together: begins with the others of its module, as it mostly waits")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Begin all tests of a module that are marked ``together`` with the first of them; others run alone."""
    if pyfuncitem.get_closest_marker("together") is None:
        wait(_begun.values())
        return None
    if pyfuncitem.nodeid not in _begun:
        pool = ThreadPoolExecutor(AT_ONCE)
        items: list[Any] = [item for item in pyfuncitem.session.items if isinstance(item, pytest.Function)]
        for item in items:
            is_one = item.module is pyfuncitem.module and item.get_closest_marker("together")
            if is_one and not _is_skipped(item):
                _begun[item.nodeid] = pool.submit(item.obj, **_arguments(item, pyfuncitem._request))
        pool.shutdown(wait=False)
    _begun[pyfuncitem.nodeid].result()
    return True


def _is_skipped(item: pytest.Item) -> bool:
    return any(mark.args[0] for mark in item.iter_markers("skipif"))


def _arguments(item: Any, request: Any) -> dict[str, Any]:
    """Return the parameters of a test, and its fixtures, which are of the session or the module."""
    given = item.callspec.params if hasattr(item, "callspec") else {}
    names = item._fixtureinfo.argnames
    return {name: given[name] if name in given else request.getfixturevalue(name) for name in names}


@pytest.fixture(scope="session")
def server() -> Iterator[TriggerDevServer]:
    """Return a Trigger.dev server without a rate limit."""
    with TriggerDevServer(rate_limit=None) as server:
        yield server


@pytest.fixture
def slow_server(server: TriggerDevServer) -> Iterator[TriggerDevServer]:
    """Return the server, which takes its time for each answer."""
    server.latency = 0.3
    yield server
    server.latency = 0


@pytest.fixture(scope="session")
def marked(certificate: Any) -> Iterator[Marked]:
    """Return the servers whose key is a marker that the tests search for."""
    with marked_servers(ssl_certfile=certificate.file, ssl_keyfile=certificate.key) as marked:
        yield marked


@pytest.fixture(scope="session")
def home(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Return a directory for the whole Airflow; it stays when a test has failed."""
    directory = Path(tempfile.mkdtemp(prefix="airflow-e2e-"))
    yield directory
    if request.session.testsfailed:
        capturing = request.config.pluginmanager.getplugin("capturemanager")
        with capturing.global_and_fixture_disabled():
            print(f"\nThe whole Airflow's files are kept in {directory}", file=sys.stderr)
    else:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def state(home: Path) -> State:
    """Return what the Dags' tasks tell the tests, and the other way round."""
    return State(home / "state")


@pytest.fixture(scope="session")
def airflow(server: TriggerDevServer, marked: Marked, home: Path, state: State) -> Iterator[WholeAirflow]:
    """Return a whole Airflow with the Dags of ``dags/``, and connections to the servers."""
    connection = {"conn_type": "trigger_dev", "host": server.url, "password": server.secret_key}
    environment = {
        "AIRFLOW_CONN_TRIGGER_DEV_DEFAULT": json.dumps(connection),
        **marked.environment(),
        "AIRFLOW__CORE__FERNET_KEY": Fernet.generate_key().decode(),
        AIRFLOW_URL: visible.AIRFLOW,
        "E2E_STATE_DIR": str(state.directory),
    }
    examples = {path.stem for path in EXAMPLES.glob("*.py")} - {*EXAMPLES_WITHOUT_DAG}
    with ExitStack() as stack:
        arguments = arguments_of(EXECUTOR, home / "airflow", stack)
        environment |= arguments.pop("environment", {})
        airflow = stack.enter_context(
            WholeAirflow(
                home / "airflow", dags=[HERE / "dags", EXAMPLES], environment=environment, **arguments
            )
        )
        awaited = ("callback_dag_fails", "operator_slow", "route_fence", "secret_key", "visible")
        airflow.wait_for_dags(*awaited, *examples)
        if HAS_WATCHERS:  # the runs of other tests would start it
            airflow.api.watch("on_run_end", begins=False)
        yield airflow


def arguments_of(executor: str, home: Path, stack: ExitStack) -> dict[str, Any]:
    """Start what an executor needs beside Airflow, and return what a WholeAirflow has to know of it."""
    if executor == "LocalExecutor":
        # Airflow 2.11 refuses the LocalExecutor on SQLite.
        return {"database": stack.enter_context(Postgres()).url} if AIRFLOW < (3, 0) else {}
    assert executor == "CeleryExecutor", f"E2E_EXECUTOR is LocalExecutor or CeleryExecutor, not {executor}"
    from whole_airflow import celery

    database = stack.enter_context(Postgres()).url
    broker = stack.enter_context(celery.redis_server())
    return {
        "executor": executor,
        "database": database,
        "environment": celery.environment(broker=broker, database=database),
        "extra_components": celery.components(home),
    }
