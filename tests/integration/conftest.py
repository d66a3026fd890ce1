from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest


@dataclass
class DagRunResult:
    """What a Dag run left in Airflow's database."""

    state: str
    states: dict[str, list[str]]
    tries: dict[str, list[int]]
    xcoms: dict[str, Any]


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
                return found
        return []


@dataclass
class FakeTaskInstance:
    """The part of a task instance that operators and callbacks use."""

    xcoms: dict[str, Any] = field(default_factory=dict)
    pushed: dict[str, Any] = field(default_factory=dict)

    def xcom_pull(self, *, task_ids: str, key: str = "return_value") -> Any:
        return self.xcoms.get(task_ids) if key == "return_value" else None

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


@dataclass
class Execution:
    """How a task ended, and what is in its XCom then."""

    results: list[dict[str, Any]]
    error: BaseException | None

    @property
    def outcomes(self) -> list[str]:
        return [result["outcome"] for result in self.results]

    def of(self, run: Any) -> dict[str, Any]:
        (result,) = [result for result in self.results if result["run_id"] == run.id]
        return result


@pytest.fixture
def said(capfd, caplog) -> Said:
    caplog.set_level(logging.INFO)
    return Said(capfd, caplog)


@pytest.fixture
def connect(server, monkeypatch) -> Callable[..., str]:
    """Change the connection; by default it leads to the local server, and gives up after 2 s."""

    def change(
        *, conn_id: str = "trigger_dev_default", host: str | None = None, key: str | None = None, **extra: Any
    ) -> str:
        fields = {
            "conn_type": "trigger_dev",
            "host": host or server.url,
            "password": key or server.secret_key,
        }
        fields["extra"] = {"timeout": 2, "retry_for": 2} | extra
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        return conn_id

    return change


@pytest.fixture
def make_context() -> Callable[..., dict[str, Any]]:
    """Make a context with a real Dag and a task instance that holds XComs by task id."""

    def make(xcoms: dict[str, Any] | None = None, tasks: list[str] | None = None) -> dict[str, Any]:
        try:
            from airflow.sdk import DAG, BaseOperator
        except ImportError:  # 2.11
            from airflow.models.baseoperator import BaseOperator
            from airflow.models.dag import DAG
        xcoms = xcoms or {}
        with DAG(dag_id="a_dag", schedule=None) as dag:
            for task_id in xcoms if tasks is None else tasks:
                BaseOperator(task_id=task_id)
        return {"ti": FakeTaskInstance(xcoms), "dag": dag, "run_id": "manual_1"}

    return make


@pytest.fixture
def make_operator() -> Callable[..., Any]:
    from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

    def make(*run_ids: Any, **options: Any) -> Any:
        """Make an operator for run ids, or for the runs of the local server themselves."""
        ids = [getattr(run_id, "id", run_id) for run_id in run_ids]
        return CancelTriggerRunOperator(task_id="cancel_runs", run_ids=ids or None, **options)

    return make


@pytest.fixture
def execute(connection, make_context) -> Callable[..., Execution]:
    """Execute an operator without a database, as a task does otherwise."""

    def run(operator: Any, *, xcoms: dict[str, Any] | None = None, tasks: Any = None) -> Execution:
        context = make_context(xcoms, tasks)
        error, results = None, None
        try:
            results = operator.execute(context)
        except BaseException as raised:
            error = raised
        if results is None:
            results = context["ti"].pushed.get("return_value", [])
        assert json.loads(json.dumps(results)) == results
        return Execution(results=results, error=error)

    return run


@pytest.fixture
def cancel(execute, make_operator) -> Callable[..., Execution]:
    """Execute the operator for some runs of the local server, or for any ids."""

    def run(*runs: Any, xcoms: dict[str, Any] | None = None, tasks: Any = None, **options: Any) -> Execution:
        return execute(make_operator(*runs, **options), xcoms=xcoms, tasks=tasks)

    return run


@pytest.fixture
def quick_checks(monkeypatch) -> None:
    """Check a run again sooner that seems to be alive after its cancel."""
    from airflow_provider_trigger.cancel import record

    monkeypatch.setattr(record, "RECHECK_AFTER", (0.05, 0.1, 0.1))


@pytest.fixture
def texts_behind() -> Callable[[BaseException], list[str]]:
    """Return all texts that an error leads to: attributes, causes, contexts, but not its frames."""

    def collect(thing: Any, seen: dict[int, Any]) -> None:
        if id(thing) in seen:
            return
        seen[id(thing)] = thing
        has_attributes = hasattr(thing, "__dict__") and not isinstance(thing, type)
        parts = list(vars(thing).values()) if has_attributes else []
        if isinstance(thing, BaseException):
            parts += [thing.__cause__, thing.__context__, *thing.args]
        elif isinstance(thing, dict):
            parts += [*thing, *thing.values()]
        elif isinstance(thing, (list, tuple, set)):
            parts += thing
        for part in parts:
            collect(part, seen)

    def texts(error: BaseException) -> list[str]:
        seen: dict[int, Any] = {}
        collect(error, seen)
        return [str(thing) for thing in seen.values() if isinstance(thing, (str, bytes))]

    return texts


@pytest.fixture(scope="session")
def dags_folder() -> Path:
    """The Dags folder of an Airflow with a migrated database."""
    folder = Path(os.environ["AIRFLOW_HOME"]) / "dags"
    folder.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
    return folder


@pytest.fixture
def run_dag(dags_folder: Path) -> Callable[..., DagRunResult]:
    """Run a Dag's source, which has one Dag, with ``dag.test()``."""

    def run(source: str | Path, conf: dict[str, Any] | None = None) -> DagRunResult:
        for old in dags_folder.glob("*.py"):
            old.unlink()
        file = dags_folder / "a_dag.py"
        file.write_text(source.read_text() if isinstance(source, Path) else source)
        dag = _load(file)
        return _result(dag.test(run_conf=conf or {}))

    return run


def _load(file: Path) -> Any:
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before 3.2
        from airflow.models.dagbag import DagBag
    bag = DagBag(dag_folder=file)
    assert not bag.import_errors, bag.import_errors
    (dag,) = bag.dags.values()
    return dag


def _result(dag_run: Any) -> DagRunResult:
    try:
        from airflow.models.xcom import XComModel

        read: Callable[[Any], Any] = XComModel.deserialize_value
    except ImportError:  # 2.11, whose rows come deserialized
        from airflow.models.xcom import XCom as XComModel

        read = attrgetter("value")
    from airflow.utils.session import create_session

    states: dict[str, list[str]] = {}
    tries: dict[str, list[int]] = {}
    for ti in dag_run.get_task_instances():
        states.setdefault(ti.task_id, []).append(str(ti.state))
        tries.setdefault(ti.task_id, []).append(ti.try_number)
    with create_session() as session:
        xcoms = {
            row.task_id: read(row)
            for row in session.query(XComModel).filter_by(run_id=dag_run.run_id, key="return_value")
        }
    return DagRunResult(state=str(dag_run.state), states=states, tries=tries, xcoms=xcoms)
