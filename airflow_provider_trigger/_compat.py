"""The only place where Airflow's versions differ, and where its private names stand."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.xcom_keys import RUN_ID_KEY

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from airflow.sdk import (
        BaseHook,
        BaseNotifier,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Connection,
        PokeReturnValue,
        XComArg,
    )
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        TaskDeferralError,
    )
    from airflow.triggers.base import BaseTrigger, TriggerEvent

__all__ = [
    "INIT_ARGUMENTS",
    "IS_TASK_DECORATOR",
    "TRIGGER_FAILED",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "BaseHook",
    "BaseNotifier",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "BaseTrigger",
    "PokeReturnValue",
    "TaskDeferralError",
    "TriggerEvent",
    "XComArg",
    "airflow_version",
    "default_deferrable",
    "default_queue",
    "get_async_connection",
    "has_deferral_timed_out",
    "has_no_supervisor",
    "is_mapped_instance",
    "is_still_deferred",
    "link_key",
    "may_have_pushed",
    "read_sequence",
    "triggers_have_on_kill",
    "xcom_is_out_of_reach",
    "xcom_of",
]

INIT_ARGUMENTS = "_BaseOperator__init_kwargs"
"""The attribute in which Airflow keeps an operator's arguments as they were given."""

IS_TASK_DECORATOR = "_airflow_is_task_decorator"
"""The attribute that is true of what ``@task`` makes of a function, until it is called."""

TRIGGER_FAILED = "__fail__"
"""The method that Airflow names where a trigger has failed or timed out."""

_TASK_RUNNER = "airflow.sdk.execution_time.task_runner"
_DEFERRAL_TIMEOUT = "Trigger/execution timeout"  # how Airflow 2 says it

# The modules that have each name, the newest Airflow's first. They are imported when the name is used, so
# that parsing a Dag costs no more than it needs.
_MODULES = {
    "AirflowException": ("airflow.exceptions",),
    "AirflowFailException": ("airflow.sdk.exceptions", "airflow.exceptions"),
    "AirflowNotFoundException": ("airflow.sdk.exceptions", "airflow.exceptions"),
    "AirflowSensorTimeout": ("airflow.sdk.exceptions", "airflow.exceptions"),
    "AirflowSkipException": ("airflow.sdk.exceptions", "airflow.exceptions"),
    "BaseHook": ("airflow.sdk", "airflow.hooks.base"),
    "BaseOperatorLink": ("airflow.sdk", "airflow.models.baseoperatorlink"),
    "BaseSensorOperator": ("airflow.sdk", "airflow.sensors.base"),
    "BaseTrigger": ("airflow.triggers.base",),
    "PokeReturnValue": ("airflow.sdk", "airflow.sensors.base"),
    "TaskDeferralError": ("airflow.sdk.exceptions", "airflow.exceptions"),
    "TriggerEvent": ("airflow.triggers.base",),
    "BaseNotifier": ("airflow.sdk", "airflow.notifications.basenotifier"),
    "BaseOperator": ("airflow.sdk", "airflow.models.baseoperator"),
    "XCom": ("airflow.sdk.execution_time.xcom", "airflow.models.xcom"),
    "XComArg": ("airflow.sdk", "airflow.models.xcom_arg"),
}


def __getattr__(name: str) -> Any:
    for module in _MODULES.get(name, ()):
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def airflow_version() -> str:
    """Return Airflow's version."""
    from airflow import __version__

    return __version__


async def get_async_connection(conn_id: str, *, executor: ThreadPoolExecutor | None = None) -> Connection:
    """
    Get a connection on an event loop, as in the triggerer.

    :param conn_id: the connection's id
    :param executor: where to wait for it on Airflows that cannot be awaited; None for the event loop's own
    """
    try:
        # Airflow's own helper knows which version deadlocks at which call.
        from airflow.providers.common.compat.connection import get_async_connection as get_connection
    except ImportError:
        from asgiref.sync import sync_to_async

        # In a thread that asgiref has not made, masking the password breaks the triggerer of Airflow 3.0.
        get = sync_to_async(__getattr__("BaseHook").get_connection, thread_sensitive=False, executor=executor)
        connection: Connection = await get(conn_id)
        return connection
    return await get_connection(conn_id)


def is_mapped_instance(operator: Any) -> bool:
    """
    Return whether an operator is an instance of a mapped one, made when its task runs.

    :param operator: also while it is constructed
    """
    return bool(getattr(operator, "_BaseOperator__from_mapped", False))


