"""Turn an Airflow connection into a client of Trigger.dev."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger import __version__
from airflow_provider_trigger._compat import (
    AirflowFailException,
    AirflowNotFoundException,
    BaseHook,
    airflow_version,
)
from airflow_provider_trigger.defaults import CONN_ID, MAX_CONCURRENCY
from airflow_provider_trigger.get_provider_info import (
    CONNECTION_NAME,
    CONNECTION_TYPE,
    HIDDEN_FIELDS,
    PLACEHOLDERS,
    RELABELING,
)
from airflow_provider_trigger.hooks.runs import RunMethods

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_provider_trigger.api.async_client import AsyncTriggerDevClient
    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.hooks.connection import Settings


class TriggerDevHook(RunMethods, BaseHook):
    """
    Turn an Airflow connection into a client of Trigger.dev.

    If the connection does not exist, its first use raises a ``ConnectionNotFoundError``; if a field is
    missing or invalid, an ``InvalidConnectionError``. Both fail the task without retries.

    :param trigger_dev_conn_id: the id of the connection
    :param connection: the connection itself, if the caller has it already; then it is not fetched
    """

    conn_name_attr = "trigger_dev_conn_id"
    default_conn_name = CONN_ID
    conn_type = CONNECTION_TYPE
    hook_name = CONNECTION_NAME

    def __init__(self, trigger_dev_conn_id: str = CONN_ID, *, connection: Connection | None = None) -> None:
        super().__init__()
        self.trigger_dev_conn_id = trigger_dev_conn_id
        self._connection = connection

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the connection form's settings for Airflow up to 3.1; newer ones read the provider info."""
        return {"hidden_fields": HIDDEN_FIELDS, "relabeling": RELABELING, "placeholders": PLACEHOLDERS}

    @cached_property
    def settings(self) -> Settings:
        """The connection's values, read and checked."""
        from airflow_provider_trigger.hooks.connection import read_settings

        return read_settings(self._connection or _fetch_connection(self))

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

        arguments = self._client_arguments | {"max_connections": max_connections}
        given = {"timeout": timeout, "retry_for": retry_for}
        return TriggerDevClient(**arguments | {name: one for name, one in given.items() if one is not None})

    @property
    def _client_arguments(self) -> dict[str, Any]:
        settings = self.settings
        names = ("base_url", "secret_key", "branch", "timeout", "retry_for", "verify", "proxy")
        user_agent = f"airflow-provider-trigger/{__version__} apache-airflow/{airflow_version()}"
        return {name: getattr(settings, name) for name in names} | {"user_agent": user_agent}

    def get_conn(self) -> TriggerDevClient:
        """Return a new client, as every hook does; see :meth:`get_client`."""
        return self.get_client()

    @contextmanager
    def client(self, *, max_connections: int = MAX_CONCURRENCY) -> Iterator[TriggerDevClient]:
        """
        Give a new client; an error of the API that leaves the ``with`` names the connection.

        :param max_connections: how many connections it keeps open
        """
        from airflow_provider_trigger.api.errors import TriggerDevError
        from airflow_provider_trigger.hooks.diagnosis import add_connection

        with self.get_client(max_connections=max_connections) as client:
            try:
                yield client
            except TriggerDevError as error:
                add_connection(error, self.settings)
                raise

    def get_async_client(self) -> AsyncTriggerDevClient:
        """Return a new client for an event loop; the hook must have its connection already."""
        from airflow_provider_trigger.api.async_client import AsyncTriggerDevClient

        return AsyncTriggerDevClient(**self._client_arguments)

    def test_connection(self) -> tuple[bool, str]:
        """Test the connection; return whether it works, and one line that says why."""
        from airflow_provider_trigger.hooks.diagnosis import MAX_TIMEOUT, try_connection

        try:
            timeout = min(self.settings.timeout, MAX_TIMEOUT)
        except AirflowFailException as error:
            return False, str(error)
        with self.get_client(timeout=timeout, retry_for=0) as client:
            return try_connection(client, self.settings)


def _fetch_connection(hook: TriggerDevHook) -> Connection:
    from airflow_provider_trigger.hooks.connection import connection_not_found

    with suppress(AirflowNotFoundException):
        return hook.get_connection(hook.trigger_dev_conn_id)
    raise connection_not_found(hook.trigger_dev_conn_id)
