"""Fetch a connection, and its key again after it was rejected."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_provider_trigger._compat import AirflowNotFoundException
from airflow_provider_trigger.hooks.connection import Settings, connection_not_found, read_settings

if TYPE_CHECKING:
    from airflow.sdk import Connection

log = logging.getLogger(__name__)


def fetch_connection(conn_id: str, *, get: Callable[[str], Connection]) -> Connection:
    """
    Return a connection.

    :param conn_id: its id
    :param get: Airflow's way to get one
    :raises ConnectionNotFoundError: there is no such connection
    """
    with suppress(AirflowNotFoundException):
        return get(conn_id)
    raise connection_not_found(conn_id)


def fetch_key(before: Settings, *, get: Callable[[str], Connection]) -> str | None:
    """
    Return the key that the connection has now; None if it has none for the same environment.

    Only Airflow's Dag processor caches connections (2.11 to 3.3); a task fetches the current one.

    :param before: its values as they were
    :param get: Airflow's way to get a connection
    """
    conn_id = before.conn_id
    try:
        now = read_settings(fetch_connection(conn_id, get=get))
    except Exception as error:
        # Any error: that the key was rejected says more. Its text may contain values of the connection.
        log.warning("Connection %r could not be fetched again (%s)", conn_id, type(error).__name__)
        return None
    if now.environment != before.environment:
        log.warning(
            "The host or branch of connection %r has changed; this task does not use the new one", conn_id
        )
        return None
    if now.secret_key != before.secret_key:
        log.info("Connection %r has another secret key now, which is used from here on", conn_id)
    return now.secret_key
