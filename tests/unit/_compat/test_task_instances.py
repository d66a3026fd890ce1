"""XComs and task instances, as each Airflow keeps them."""

from __future__ import annotations

import inspect
import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import pytest
from sqlalchemy import Column, Integer, String, create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import configure_mappers, declarative_base, sessionmaker

from airflow_provider_trigger import _compat
from airflow_provider_trigger._compat import task_instances

COMPAT = "airflow.providers.common.compat.connection"
TASK_RUNNER = "airflow.sdk.execution_time.task_runner"


def supervised(name: str = "airflow.sdk.execution_time.task_runner") -> Any:
    """Build a task instance of a class in this module."""
    return type("TaskInstance", (), {"__module__": name})()


def test_a_task_instance_of_airflow_3_needs_a_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    process(monkeypatch, None)
    assert task_instances.has_no_supervisor(supervised())
    process(monkeypatch, SimpleNamespace())
    assert not task_instances.has_no_supervisor(supervised())


def test_another_task_instance_needs_no_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    process(monkeypatch, None)
    assert not task_instances.has_no_supervisor(supervised("airflow.models.taskinstance"))
    assert not task_instances.has_no_supervisor(None)


def process(monkeypatch: pytest.MonkeyPatch, comms: Any) -> None:
    module = ModuleType(TASK_RUNNER)
    if comms is not None:
        module.SUPERVISOR_COMMS = comms  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, TASK_RUNNER, module)


def decoder(*types: str) -> SimpleNamespace:
    """Build what a process decodes its supervisor's answers with: it knows these types of them."""
    pydantic = pytest.importorskip("pydantic", reason="an Airflow without it has no supervisor either")
    answer = pydantic.create_model("Answer", type=(Literal[types], ...))
    return SimpleNamespace(body_decoder=pydantic.TypeAdapter(answer))


def test_a_process_that_knows_no_answer_with_an_xcom_cannot_be_given_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process(monkeypatch, decoder("ConnectionResult", "ErrorResponse"))
    assert task_instances.xcom_is_out_of_reach()


def test_a_process_that_knows_an_answer_with_an_xcom_can_be_given_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process(monkeypatch, decoder("ConnectionResult", "XComResult"))
    assert not task_instances.xcom_is_out_of_reach()


def test_a_process_without_a_supervisor_reads_xcom_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, TASK_RUNNER, raising=False)
    assert not task_instances.xcom_is_out_of_reach()
    for comms in (None, SimpleNamespace()):
        process(monkeypatch, comms)
        assert not task_instances.xcom_is_out_of_reach()


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
    assert task_instances.xcom_of(TI, key="run_id") == "run_1"
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
    ],
)
def test_airflow_2_knows_by_state_and_trigger(
    state: str | None, trigger_id: int | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(monkeypatch)
    ti = table.add(state, trigger_id)
    table.add("deferred", 17, map_index=5)
    table.add("deferred", 17, run_id="manual_2")
    assert task_instances.is_still_deferred(ti, 17, ["run_1"]) is expected


def test_airflow_2_has_deleted_the_task_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(monkeypatch)
    ti = table.kind(dag_id="d", task_id="work", run_id="manual_1", map_index=-1)
    assert task_instances.is_still_deferred(ti, 17, ["run_1"]) is False


def test_airflow_2s_database_may_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(monkeypatch)
    ti = table.add("deferred", 17)
    ti = table.kind(dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)
    table.kind.metadata.drop_all(table.session.get_bind())
    with pytest.raises(OperationalError):
        task_instances.is_still_deferred(ti, 17, ["run_1"])


# Airflow 3 asks its supervisor


def supervisor(monkeypatch: pytest.MonkeyPatch, states: Any, xcom: Any) -> list[dict[str, Any]]:
    """Let the supervisor of an Airflow 3 answer; return what it is asked."""
    asked = []

    class RuntimeTaskInstance:
        @staticmethod
        def get_task_states(**question: Any) -> Any:
            asked.append(question)
            if isinstance(states, Exception):
                raise states
            return states

    module = ModuleType(TASK_RUNNER)
    module.RuntimeTaskInstance = RuntimeTaskInstance  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, TASK_RUNNER, module)

    def xcom_of(ti: Any, *, key: str) -> Any:
        asked.append({"ti": ti, "key": key})
        if isinstance(xcom, Exception):
            raise xcom
        return xcom

    monkeypatch.setattr(task_instances, "xcom_of", xcom_of)
    return asked


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
    asked = supervisor(monkeypatch, states, xcom)
    assert task_instances.is_still_deferred(TI, 17, ["run_1"]) is expected
    assert asked[0] == {"dag_id": "d", "task_ids": ["work"], "run_ids": ["manual_1"], "map_index": 2}
    assert asked[1:] in ([], [{"ti": TI, "key": "run_id"}])


@pytest.mark.parametrize(
    ("states", "xcom"), [(EOFError("no supervisor"), None), (DEFERRED, EOFError("no supervisor"))]
)
def test_airflow_3s_supervisor_may_not_answer(states, xcom, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor(monkeypatch, states, xcom)
    with pytest.raises(EOFError):
        task_instances.is_still_deferred(TI, 17, ["run_1"])