def has_no_supervisor(ti: Any) -> bool:
    """
    Return whether a task instance cannot pull XComs, as its process has no supervisor that gives them.

    That is so for Dag callbacks under ``airflow dags test`` and ``dag.test()`` of Airflow 3 (measured).

    :param ti: from the context, None if it has none
    """
    if not type(ti).__module__.startswith("airflow.sdk."):
        return False
    return not hasattr(import_module(_TASK_RUNNER), "SUPERVISOR_COMMS")


def xcom_is_out_of_reach() -> bool:
    """
    Return whether pulling an XCom in this process would never return.

    It would in the Dag processor of Airflow 3.0 (measured): its supervisor does not know that request, and
    this process cannot decode the response.
    """
    task_runner = sys.modules.get(_TASK_RUNNER)
    decoder: Any = getattr(getattr(task_runner, "SUPERVISOR_COMMS", None), "body_decoder", None)
    if decoder is None:
        return False
    from pydantic import ValidationError

    try:
        decoder.validate_python({"type": "XComResult", "key": "key", "value": None})
    except ValidationError:
        return True
    return False


def has_deferral_timed_out(error: BaseException) -> bool:
    """
    Return whether a sensor is resumed with an error because its deferral has timed out.

    :param error: what its ``resume_execution`` raises
    """
    return isinstance(error, __getattr__("AirflowSensorTimeout")) or str(error) == _DEFERRAL_TIMEOUT


def is_still_deferred(ti: Any, trigger_id: Any, run_id: str) -> bool:
    """
    Return whether a task instance is deferred to this trigger, for Airflows whose triggers lack ``on_kill``.

    :param ti: the trigger's
    :param trigger_id: the trigger's
    :param run_id: that of the trigger's run: a new try of the task has another one
    :raises Exception: Airflow did not answer
    """
    if not type(ti).__module__.startswith("airflow.models."):
        return _is_deferred_by_supervisor(ti, run_id)
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        row = (
            session.query(TaskInstance.state, TaskInstance.trigger_id)
            .filter_by(dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=ti.map_index)
            .one_or_none()
        )
    return row is not None and row.state == "deferred" and row.trigger_id == trigger_id


def _is_deferred_by_supervisor(ti: Any, run_id: str) -> bool:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    if set(next(iter(states.values()), {}).values()) != {"deferred"}:
        return False
    pushed = xcom_of(ti, key=RUN_ID_KEY)
    return pushed in (None, run_id)


def xcom_of(ti_key: Any, *, key: str) -> Any:
    """
    Return an XCom of one task instance, None where it has none.

    :param ti_key: what identifies the task instance
    :param key: of the XCom
    """
    return __getattr__("XCom").get_one(
        key=key,
        dag_id=ti_key.dag_id,
        task_id=ti_key.task_id,
        run_id=ti_key.run_id,
        map_index=ti_key.map_index,
    )


def may_have_pushed(ti: Any) -> bool:
    """
    Return whether a task instance may have pushed an XCom that its operator does not know.

    In the process that has run a task, only a task that was deferred before may have: its XComs are cleared
    when a try starts, and Airflow logs an error for each one that is requested and missing.

    :param ti: what Airflow gives to a link: the task instance, or what identifies it
    """
    in_its_process = getattr(ti, "_ti_context_from_server", None)
    return in_its_process is None or bool(in_its_process.next_method)


def link_key(kind: type[BaseOperatorLink]) -> str:
    """
    Return the key of the XCom in which Airflow 3 looks for the address of a link.

    :param kind: the link's class
    """
    return f"_link_{kind.__name__}"


def read_sequence(value: object) -> list[Any] | None:
    """
    Return the items of one of Airflow's own sequences, None for any other value.

    The output of a mapped task is such a sequence, and so is what a template that is rendered natively finds.

    :param value: any
    """
    if not isinstance(value, Sequence) or not type(value).__module__.startswith("airflow."):
        return None
    # An iterator of Airflow 3 sends one request for each item, and one more, for which Airflow logs an error.
    is_lazy = type(value).__name__.startswith("Lazy")
    return list(value[:]) if is_lazy else [value[index] for index in range(len(value))]


def triggers_have_on_kill() -> bool:
    """Return whether Airflow calls ``on_kill`` of a trigger whose task was ended, as it does since 3.3."""
    from airflow.triggers.base import BaseTrigger

    return hasattr(BaseTrigger, "on_kill")


def default_deferrable() -> bool:
    """Return Airflow's setting ``[operators] default_deferrable``."""
    from airflow.configuration import conf

    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def default_queue() -> str:
    """Return Airflow's setting ``[operators] default_queue``, the queue of tasks that are given none."""
    from airflow.configuration import conf

    return str(conf.get("operators", "default_queue", fallback="default"))
