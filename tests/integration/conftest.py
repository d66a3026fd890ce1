from __future__ import annotations

import asyncio
import fcntl
import functools
import hashlib
import json
import logging
import os
import re
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from airflow_names import IS_AIRFLOW_2
from fake_airflow import TaskInstance, context_of
from waiting import limited

from airflow_provider_trigger._compat import airflow_version
from airflow_provider_trigger.testing import TriggerDevServer


@dataclass
class DagRunResult:
    """What a Dag run left in Airflow's database."""

    dag_id: str
    state: str
    states: dict[str, list[str]]
    tries: dict[str, list[int]]
    xcoms: dict[str, Any]
    pushed: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    """All XComs by task id and key, of a mapped task in the order of its instances."""


class Said:
    """All that was logged or printed since the test began."""

    def __init__(self, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
        self._capfd = capfd
        self._caplog = caplog
        self._printed = ""

    @property
    def text(self) -> str:
        # Airflow's loggers print on some versions, and hand records on at others.
        self._printed += "".join(self._capfd.readouterr())
        return self._printed + self._caplog.text

    def lines(self, *words: str) -> list[str]:
        """Return the lines that have all these words, each once."""
        printed, logged = self.text, self._caplog.text
        for text in (logged, printed):
            if found := [line for line in text.splitlines() if all(word in line for word in words)]:
                return _without_copies(found)
        return []


def _without_copies(lines: list[str]) -> list[str]:
    # Under dag.test() Airflow 2.11 prints each line in two formats, which show the same millisecond.
    stamp = re.compile(r"\[(.{10}).(.{8})[.,](\d{3})[^]]*\] (.*)")
    found: dict[Any, str] = {}
    for number, line in enumerate(lines):
        match = stamp.fullmatch(line)
        found.setdefault(match.groups() if match else number, line)
    return list(found.values())


@dataclass
class Ended:
    """How a try of a task ended."""

    output: Any = None
    error: BaseException | None = None
    pushed: dict[str, Any] = field(default_factory=dict)

    @property
    def results(self) -> list[dict[str, Any]]:
        """Return what it says of each run that it canceled; after an error, XCom does."""
        return self.output or self.pushed.get("return_value", [])

    @property
    def outcomes(self) -> list[str]:
        return [result["outcome"] for result in self.results]


@pytest.fixture(autouse=True)
def limit_of_the_test() -> Iterator[None]:
    with limited():
        yield


@pytest.fixture
def said(capfd, caplog) -> Said:
    caplog.set_level(logging.INFO)
    if find_spec("structlog"):
        structlog: Any = import_module("structlog")
        if not structlog.is_configured():  # dag.test() of Airflow 3.0 prints debug lines, with all of XCom
            structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    return Said(capfd, caplog)


@pytest.fixture
def connect(server, connection_to) -> Callable[..., str]:
    """Change the connection; by default it leads to the local server, and repeats failures for 2 s."""

    def change(
        *, conn_id: str = "trigger_dev_default", host: str | None = None, key: str | None = None, **extra: Any
    ) -> str:
        leads_to = SimpleNamespace(url=host or server.url, secret_key=key or server.secret_key)
        return connection_to(leads_to, conn_id, **{"timeout": 10, "retry_for": 2} | extra)

    return change


@pytest.fixture
def secure_server(certificate) -> Iterator[TriggerDevServer]:
    """A server of https whose certificate is signed by itself only."""
    with TriggerDevServer(ssl_certfile=certificate.file, ssl_keyfile=certificate.key) as server:
        yield server


@pytest.fixture
def send(server) -> Callable[..., requests.Response]:
    """Send a request with the key of the local server to it."""

    def request(method: str, path: str, *, timeout: float = 10, **body: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {server.secret_key}", "x-trigger-api-version": "2025-07-16"}
        options: dict[str, Any] = {"headers": headers, "timeout": timeout, "allow_redirects": False}
        return requests.request(method, server.url + path, **options, **body)

    return request


@pytest.fixture
def make_operator() -> Callable[..., Any]:
    from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

    def make(*run_ids: Any, **options: Any) -> Any:
        """Make an operator for run ids, or for the runs of the local server themselves."""
        ids = [getattr(run_id, "id", run_id) for run_id in run_ids]
        return CancelTriggerRunOperator(task_id="cancel_runs", run_ids=ids or None, **options)

    return make


@pytest.fixture
def run_try(connection) -> Callable[..., Ended]:
    """
    Execute an operator as a try of a task instance, without a database.

    A deferred one waits in its trigger, as in the triggerer: made anew of what it serialized.
    """

    def run(operator: Any, **ti: Any) -> Ended:
        instance = TaskInstance(**dict[str, Any](task_id="start", max_tries=2) | ti)
        ended = Ended()
        try:
            ended.output = _in_its_trigger(operator, context_of(instance))
        except BaseException as raised:
            ended.error = raised
        ended.pushed = instance.pushed
        assert json.loads(json.dumps(ended.results)) == ended.results
        return ended

    return run


@pytest.fixture
def cancel(run_try, make_operator) -> Callable[..., Ended]:
    """Execute the operator for some runs of the local server, or for any ids."""
    return lambda *runs, **options: run_try(make_operator(*runs, **options))


async def _event_of(trigger: Any) -> Any:
    async for event in trigger.run():
        return json.loads(json.dumps(event.payload))
    raise AssertionError("the trigger ended without an event")


def _in_its_trigger(operator: Any, context: dict[str, Any]) -> Any:
    try:
        from airflow.sdk.exceptions import TaskDeferred
    except ImportError:  # before 3.2
        from airflow.exceptions import TaskDeferred
    try:
        return operator.execute(context)
    except TaskDeferred as deferred:
        path, arguments = deferred.trigger.serialize()
        module, _, name = path.rpartition(".")
        trigger = getattr(import_module(module), name)(**json.loads(json.dumps(arguments)))
        method = getattr(operator, deferred.method_name)
    return method(context, asyncio.run(_event_of(trigger)))


@pytest.fixture
def meanwhile() -> Iterator[Callable[..., None]]:
    """Do something in a thread as soon as a condition holds."""
    threads, stopped, errors = [], threading.Event(), []

    def start(condition: Callable[[], Any], act: Callable[[], Any]) -> None:
        def wait() -> None:
            try:
                while not condition() and not stopped.is_set():
                    time.sleep(0.02)
                if not stopped.is_set():
                    act()
            except BaseException as error:
                errors.append(error)

        threads.append(threading.Thread(target=wait))
        threads[-1].start()

    yield start
    stopped.set()
    for thread in threads:
        thread.join()
    assert not errors


@pytest.fixture
def no_environment(monkeypatch) -> None:
    """Leave no proxy and no CA file to the environment."""
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    for name in (*proxies, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A SQLite database that ``airflow db migrate`` has made, once for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    folder = base if worker_id == "master" else base.parent
    database = folder / "migrated.db"
    with (folder / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.exists():
            home = tmp_path_factory.mktemp("airflow_to_migrate")
            subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                check=True,
                capture_output=True,
                env=os.environ | {"AIRFLOW_HOME": str(home)},
            )
            (home / "airflow.db").rename(database)
    return database


@pytest.fixture(scope="session")
def dags_folder(migrated_database: Path) -> Path:
    """The Dags folder of an Airflow with a migrated database."""
    home = Path(os.environ["AIRFLOW_HOME"])
    folder = home / "dags"
    folder.mkdir(exist_ok=True)
    with sqlite3.connect(migrated_database) as migrated, sqlite3.connect(home / "airflow.db") as mine:
        migrated.backup(mine)
    _make_the_api_server_once()
    return folder


def _make_the_api_server_once() -> None:
    """Let ``dag.test()`` of Airflow 3.0 to 3.2 make its API server once, as 3.3 does: it takes seconds."""
    if airflow_version().startswith(("3.0.", "3.1.", "3.2.")):
        supervisor: Any = import_module("airflow.sdk.execution_time.supervisor")
        supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)


@pytest.fixture
def run_dag(dags_folder: Path) -> Callable[..., DagRunResult]:
    """Run a Dag's source with ``dag.test()``; give the Dag's id if the source has several."""

    def run(
        source: str | Path, conf: dict[str, Any] | None = None, *, dag_id: str | None = None, **options: Any
    ) -> DagRunResult:
        for old in dags_folder.glob("*.py"):
            old.unlink()
        text = source.read_text() if isinstance(source, Path) else source
        # Its own name: instead of a source that replaces another one of the same length in the same second,
        # Python loads the bytecode of that one.
        file = dags_folder / f"dag_{_digest(text)}.py"
        file.write_text(text)
        dag = _load(file, dag_id)
        return _result(dag.test(run_conf=conf or {}, **options))

    return run


_TASKS = """
try:
    from airflow.sdk import DAG, task, task_group
except ImportError:  # 2.11
    from airflow.decorators import task, task_group
    from airflow.models.dag import DAG
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor

def show(context):
    # Under dag.test() Airflow 3.0 writes no error of a task.
    print(f"{type(context['exception']).__name__}: {context['exception']}")

shown = {"retry_delay": 0, "on_failure_callback": show, "on_retry_callback": show}

with DAG(dag_id=%r, schedule=None, default_args=shown, %s):
"""


@pytest.fixture
def errors_in_callbacks(monkeypatch) -> None:
    """Hand a task's error to its callbacks under dag.test() of Airflow 3.0, as its real task process does."""
    if airflow_version().startswith("3.0."):
        task_runner = import_module("airflow.sdk.execution_time.task_runner")
        finalize = task_runner.finalize

        def finalize_with_error(ti: Any, state: Any, context: Any, log: Any, error: Any = None) -> None:
            context["exception"] = error
            finalize(ti, state, context, log, error)

        monkeypatch.setattr(task_runner, "finalize", finalize_with_error)


@pytest.fixture
def run_tasks(run_dag, connection, errors_in_callbacks) -> Callable[..., DagRunResult]:
    """Run a Dag of these tasks with ``dag.test()``; what a task fails with is printed."""

    def run(tasks: str, conf: dict[str, Any] | None = None, *, dag: str = "", **options: Any) -> DagRunResult:
        # For a while Airflow 3.1 goes on using what it knows of a Dag, whose file has changed.
        dag_id = f"dag_{_digest(tasks + dag)}"
        source = _TASKS % (dag_id, dag) + textwrap.indent(textwrap.dedent(tasks), "    ")
        return run_dag(source, conf, **options)

    return run


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _load(file: Path, dag_id: str | None) -> Any:
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before 3.2
        from airflow.models.dagbag import DagBag
    bag: Any = DagBag(dag_folder=file)
    assert not bag.import_errors, bag.import_errors
    has_outlets = any(task.outlets for dag in bag.dags.values() for task in dag.tasks)
    # Later dag.test() does so; without it, an asset is not active, and has no events.
    if has_outlets and IS_AIRFLOW_2:
        bag.sync_to_db()
    elif has_outlets and airflow_version().startswith("3.0."):
        from airflow.dag_processing.bundles.manager import DagBundlesManager

        DagBundlesManager().sync_bundles_to_db()
        bag.sync_to_db("dags-folder", None)
    if dag_id is not None:
        return bag.dags[dag_id]
    (dag,) = bag.dags.values()
    return dag


def _result(dag_run: Any) -> DagRunResult:
    try:
        from airflow.models.xcom import XComModel
    except ImportError:  # 2.11
        from airflow.models.xcom import XCom as XComModel
    from airflow.utils.session import create_session

    states: dict[str, list[str]] = {}
    tries: dict[str, list[int]] = {}
    for ti in dag_run.get_task_instances():
        states.setdefault(ti.task_id, []).append(str(ti.state))
        tries.setdefault(ti.task_id, []).append(ti.try_number)
    pushed: dict[tuple[str, str], list[Any]] = {}
    with create_session() as session:
        rows = session.query(XComModel).filter_by(dag_id=dag_run.dag_id, run_id=dag_run.run_id)
        for row in rows.order_by(XComModel.map_index):
            # XComModel.deserialize_value would read a text such as "123" as JSON.
            pushed.setdefault((row.task_id, row.key), []).append(row.value)
    xcoms = {task_id: values[-1] for (task_id, key), values in pushed.items() if key == "return_value"}
    return DagRunResult(
        dag_id=dag_run.dag_id,
        state=str(dag_run.state),
        states=states,
        tries=tries,
        xcoms=xcoms,
        pushed=pushed,
    )
