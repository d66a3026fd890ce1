"""Fetch a connection: in a worker, on an event loop, and again after its key was rejected."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_provider_trigger._compat import AirflowNotFoundException, get_async_connection
from airflow_provider_trigger.hooks.connection import (
    ConnectionNotFoundError,
    Settings,
    connection_not_found,
    read_settings,
)
from airflow_provider_trigger.log import Log

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from airflow.sdk import Connection

log = logging.getLogger(__name__)

# Between two tries, in seconds.
_PAUSES = (1.0, 5.0, 15.0, 30.0)


def fetch_connection(conn_id: str, *, get: Callable[[str], Connection]) -> Connection:
    """Return a connection by Airflow's way to get one."""
    with suppress(AirflowNotFoundException):
        return get(conn_id)
    raise connection_not_found(conn_id)


async def fetch_on_loop(conn_id: str, *, executor: ThreadPoolExecutor | None = None) -> Connection:
    """Return a connection; older Airflows wait in the executor, None for the event loop's own."""
    with suppress(AirflowNotFoundException):
        return await get_async_connection(conn_id, executor=executor)
    raise connection_not_found(conn_id)


async def fetch_shielded(conn_id: str) -> Connection:
    """Return a connection; the fetch ends although its caller is canceled."""
    # On Airflow 3.0 and 3.1 a trigger that is canceled while it talks to the supervisor breaks all others
    # (measured).
    return await asyncio.shield(fetch_on_loop(conn_id))


async def fetch_patiently(conn_id: str, *, log: Log, until: float = 0.0) -> Connection:
    """Return a connection, which is fetched again for 51 s, and until a time in s since 1970."""
    failures = 0
    while True:
        try:
            return await fetch_shielded(conn_id)
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


async def fetch_again(conn_id: str, *, fetch: Callable[[str], Awaitable[Connection]]) -> Settings | None:
    """Return the values that a connection has now, as its key was rejected; None if it cannot be fetched."""
    try:
        return read_settings(await fetch(conn_id))
    except Exception as error:  # any: that the key was rejected says more
        _log_failure(conn_id, error)
        return None


def fetch_key(before: Settings, *, get: Callable[[str], Connection]) -> str | None:
    """
    Return the key that the connection has now; None if it has none for the same environment.

    Only Airflow's Dag processor caches connections (2.11 to 3.3); a task fetches the current one.
    """
    conn_id = before.conn_id
    try:
        now = read_settings(fetch_connection(conn_id, get=get))
    except Exception as error:  # any: that the key was rejected says more
        _log_failure(conn_id, error)
        return None
    if now.environment != before.environment:
        log.warning(
            "The host or branch of connection %r has changed; this task does not use the new one", conn_id
        )
        return None
    if now.secret_key != before.secret_key:
        log.info("Connection %r has another secret key now, which is used from here on", conn_id)
    return now.secret_key


def _log_failure(conn_id: str, error: Exception) -> None:
    # The error's text may contain values of the connection.
    log.warning("Connection %r could not be fetched again (%s)", conn_id, type(error).__name__)
