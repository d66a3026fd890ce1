"""Fetch a connection in a triggerer, although its backend may be away for a moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from airflow_provider_trigger.hooks import asynchronous
from airflow_provider_trigger.hooks.connection import ConnectionNotFoundError
from airflow_provider_trigger.log import Log

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

# Between two tries, in seconds.
_PAUSES = (1.0, 5.0, 15.0, 30.0)


async def fetch_once(conn_id: str) -> TriggerDevHook:
    """
    Return a hook that has its connection; the fetch ends although its caller is canceled.

    :param conn_id: the id of the connection
    :raises Exception: it could not be fetched
    """
    # On Airflow 3.0 and 3.1 a trigger that is canceled while it talks to the supervisor breaks all others
    # (measured).
    return await asyncio.shield(asynchronous.get_hook(conn_id))


async def fetch_hook(conn_id: str, *, log: Log) -> TriggerDevHook:
    """
    Return a hook that has its connection.

    :param conn_id: the id of the connection
    :param log: where to write that it is fetched again
    :raises ConnectionNotFoundError: there is no such connection
    :raises Exception: the last error
    """
    pauses = list(_PAUSES)
    while True:
        try:
            return await fetch_once(conn_id)
        except ConnectionNotFoundError:
            raise
        except Exception as error:
            # Any error: secrets backends raise what they like.
            if not pauses:
                raise
            pause = pauses.pop(0)
            text = "Could not fetch connection %r, trying again in %.0f s: %s"
            log.warning(text, conn_id, pause, error)
            await asyncio.sleep(pause)
