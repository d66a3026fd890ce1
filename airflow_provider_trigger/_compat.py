"""The only place where Airflow's versions differ."""

from __future__ import annotations

import asyncio
import sys
from contextvars import copy_context
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from airflow.sdk import BaseHook, BaseNotifier, BaseOperator, Connection, XComArg
    from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowNotFoundException

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "BaseHook",
    "BaseNotifier",
    "BaseOperator",
    "XComArg",
    "airflow_version",
    "get_async_connection",
    "has_no_supervisor",
    "is_mapped_instance",
    "xcom_is_out_of_reach",
]

_TASK_RUNNER = "airflow.sdk.execution_time.task_runner"

# The modules that have each name, the newest Airflow's first. They are imported when the name is used, so
# that parsing a Dag costs no more than it needs.
_MODULES = {
    "AirflowException": ("airflow.exceptions",),
    "AirflowFailException": ("airflow.sdk.exceptions", "airflow.exceptions"),
    "AirflowNotFoundException": ("airflow.sdk.exceptions", "airflow.exceptions"),
    "BaseHook": ("airflow.sdk", "airflow.hooks.base"),
    "BaseNotifier": ("airflow.sdk", "airflow.notifications.basenotifier"),
    "BaseOperator": ("airflow.sdk", "airflow.models.baseoperator"),
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


async def get_async_connection(conn_id: str, *, executor: Executor | None = None) -> Connection:
    """
    Get a connection on an event loop, as in the triggerer.

    :param conn_id: the connection's id
    :param executor: where to wait for it on Airflows that cannot be awaited; None for the event loop's own
    """
    try:
        # Airflow's own helper knows which version deadlocks at which call.
        from airflow.providers.common.compat.connection import get_async_connection as get_connection
    except ImportError:
        loop, get = asyncio.get_running_loop(), __getattr__("BaseHook").get_connection
        return await loop.run_in_executor(executor, copy_context().run, get, conn_id)
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
