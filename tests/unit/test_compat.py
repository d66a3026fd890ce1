from __future__ import annotations

import asyncio
import inspect
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import pytest
from asgiref.sync import async_to_sync
from sqlalchemy import Column, Integer, String, create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import configure_mappers, declarative_base, sessionmaker

from airflow_provider_trigger import _compat

COMPAT = "airflow.providers.common.compat.connection"
TASK_RUNNER = "airflow.sdk.execution_time.task_runner"


@pytest.fixture
def connection_id(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the id of a connection that is in the environment."""
    monkeypatch.setenv("AIRFLOW_CONN_MINE", json.dumps({"conn_type": "trigger_dev", "host": "trigger.test"}))
    return "mine"


def test_each_name_is_airflows_own() -> None:
    constants = {"INIT_ARGUMENTS", "IS_TASK_DECORATOR", "TRIGGER_FAILED"}
    for name in set(_compat.__all__) - constants:
        assert getattr(_compat, name).__module__.split(".")[0] in ("airflow", "airflow_provider_trigger")
    assert issubclass(_compat.AirflowFailException, _compat.AirflowException)
    assert issubclass(_compat.AirflowNotFoundException, _compat.AirflowException)


def test_what_get_connection_raises_is_the_not_found_exception() -> None:
    with pytest.raises(_compat.AirflowNotFoundException):
        _compat.BaseHook.get_connection("there is no such connection")


def test_another_name_is_none_of_airflows() -> None:
    with pytest.raises(ImportError, match="BaseSensor"):
        from airflow_provider_trigger._compat import BaseSensor  # noqa: F401


def test_airflows_version_is_returned() -> None:
    from airflow import __version__

    assert _compat.airflow_version() == __version__


def test_a_connection_is_got_on_an_event_loop_without_airflows_helper(
    connection_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, COMPAT, None)
    assert asyncio.run(_compat.get_async_connection(connection_id)).host == "trigger.test"


@pytest.mark.parametrize("has_executor", [False, True])
def test_what_gets_a_connection_can_wait_for_the_event_loop(
    has_executor: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The triggerer of Airflow 3.0 masks the password by a request that only its own loop can send."""
    monkeypatch.setitem(sys.modules, COMPAT, None)

    async def mask() -> Any:
        return asyncio.get_running_loop()

    monkeypatch.setattr(_compat.BaseHook, "get_connection", lambda conn_id: async_to_sync(mask)())

    async def get() -> tuple[Any, Any]:
        with ThreadPoolExecutor(1) as pool:
            loop = await _compat.get_async_connection("mine", executor=pool if has_executor else None)
        return loop, asyncio.get_running_loop()

    used, own = asyncio.run(get())
    assert used is own


def test_airflows_helper_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def get_async_connection(conn_id: str) -> Any:
        return f"the connection {conn_id}"

    helper = ModuleType(COMPAT)
    helper.get_async_connection = get_async_connection  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, COMPAT, helper)
    connection: Any = asyncio.run(_compat.get_async_connection("mine"))
    assert connection == "the connection mine"


def supervised(name: str = "airflow.sdk.execution_time.task_runner") -> Any:
    """Build a task instance of a class in this module."""
    return type("TaskInstance", (), {"__module__": name})()


def test_a_task_instance_of_airflow_3_needs_a_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    process(monkeypatch, None)
    assert _compat.has_no_supervisor(supervised())
    process(monkeypatch, SimpleNamespace())
    assert not _compat.has_no_supervisor(supervised())


def test_another_task_instance_needs_no_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    process(monkeypatch, None)
    assert not _compat.has_no_supervisor(supervised("airflow.models.taskinstance"))
    assert not _compat.has_no_supervisor(None)


def test_an_instance_of_a_mapped_operator_is_known_while_it_is_constructed() -> None:
    seen = []

    class Operator(_compat.BaseOperator):
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            seen.append(_compat.is_mapped_instance(self))

    Operator(task_id="plain")
    Operator(task_id="mapped", _airflow_from_mapped=True)
    assert seen == [False, True]


