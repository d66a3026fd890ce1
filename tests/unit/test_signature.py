"""The arguments that editors, type checkers and ``help`` show of public classes: all, also those of bases."""

from __future__ import annotations

import inspect
import pydoc
import re
from typing import Any, get_type_hints

import pytest

from airflow_provider_trigger._compat import BaseOperator
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.notifications.waitpoint import CompleteWaitpointTokenNotifier
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.operators.waitpoint import (
    CompleteWaitpointTokenOperator,
    CreateWaitpointTokenOperator,
)
from airflow_provider_trigger.sensors.run import TriggerRunSensor
from airflow_provider_trigger.sensors.waitpoint import WaitpointTokenSensor
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger
from airflow_provider_trigger.triggers.waitpoint import WaitpointTokenTrigger

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow.models.dag import DAG

PUBLIC = (
    RunTriggerTaskOperator,
    RunTriggerTaskBatchOperator,
    ReplayTriggerRunOperator,
    CancelTriggerRunOperator,
    CreateWaitpointTokenOperator,
    CompleteWaitpointTokenOperator,
    TriggerRunSensor,
    WaitpointTokenSensor,
    CancelTriggerRunNotifier,
    CompleteWaitpointTokenNotifier,
    TriggerDevRunTrigger,
    WaitpointTokenTrigger,
)


REQUIRED: dict[Any, dict[str, Any]] = {
    RunTriggerTaskOperator: {"task_identifier": "resize"},
    RunTriggerTaskBatchOperator: {"task_identifier": "resize", "payloads": []},
    ReplayTriggerRunOperator: {"run_id": "run_1"},
    CancelTriggerRunOperator: {"run_ids": "run_1"},
    CompleteWaitpointTokenOperator: {"token_ids": "waitpoint_1"},
    TriggerRunSensor: {"run_ids": "run_1"},
    WaitpointTokenSensor: {"token_id": "waitpoint_1"},
    CompleteWaitpointTokenNotifier: {"token_ids": "waitpoint_1"},
    TriggerDevRunTrigger: {"run_ids": [], "trigger_dev_conn_id": "a", "wait": {}},
    WaitpointTokenTrigger: {"token_id": "waitpoint_1", "begun_at": 0.0},
}


def made(kind: Any) -> Any:
    return kind(**({"task_id": "work"} if issubclass(kind, BaseOperator) else {}) | REQUIRED.get(kind, {}))


def shown(kind: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(kind).parameters)


@pytest.mark.parametrize("kind", PUBLIC)
def test_its_own_init_names_all_arguments_as_airflow_reads_them_there(kind: type) -> None:
    found = shown(kind)
    assert "__init__" in vars(kind)
    assert str(found.pop("kwargs", None)) == ("**kwargs: 'Any'" if issubclass(kind, BaseOperator) else "None")
    taken = {name for name in vars(made(kind)) if not name.startswith("_")}
    assert {"run_queue" if name == "queue" else name for name in found} - {"args"} <= taken


@pytest.mark.parametrize("kind", [kind for kind in PUBLIC if issubclass(kind, BaseOperator)])
def test_a_dag_and_a_mapped_task_give_it_arguments_by_their_names(kind: Any) -> None:
    given = REQUIRED.get(kind, {}) | {"trigger_dev_conn_id": "other"}
    with DAG("d", schedule=None, default_args=given):
        operator = kind(task_id="work")
        mapped: Any = kind.partial(task_id="mapped").expand(trigger_dev_conn_id=["other"])
        with pytest.raises(TypeError, match="conn_idd"):
            kind.partial(task_id="more", trigger_dev_conn_idd="other")
    assert operator.trigger_dev_conn_id == "other"
    # What Airflow takes by itself is as for any other operator.
    assert (mapped.inlets, mapped.outlets, mapped.retries) == ([], [], operator.retries)


@pytest.mark.parametrize("kind", PUBLIC)
def test_its_types_can_be_read(kind: Any) -> None:
    assert get_type_hints(kind.__init__)["return"] is type(None)


def test_help_shows_it() -> None:
    text = re.sub(r"[\s|]", "", pydoc.plain(pydoc.render_doc(RunTriggerTaskOperator)))
    begin = (
        "RunTriggerTaskOperator(*,task_identifier:'str',payload:'Any'=None,idempotency_key:'strNone'='auto',"
    )
    assert begin in text
    assert "pending_version_timeout:'Duration'=300.0,cancel_on_kill:'bool'=True," in text


@pytest.mark.parametrize("kind", PUBLIC)
def test_help_explains_each_argument_once(kind: type) -> None:
    explained = re.findall(r"^:param (\w+): ", inspect.getdoc(kind) or "", re.MULTILINE)
    assert sorted(explained) == sorted({*shown(kind)} - {"args", "kwargs"})


class Orders(RunTriggerTaskOperator):
    """
    Hands on what it does not know.

    :param orders: what to ship
    :param timeout: of all orders
    """

    def __init__(self, *, orders: list[int], timeout: str = "1h", **kwargs: Any) -> None:
        super().__init__(payload=orders, timeout=timeout, **kwargs)


def test_a_class_of_a_user_explains_its_own_arguments_too() -> None:
    explained = re.findall(r"^:param (\w+): (.*)", inspect.getdoc(Orders) or "", re.MULTILINE)
    assert explained[:2] == [("orders", "what to ship"), ("timeout", "of all orders")]
    assert {name for name, _ in explained} == {"orders", *shown(RunTriggerTaskOperator)} - {"kwargs"}
