"""An Airflow connection becomes a client."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import BaseHook, airflow_version
from airflow_provider_trigger.get_provider_info import (
    CONNECTION_NAME,
    CONNECTION_TYPE,
    HIDDEN_FIELDS,
    PLACEHOLDERS,
    RELABELING,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Connection

    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.models.runs import Run
    from airflow_provider_trigger.cancel.outcome import CancelResult
    from airflow_provider_trigger.hooks.connection import Settings

# The Test button's user waits: one try, and not for long.
_TEST_TIMEOUT = 10.0


class TriggerDevHook(BaseHook):
    """
    Turn an Airflow connection into a client of Trigger.dev.

    :param trigger_dev_conn_id: the connection's id
    :param connection: the connection itself, for who has it already; it is not fetched then
    """

    conn_name_attr = "trigger_dev_conn_id"
    default_conn_name = "trigger_dev_default"
    conn_type = CONNECTION_TYPE
    hook_name = CONNECTION_NAME

    def __init__(
        self, trigger_dev_conn_id: str = default_conn_name, *, connection: Connection | None = None
    ) -> None:
        super().__init__()
        self.trigger_dev_conn_id = trigger_dev_conn_id
        self._connection = connection

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how the connection form looks in Airflow up to 3.1; newer ones read the provider info."""
        return {"hidden_fields": HIDDEN_FIELDS, "relabeling": RELABELING, "placeholders": PLACEHOLDERS}

    @cached_property
    def settings(self) -> Settings:
        """
        What the connection says.

        :raises AirflowNotFoundException: there is no such connection
        :raises InvalidConnectionError: a field is missing or malformed
        """
        from airflow_provider_trigger.hooks.connection import read_settings

        return read_settings(self._connection or self.get_connection(self.trigger_dev_conn_id))

    def get_client(
        self, *, max_connections: int = 32, timeout: float | None = None, retry_for: float | None = None
    ) -> TriggerDevClient:
        """
        Return a new client; close it, or use it in a ``with``.

        :param max_connections: how many connections it keeps open
        :param timeout: for one request, in seconds; None for what the connection says
        :param retry_for: how long one call goes on trying, in seconds; None for what the connection says
        :raises AirflowNotFoundException: there is no such connection
        :raises InvalidConnectionError: a field of the connection is missing or malformed
        """
        from airflow_provider_trigger.api.client import TriggerDevClient

        settings = self.settings
        return TriggerDevClient(
            base_url=settings.base_url,
            secret_key=settings.secret_key,
            branch=settings.branch,
            timeout=settings.timeout if timeout is None else timeout,
            retry_for=settings.retry_for if retry_for is None else retry_for,
            verify=settings.verify,
            proxy=settings.proxy,
            max_connections=max_connections,
            user_agent=f"apache-airflow/{airflow_version()}",
        )

    def get_conn(self) -> TriggerDevClient:
        """
        Return a new client, as every hook does; see :meth:`get_client`.

        :raises AirflowNotFoundException: there is no such connection
        :raises InvalidConnectionError: a field of the connection is missing or malformed
        """
        return self.get_client()

    def cancel_run(self, run_id: Any) -> CancelResult:
        """
        Cancel one run and say what became of it.

        :param run_id: the run id, or what :meth:`cancel_runs` takes if it holds one
        :raises ValueError: it is no run id, or several; nothing is sent then
        :raises AirflowNotFoundException: there is no such connection
        :raises InvalidConnectionError: a field of the connection is missing or malformed
        :raises AuthenticationError: the key was rejected
        """
        found = _run_ids(run_id)
        if len(found) != 1:
            raise ValueError(f"That is no single run id, but {len(found)}: {str(run_id)[:80]}")
        return self.cancel_runs(found)[0]

    def cancel_runs(self, run_ids: Any) -> list[CancelResult]:
        """
        Cancel runs and say of each what became of it, in the ids' order, each once.

        :param run_ids: run ids in any form that the operator takes: a list, a text, dicts with ``id`` …
        :raises ValueError: a value is no run id, ``None`` too: names each, and nothing is sent
        :raises AirflowNotFoundException: there is no such connection
        :raises InvalidConnectionError: a field of the connection is missing or malformed
        :raises AuthenticationError: the key was rejected
        """
        from airflow_provider_trigger.cancel.cancellation import cancel_runs

        found = _run_ids(run_ids)
        with self._client() as client:
            return cancel_runs(client, found)

    def get_run(self, run_id: str) -> Run:
        """
        Look at a run.

        :param run_id: the run id
        :raises TriggerDevError: it could not be looked at; NotFoundError if there is none in this environment
        :raises AirflowNotFoundException: there is no such connection
        :raises InvalidConnectionError: a field of the connection is missing or malformed
        """
        with self._client() as client:
            return client.retrieve_run(run_id)

    @contextmanager
    def _client(self) -> Iterator[TriggerDevClient]:
        """Give a client, and let errors name the connection."""
        from airflow_provider_trigger.api.errors import TriggerDevError

        with self.get_client() as client:
            try:
                yield client
            except TriggerDevError as error:
                error.message = f"Connection {self.trigger_dev_conn_id!r} to {client.base_url}: {error}"
                error.args = (error.message,)
                raise

    def test_connection(self) -> tuple[bool, str]:
        """Try the connection with one cheap request, and return whether it works and a line that says why."""
        from airflow_provider_trigger.api import endpoints
        from airflow_provider_trigger.api.errors import TriggerDevError
        from airflow_provider_trigger.hooks.connection import InvalidConnectionError

        try:
            settings = self.settings
            with self.get_client(timeout=min(settings.timeout, _TEST_TIMEOUT), retry_for=0) as client:
                client.call(endpoints.list_runs(page_size=1))
        except InvalidConnectionError as error:
            return False, str(error)
        except TriggerDevError as error:
            return False, _diagnosis(settings, error)
        return True, f"Connected to {settings.base_url}; the secret key is accepted"


def _run_ids(value: object) -> list[str]:
    from airflow_provider_trigger.reporting import enumeration
    from airflow_provider_trigger.sources.run_ids import RunIds

    ids = RunIds()
    ids.add(value, source="run_ids")
    if ids.unreadable or ids.skipped:
        nones = [f"None from {source}" for source in ids.skipped]
        raise ValueError(f"No run id: {enumeration([*ids.unreadable, *nones], '; ')}")
    return ids.found


def _diagnosis(settings: Settings, error: Exception) -> str:
    from airflow_provider_trigger.api import errors

    if isinstance(error, errors.AuthenticationError):
        if settings.secret_key.startswith("tr_preview_") and not settings.branch:
            return "A preview key needs its branch: set 'branch' in the connection's extra"
        return f"The secret key was rejected by {settings.base_url}: {error.detail}"
    if isinstance(error, errors.PermissionDeniedError):
        return f"The secret key may not list runs: {error.detail}"
    if isinstance(error, errors.TLSError):
        return f"TLS trouble: {error}; a private CA goes into 'verify' in the connection's extra"
    if isinstance(error, errors.TransportError):
        return f"{settings.base_url} could not be reached: {error}"
    if isinstance(error, (errors.UnexpectedAnswerError, errors.RedirectError)) or (
        isinstance(error, errors.ResponseError) and error.status == 404
    ):
        return f"{settings.base_url} is no Trigger.dev server: {error}"
    return f"{settings.base_url} answered, but not as hoped: {error}"
