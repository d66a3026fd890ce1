"""The only place where Airflow's versions differ."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import BaseHook, BaseNotifier, BaseOperator, Connection, Context, XComArg
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "BaseHook",
    "BaseNotifier",
    "BaseOperator",
    "Connection",
    "Context",
    "XComArg",
    "airflow_version",
    "get_async_connection",
    "xcom_is_out_of_reach",
]

# The homes of each name, the newest Airflow's first; looked up when asked for: a parse pays for no more.
_HOMES = {
    "AirflowException": ("airflow.exceptions",),
    "AirflowFailException": ("airflow.sdk.exceptions", "airflow.exceptions"),
    "BaseHook": ("airflow.sdk", "airflow.hooks.base"),
    "BaseNotifier": (
        "airflow.sdk",
        "airflow.sdk.bases.notifier",  # 3.0.0
        "airflow.notifications.basenotifier",
    ),
    "BaseOperator": ("airflow.sdk", "airflow.models.baseoperator"),
    "XComArg": ("airflow.sdk", "airflow.models.xcom_arg"),
}


def __getattr__(name: str) -> Any:
    for home in _HOMES.get(name, ()):
        try:
            return getattr(import_module(home), name)
        except (ImportError, AttributeError):
            continue
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def airflow_version() -> str:
    """Return Airflow's version."""
    from airflow import __version__

    return __version__


async def get_async_connection(conn_id: str) -> Connection:
    """
    Get a connection on an event loop, as in the triggerer.

    :param conn_id: the connection's id
    """
    try:
        # Its own home knows which Airflow deadlocks at which call.
        from airflow.providers.common.compat.connection import get_async_connection as get_connection
    except ImportError:
        return await asyncio.to_thread(__getattr__("BaseHook").get_connection, conn_id)
    return await get_connection(conn_id)


def xcom_is_out_of_reach() -> bool:
    """
    Whether this process cannot be given an XCom, so that asking for one would wait for ever.

    That is so in the Dag processor of Airflow 3.0 (measured): its supervisor does not know the question, and
    this process could not read the answer.
    """
    task_runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    decoder: Any = getattr(getattr(task_runner, "SUPERVISOR_COMMS", None), "body_decoder", None)
    if decoder is None:
        return False
    from pydantic import ValidationError

    try:
        decoder.validate_python({"type": "XComResult", "key": "key", "value": None})
    except ValidationError:
        return True
    return False
