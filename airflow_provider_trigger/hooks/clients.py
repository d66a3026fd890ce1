"""Turn an Airflow connection into clients of Trigger.dev."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from airflow_provider_trigger._compat import BaseHook
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.secret_key import SecretKey
from airflow_provider_trigger.defaults import CONN_ID, MAX_CONCURRENCY
from airflow_provider_trigger.hooks.connection import Settings, read_settings
from airflow_provider_trigger.hooks.fetching import fetch_connection, fetch_key

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_provider_trigger.api.client import TriggerDevClient


class ClientHook(BaseHook):
    """
    Make clients for an Airflow connection, which is fetched and checked when it is first used.

    :param trigger_dev_conn_id: the id of the connection
    :param connection: the connection itself, if the caller has it already; then it is not fetched
    """

    def __init__(self, trigger_dev_conn_id: str = CONN_ID, *, connection: Connection | None = None) -> None:
        super().__init__()
        self.trigger_dev_conn_id = trigger_dev_conn_id
        self._connection = connection

    @cached_property
    def settings(self) -> Settings:
        """The connection's values, read and checked."""
        found = self._connection or fetch_connection(self.trigger_dev_conn_id, get=self.get_connection)
        return read_settings(found)

    @cached_property
    def _key(self) -> SecretKey:
        """Shared by all clients; fetched again after it was rejected."""
        fetch = partial(fetch_key, self.settings, get=self.get_connection)
        return SecretKey(self.settings.secret_key, fetch=None if self._connection else fetch)

    def get_client(
        self,
        *,
        max_connections: int = MAX_CONCURRENCY,
        timeout: float | None = None,
        retry_for: float | None = None,
    ) -> TriggerDevClient:
        """
        Return a new client; close it, or use it in a ``with`` statement.

        :param max_connections: how many connections it keeps open
        :param timeout: for one request, in seconds; None for the connection's value
        :param retry_for: how long one call is retried, in seconds; None for the connection's value
        """
        from airflow_provider_trigger.api.client import TriggerDevClient

        settings = self.settings
        settings = settings if timeout is None else replace(settings, timeout=timeout)
        settings = settings if retry_for is None else replace(settings, retry_for=retry_for)
        return TriggerDevClient(settings, max_connections=max_connections, secret_key=self._key)

    def get_conn(self) -> TriggerDevClient:
        """Return a new client, as every hook does; see :meth:`get_client`."""
        return self.get_client()

    @contextmanager
    def client(
        self, *, max_connections: int = MAX_CONCURRENCY, has_worked: bool = False
    ) -> Iterator[TriggerDevClient]:
        """
        Give a new client; an error of the API that leaves the ``with`` names the connection.

        :param max_connections: how many connections it keeps open
        :param has_worked: whether the server is known to be Trigger.dev, as it has answered another client;
            then a page in its place is an outage, which passes, and no wrong host
        """
        from airflow_provider_trigger.hooks.diagnosis import add_connection

        with self.get_client(max_connections=max_connections) as client:
            if has_worked:
                client.exchange.breaker.has_worked = True
            try:
                yield client
            except TriggerDevError as error:
                add_connection(error, self.settings)
                raise
