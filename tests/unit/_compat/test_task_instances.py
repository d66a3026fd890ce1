"""XComs and task instances, as each Airflow keeps them."""

from __future__ import annotations

import inspect
import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import pytest
from sqlalchemy import Column, Integer, String, create_engine
from sqlalchemy.orm import configure_mappers, declarative_base, sessionmaker

from airflow_provider_trigger import _compat

TASK_RUNNER = "airflow.sdk.execution_time.task_runner"


# Supervisors


def process(monkeypatch: pytest.MonkeyPatch, **names: Any) -> None:
    """Let the module of a process of Airflow 3 have these names."""
    module = ModuleType(TASK_RUNNER)
    vars(module).update(names)
    monkeypatch.setitem(sys.modules, TASK_RUNNER, module)


@pytest.mark.parametrize(
    ("module", "has_comms", "expected"),
    [
        (TASK_RUNNER, False, True),
        (TASK_RUNNER, True, False),
        ("airflow.models.taskinstance", False, False),
        ("builtins", False, False),
    ],
)
def test_only_a_task_instance_of_airflow_3_needs_a_supervisor(
    module: str, has_comms: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    process(monkeypatch, **({"SUPERVISOR_COMMS": SimpleNamespace()} if has_comms else {}))
    ti = type("TaskInstance", (), {"__module__": module})()
    assert _compat.has_no_supervisor(ti) is expected


@pytest.mark.parametrize(
    ("known", "expected"),
    [(None, False), (("ConnectionResult", "XComResult"), False), (("ConnectionResult", "Error"), True)],
)
def test_a_process_that_knows_no_answer_with_an_xcom_cannot_be_given_one(
    known: Any, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    comms = SimpleNamespace()
    if known:
        pydantic = pytest.importorskip("pydantic", reason="an Airflow without it has no supervisor either")
        answer = pydantic.create_model("Answer", type=(Literal[known], ...))
        comms.body_decoder = pydantic.TypeAdapter(answer)
    process(monkeypatch, SUPERVISOR_COMMS=comms)
    assert _compat.xcom_is_out_of_reach() is expected
    monkeypatch.delitem(sys.modules, TASK_RUNNER)
    assert not _compat.xcom_is_out_of_reach()


@pytest.mark.parametrize(
    ("comms", "expected"),
    [(None, True), (SimpleNamespace(_thread_lock=None), True), (SimpleNamespace(send=None), False)],
    ids=["no supervisor", "one request at a time", "3.0, dag.test()"],
)
def test_a_thread_pulls_an_xcom_only_where_answers_cannot_be_mixed_up(
    comms: Any, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    process(monkeypatch, **({"SUPERVISOR_COMMS": comms} if comms else {}))
    assert _compat.may_pull_in_thread() is expected


# XComs


TI = SimpleNamespace(dag_id="d", task_id="work", run_id="manual_1", map_index=2, try_number=1)


def test_an_xcom_is_that_of_one_task_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    xcom = _compat.__getattr__("XCom")
    signature = inspect.signature(xcom.get_one)

    def get_one(**given: Any) -> str:
        signature.bind(**given)  # Airflow's own takes these
        asked.append(given)
        return "run_1"

    monkeypatch.setattr(xcom, "get_one", get_one)
    assert _compat.xcom_of(TI, key="run_id") == "run_1"
    assert asked == [
        {"key": "run_id", "dag_id": "d", "task_id": "work", "run_id": "manual_1", "map_index": 2}
    ]


# Whether a task is still deferred: Airflow 2.11 asks its database


class Table:
    """A table of task instances in a database of its own, and the modules by which it is found."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        base = declarative_base()

        class TaskInstance(base):  # type: ignore[valid-type,misc]
            __tablename__ = "task_instance"
            dag_id, task_id = Column(String, primary_key=True), Column(String, primary_key=True)
            run_id, map_index = Column(String, primary_key=True), Column(Integer, primary_key=True)
            state, trigger_id = Column(String), Column(Integer)

        TaskInstance.__module__ = "airflow.models.taskinstance"
        configure_mappers()  # Airflow imports all of its own models then
        self.kind = TaskInstance
        engine = create_engine("sqlite://")
        base.metadata.create_all(engine)
        self.session = sessionmaker(engine)()
        model, session = ModuleType("airflow.models.taskinstance"), ModuleType("airflow.utils.session")
        model.TaskInstance = TaskInstance  # type: ignore[attr-defined]
        session.create_session = lambda: nullcontext(self.session)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, model.__name__, model)
        monkeypatch.setitem(sys.modules, session.__name__, session)

    def add(self, state: str | None, trigger_id: int | None, **fields: Any) -> Any:
        ids: dict[str, Any] = {"dag_id": "d", "task_id": "work", "run_id": "manual_1", "map_index": -1}
        ti = self.kind(state=state, trigger_id=trigger_id, **ids | fields)
        self.session.add(ti)
        self.session.commit()
        return ti


@pytest.mark.parametrize(
    ("state", "trigger_id", "expected"),
    [
        ("deferred", 17, True),
        ("deferred", 18, False),  # another try, after a clear
        ("deferred", None, False),
        ("failed", 17, False),
        ("success", None, False),
        (None, None, False),
        ("deleted", None, False),
    ],
)
def test_airflow_2_knows_by_state_and_trigger(
    state: str | None, trigger_id: int | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(monkeypatch)
    ti = table.add(state, trigger_id)
    table.add("deferred", 17, map_index=5)
    table.add("deferred", 17, run_id="manual_2")
    if state == "deleted":
        table.session.delete(ti)
        table.session.commit()
    assert _compat.is_still_deferred(ti, 17, ["run_1"]) is expected


# Airflow 3 asks its supervisor


DEFERRED = {"manual_1": {"work_2": "deferred"}}


@pytest.mark.parametrize(
    ("states", "xcom", "expected"),
    [
        (DEFERRED, '["run_1", null]', True),  # as an XCom backend may return a list
        (DEFERRED, '["run_2"]', False),
        (DEFERRED, "run_1", True),
        (DEFERRED, None, True),  # of a try that could not push it
        (DEFERRED, "run_2", False),  # another try's, after a clear
        (DEFERRED, ["run_1", None], True),  # a batch's
        (DEFERRED, ["run_1", "run_2"], False),
        ({"manual_1": {"work_2": "failed"}}, "run_1", False),
        ({"manual_1": {"work_2": "running"}}, "run_1", False),
        ({"manual_1": {"work_2": None}}, "run_1", False),
        ({"manual_1": {}}, "run_1", False),
        ({}, "run_1", False),
    ],
)
def test_airflow_3_knows_by_state_and_the_run_in_xcom(
    states, xcom, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def get_task_states(**question: Any) -> Any:
        asked.append(question)
        return states

    process(monkeypatch, RuntimeTaskInstance=SimpleNamespace(get_task_states=get_task_states))
    monkeypatch.setattr(_compat, "xcom_of", lambda ti, key: (ti, key) == (TI, "run_id") and xcom)
    assert _compat.is_still_deferred(TI, 17, ["run_1"]) is expected
    assert asked == [{"dag_id": "d", "task_ids": ["work"], "run_ids": ["manual_1"], "map_index": 2}]
