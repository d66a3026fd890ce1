"""The only place where Airflow's versions differ."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import BaseHook, BaseNotifier, BaseOperator, Connection, XComArg
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "BaseHook",
    "BaseNotifier",
    "BaseOperator",
    "XComArg",
    "airflow_version",
    "get_async_connection",
    "items_of",
    "pull_xcom",
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


def pull_xcom(ti: Any, task_id: str, key: str, *, dag: Any = None, map_index: int | None = None) -> object:
    """
    Pull what a task pushed, None if nothing; of a mapped task a list, or another sequence.

    :param ti: the task instance that asks
    :param task_id: whose XCom
    :param key: of the XCom
    :param dag: which has the task, where it is at hand
    :param map_index: the one instance of a mapped task, None for all
    """
    if map_index is not None:
        return ti.xcom_pull(task_ids=task_id, key=key, map_indexes=map_index)
    if dag is None or not _pulls_one_map_index(ti):
        return ti.xcom_pull(task_ids=task_id, key=key)
    value = ti.xcom_pull(task_ids=task_id, key=key, map_indexes=None)
    return _index_by_index(ti, dag.get_task(task_id), key) if value is None else value


def _pulls_one_map_index(ti: Any) -> bool:
    """Whether it pulls of a mapped task only the instance with its own index: up to Airflow 3.0.2 it does."""
    is_sdk = type(ti).__module__.startswith("airflow.sdk.")
    return is_sdk and airflow_version() in ("3.0.0", "3.0.1", "3.0.2")


# How many instances of a mapped task may have pushed nothing before one that did: Airflow's default limit.
_MOST_WITHOUT_XCOM = 1024


def _index_by_index(ti: Any, task: Any, key: str) -> list[object]:
    """Pull the XCom of each instance of a mapped task, for Airflow up to 3.0.2."""
    from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence

    # It counts well, but what it yields ends on 3.0.0 at the first instance that pushed nothing.
    length = len(LazyXComSequence(xcom_arg=__getattr__("XComArg")(task, key=key), ti=ti))
    values: list[object] = []
    for index in range(length + _MOST_WITHOUT_XCOM):
        if len(values) == length:
            break
        value = ti.xcom_pull(task_ids=task.task_id, key=key, map_indexes=index)
        if value is not None:
            values.append(value)
    if len(values) < length:
        raise __getattr__("AirflowException")(
            f"The XCom {key!r} of task {task.task_id!r}: Airflow counts {length}, and gave {len(values)}"
        )
    return values


def items_of(value: Iterable[object]) -> Iterable[object]:
    """
    Return what to iterate over to get all of a sequence that Airflow handed over.

    :param value: a list, or what Airflow makes of a mapped task's output
    """
    if type(value).__name__ == "LazyXComSequence" and airflow_version() == "3.0.0":
        sequence: Any = value
        ti, task, key = sequence._ti, sequence._xcom_arg.operator, sequence._xcom_arg.key
        if _pulls_one_map_index(ti):
            return _index_by_index(ti, task, key)
        whole: Iterable[object] = ti.xcom_pull(task_ids=task.task_id, key=key) or ()  # under dag.test()
        return whole
    return value


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