def test_an_operator_keeps_its_arguments_as_they_were_given() -> None:
    class Operator(_compat.BaseOperator):
        def __init__(self, *, ids: Any, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.ids = ids

    kept = getattr(Operator(task_id="work", ids="run_1"), _compat.INIT_ARGUMENTS)
    assert kept["ids"] == "run_1"


def test_a_decorated_function_that_is_not_called_is_known() -> None:
    def work() -> None: ...

    try:
        from airflow.sdk import task
    except ImportError:  # 2.11
        from airflow.decorators import task
    assert getattr(task(work), _compat.IS_TASK_DECORATOR)


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
    assert _compat.xcom_is_out_of_reach()


def test_a_process_that_knows_an_answer_with_an_xcom_can_be_given_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process(monkeypatch, decoder("ConnectionResult", "XComResult"))
    assert not _compat.xcom_is_out_of_reach()


def test_a_process_without_a_supervisor_reads_xcom_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, TASK_RUNNER, raising=False)
    assert not _compat.xcom_is_out_of_reach()
    for comms in (None, SimpleNamespace()):
        process(monkeypatch, comms)
        assert not _compat.xcom_is_out_of_reach()


# XCom of a task instance, and Airflow's settings


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


@pytest.mark.parametrize(("value", "expected"), [("True", True), ("False", False)])
def test_airflows_settings_are_read_when_they_are_used(
    value: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (_compat.default_deferrable(), _compat.default_queue()) == (False, "default")
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", value)
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_QUEUE", "gpu")
    assert (_compat.default_deferrable(), _compat.default_queue()) == (expected, "gpu")


def test_airflow_3_3_calls_on_kill_of_its_triggers() -> None:
    is_new = tuple(map(int, _compat.airflow_version().split(".")[:2])) >= (3, 3)
    assert _compat.triggers_have_on_kill() == is_new


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
    assert _compat.is_still_deferred(ti, 17, "run_1") is expected


def test_airflow_2_has_deleted_the_task_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(monkeypatch)
    ti = table.kind(dag_id="d", task_id="work", run_id="manual_1", map_index=-1)
    assert _compat.is_still_deferred(ti, 17, "run_1") is False


def test_airflow_2s_database_may_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(monkeypatch)
    ti = table.add("deferred", 17)
    ti = table.kind(dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)
    table.kind.metadata.drop_all(table.session.get_bind())
    with pytest.raises(OperationalError):
        _compat.is_still_deferred(ti, 17, "run_1")


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

    monkeypatch.setattr(_compat, "xcom_of", xcom_of)
    return asked


DEFERRED = {"manual_1": {"work_2": "deferred"}}


@pytest.mark.parametrize(
    ("states", "xcom", "expected"),
    [
        (DEFERRED, "run_1", True),
        (DEFERRED, None, True),  # of a try that could not push it
        (DEFERRED, "run_2", False),  # another try's, after a clear
        ({"manual_1": {"work_2": "failed"}}, "run_1", False),
        ({"manual_1": {"work_2": "running"}}, "run_1", False),
        ({"manual_1": {"work_2": None}}, "run_1", False),
        ({"manual_1": {}}, "run_1", False),
        ({}, "run_1", False),
    ],
)
def test_airflow_3_knows_by_state_and_the_run_in_xcom(
    states: Any, xcom: Any, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = supervisor(monkeypatch, states, xcom)
    assert _compat.is_still_deferred(TI, 17, "run_1") is expected
    assert asked[0] == {"dag_id": "d", "task_ids": ["work"], "run_ids": ["manual_1"], "map_index": 2}
    assert asked[1:] in ([], [{"ti": TI, "key": "run_id"}])


@pytest.mark.parametrize(
    ("states", "xcom"), [(EOFError("no supervisor"), None), (DEFERRED, EOFError("no supervisor"))]
)
def test_airflow_3s_supervisor_may_not_answer(
    states: Any, xcom: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor(monkeypatch, states, xcom)
    with pytest.raises(EOFError):
        _compat.is_still_deferred(TI, 17, "run_1")
