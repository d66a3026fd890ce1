"""The only place where Airflow's versions differ."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import BaseHook, BaseNotifier, BaseOperator, Connection, Context, XComArg
    from airflow.sdk.exceptions import AirflowException, AirflowFailException
else:
    from airflow.exceptions import AirflowException

    try:
        from airflow.sdk import BaseNotifier, BaseOperator, XComArg
    except ImportError:  # 2.11
        from airflow.models.baseoperator import BaseOperator
        from airflow.models.xcom_arg import XComArg
        from airflow.notifications.basenotifier import BaseNotifier
    try:
        from airflow.sdk import BaseHook
    except ImportError:  # before 3.1
        from airflow.hooks.base import BaseHook
    try:
        from airflow.sdk.exceptions import AirflowFailException
    except ImportError:  # before 3.2
        from airflow.exceptions import AirflowFailException

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
        return await asyncio.to_thread(BaseHook.get_connection, conn_id)
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
