"""Fetch an Airflow connection, with repeats, and test a connection."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_provider_trigger import _compat
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.runs import list_newest_runs
from airflow_provider_trigger.hooks.connection import (
    Settings,
    connection_not_found,
    read_settings,
    safe_text,
)
from airflow_provider_trigger.log import Log

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from airflow.sdk import Connection

    from airflow_provider_trigger.api.client import TriggerDevClient

log = logging.getLogger(__name__)

# Between two tries, and between two warnings that it still fails, in seconds.
_PAUSES, _WARN_INTERVAL = (1.0, 5.0, 15.0, 30.0), 300.0
_FETCH_LIMIT = 30.0  # a secrets backend may never answer
# The pauses after a connection was not found: Airflow reports a failure of a secrets backend like that.
_NOT_FOUND_PAUSES = (1.0, 0.0)


def fetch_connection(conn_id: str, *, get: Callable[[str], Connection]) -> Connection:
    """Return a connection, which ``get`` fetches as Airflow does."""
    for pause in _NOT_FOUND_PAUSES:
        with suppress(_compat.AirflowNotFoundException):
            return get(conn_id)
        time.sleep(pause)
    raise connection_not_found(conn_id)


async def fetch_on_loop(conn_id: str, *, executor: ThreadPoolExecutor | None = None) -> Connection:
    """Return a connection; older Airflows wait in ``executor``, None for that of the event loop."""
    for pause in _NOT_FOUND_PAUSES:
        with suppress(_compat.AirflowNotFoundException):
            return await _compat.get_async_connection(conn_id, executor=executor)
        await asyncio.sleep(pause)
    raise connection_not_found(conn_id)


async def fetch_shielded(conn_id: str) -> Connection:
    """Return a connection, or raise TimeoutError; the fetch continues if its caller is canceled."""
    # On Airflow 3.0 and 3.1 a trigger canceled while it talks to the supervisor breaks all others (measured).
    return await asyncio.wait_for(asyncio.shield(fetch_on_loop(conn_id)), _FETCH_LIMIT)


async def fetch_patiently(conn_id: str, *, log: Log, until: float = 0.0) -> Connection:
    """Return a connection; repeat a failed fetch for 51 s, and up to ``until``, in seconds since 1970."""
    failures, warn_at = 0, 0.0
    while True:
        try:
            return await fetch_shielded(conn_id)
        except Exception as error:
            failures += 1  # any error: secrets backends raise what they like
            if failures > len(_PAUSES) and time.time() >= until:
                raise
            if time.time() >= warn_at:
                warn_at = time.time() + _WARN_INTERVAL
                log.warning("Could not fetch connection %r, trying again: %s", conn_id, safe_text(error))
        await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES)) - 1])


def fetch_key(before: Settings, *, fetch: Callable[[str], Connection]) -> str | None:
    """Return the key that the connection has now; None if it has none for the same environment."""
    # Only Airflow's Dag processor caches connections (2.11 to 3.3).
    with suppress(Exception):  # any: that the key was rejected says more
        now = read_settings(fetch(before.conn_id))
        if now.environment == before.environment:
            return now.secret_key
        text = "The host or branch of connection %r has changed; this task does not use the new one"
        log.warning(text, before.conn_id)
    return None


MAX_TIMEOUT = 10.0  # for the Test button's request, in seconds


def try_connection(client: TriggerDevClient, settings: Settings) -> tuple[bool, str]:
    """Test a connection with a client that does not retry; return whether it works, and why in one line."""
    try:
        client.call(list_newest_runs())
    except TriggerDevError as error:
        failed = error
    else:
        return True, f"Connected to {settings.base_url}; the secret key is accepted"
    # Airflow tests a copy of the connection, under a random id.
    problem, action = settings.explained(failed, "this connection")
    return False, f"{problem}: {failed.reason}" + (f"; {action}" if action else "")
