"""Fetch a connection in a triggerer, although its backend may be away for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from airflow_provider_trigger.hooks import asynchronous
from airflow_provider_trigger.hooks.connection import ConnectionNotFoundError
from airflow_provider_trigger.log import Log

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Settings
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

# Between two tries, in seconds.
_PAUSES = (1.0, 5.0, 15.0, 30.0)


async def fetch_once(conn_id: str) -> TriggerDevHook:
    """Return a hook that has its connection; the fetch ends although its caller is canceled."""
    # On Airflow 3.0 and 3.1 a trigger that is canceled while it talks to the supervisor breaks all others
    # (measured).
    return await asyncio.shield(asynchronous.get_hook(conn_id))


async def fetch_hook(conn_id: str, *, log: Log, until: float = 0.0) -> TriggerDevHook:
    """
    Return a hook that has its connection, which is fetched again for 51 s, and until a time in s since 1970.

    :raises ConnectionNotFoundError: there is no such connection
    :raises Exception: the last error
    """
    failures = 0
    while True:
        try:
            return await fetch_once(conn_id)
        except ConnectionNotFoundError:
            raise
        except Exception as error:
            # Any error: secrets backends raise what they like.
            failures += 1
            if failures > len(_PAUSES) and time.time() >= until:
                raise
            if failures == 1:
                # Its text may contain values of the connection.
                log.warning("Could not fetch connection %r, trying again: %s", conn_id, type(error).__name__)
        await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES)) - 1])


async def fetch_again(
    conn_id: str, *, fetch: Callable[[str], Awaitable[TriggerDevHook]], log: Log
) -> Settings | None:
    """Return the values that a connection has now, as its key was rejected; None if it cannot be fetched."""
    try:
        return (await fetch(conn_id)).settings
    except Exception as error:
        # Any error: that the key was rejected says more. Its text may contain values of the connection.
        log.warning("Connection %r could not be fetched again (%s)", conn_id, type(error).__name__)
        return None
