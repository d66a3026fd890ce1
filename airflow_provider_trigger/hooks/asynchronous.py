"""A hook for event loops, where a connection must be fetched without blocking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_trigger._compat import AirflowNotFoundException, get_async_connection
from airflow_provider_trigger.hooks.connection import connection_not_found
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor


async def get_hook(conn_id: str, *, executor: ThreadPoolExecutor | None = None) -> TriggerDevHook:
    """
    Return a hook that has its connection already.

    :param conn_id: the id of the connection
    :param executor: where to wait for it on Airflows that cannot be awaited; None for the event loop's own
    :raises ConnectionNotFoundError: there is no such connection
    """
    try:
        connection = await get_async_connection(conn_id, executor=executor)
    except AirflowNotFoundException:
        raise connection_not_found(conn_id) from None
    return TriggerDevHook(conn_id, connection=connection)
