from __future__ import annotations

import asyncio
import json
import sys
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import pytest

from airflow_provider_trigger import _compat

COMPAT = "airflow.providers.common.compat.connection"
TASK_RUNNER = "airflow.sdk.execution_time.task_runner"


@pytest.fixture
def connection_id(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the id of a connection that is in the environment."""
    monkeypatch.setenv("AIRFLOW_CONN_MINE", json.dumps({"conn_type": "trigger_dev", "host": "trigger.test"}))
    return "mine"


def test_each_name_is_airflows_own() -> None:
    for name in _compat.__all__:
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
