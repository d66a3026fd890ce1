"""
The only place where Airflow's versions differ, and where its private names stand.

What concerns XComs and task instances is in :mod:`airflow_provider_trigger._compat.task_instances`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    # With "as", other modules may import a name from here.
    from airflow.sdk import BaseHook as BaseHook
    from airflow.sdk import BaseNotifier as BaseNotifier
    from airflow.sdk import BaseOperator as BaseOperator
    from airflow.sdk import BaseOperatorLink as BaseOperatorLink
    from airflow.sdk import BaseSensorOperator as BaseSensorOperator
    from airflow.sdk import Connection as Connection
    from airflow.sdk import PokeReturnValue as PokeReturnValue
    from airflow.sdk import XComArg as XComArg
    from airflow.sdk.exceptions import AirflowException as AirflowException
    from airflow.sdk.exceptions import AirflowFailException as AirflowFailException
    from airflow.sdk.exceptions import AirflowNotFoundException as AirflowNotFoundException
    from airflow.sdk.exceptions import AirflowSensorTimeout as AirflowSensorTimeout
    from airflow.sdk.exceptions import AirflowSkipException as AirflowSkipException
    from airflow.triggers.base import BaseTrigger as BaseTrigger
    from airflow.triggers.base import TriggerEvent as TriggerEvent

INIT_ARGUMENTS = "_BaseOperator__init_kwargs"
"""The attribute in which Airflow keeps an operator's arguments as they were given."""

IS_TASK_DECORATOR = "_airflow_is_task_decorator"
"""The attribute that is true of what ``@task`` makes of a function, until it is called."""

TRIGGER_FAILED = "__fail__"
"""The method that Airflow names where a trigger has failed or timed out."""

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
    """Get a connection on an event loop; older Airflows wait in the executor, None for the loop's own."""
    get: Any
    try:
        # Airflow's own helper knows which version deadlocks at which call.
        from airflow.providers.common.compat.connection import get_async_connection as get
    except ImportError:
        from asgiref.sync import sync_to_async

        # In a thread that asgiref has not made, masking the password breaks the triggerer of Airflow 3.0.
        get = sync_to_async(__getattr__("BaseHook").get_connection, thread_sensitive=False, executor=executor)
    connection: Connection = await get(conn_id)
    return connection


def is_mapped_instance(operator: Any) -> bool:
    """Return whether an operator is an instance of a mapped one, made when its task runs."""
    return bool(getattr(operator, "_BaseOperator__from_mapped", False))


def has_deferral_timed_out(error: BaseException) -> bool:
    """Return whether a sensor's ``resume_execution`` raises an error because its deferral has timed out."""
    return isinstance(error, __getattr__("AirflowSensorTimeout")) or str(error) == _DEFERRAL_TIMEOUT


def link_key(kind: type[BaseOperatorLink]) -> str:
    """Return the key of the XCom in which Airflow 3 looks for the address of a link."""
    return f"_link_{kind.__name__}"


def triggers_have_on_kill() -> bool:
    """Return whether Airflow calls ``on_kill`` of a trigger whose task was ended, as it does since 3.3."""
    from airflow.triggers.base import BaseTrigger

    return hasattr(BaseTrigger, "on_kill")


def scheduler_knows_resumed_tasks() -> bool:
    """Return whether the scheduler distinguishes a deferral that it sees late from the resumed task's end."""
    return tuple(map(int, airflow_version().split(".")[:2])) >= (3, 4)


def stop_time() -> float:
    """
    Return how long a task may cancel its runs after a signal, in seconds.

    Airflow 3 sends SIGKILL 5 s after the signal, Airflow 2 after a minute.
    """
    return 8.0 if airflow_version().startswith("2.") else 4.0


def default_deferrable() -> bool:
    """Return Airflow's setting ``[operators] default_deferrable``."""
    from airflow.configuration import conf

    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def default_queue() -> str:
    """Return Airflow's setting ``[operators] default_queue``, the queue of tasks that are given none."""
    from airflow.configuration import conf

    return str(conf.get("operators", "default_queue", fallback="default"))
