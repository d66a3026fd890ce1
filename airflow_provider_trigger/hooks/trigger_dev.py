"""Turn an Airflow connection into a client of Trigger.dev."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger import __version__
from airflow_provider_trigger._compat import (
    AirflowFailException,
    AirflowNotFoundException,
    BaseHook,
    airflow_version,
)
from airflow_provider_trigger.defaults import CONN_ID, MAX_CONCURRENCY, POLL_INTERVAL
from airflow_provider_trigger.get_provider_info import (
    CONNECTION_NAME,
    CONNECTION_TYPE,
    HIDDEN_FIELDS,
    PLACEHOLDERS,
    RELABELING,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow.sdk import Connection

    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.models.runs import Run
    from airflow_provider_trigger.cancel.cancellation import Cancellation
    from airflow_provider_trigger.cancel.outcome import CancelResult
    from airflow_provider_trigger.hooks.connection import Settings

BULK_ACTION_NAME = "Canceled by Apache Airflow"
"""The name of bulk actions in the dashboard."""


class TriggerDevHook(BaseHook):
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
            user_agent=f"airflow-provider-trigger/{__version__} apache-airflow/{airflow_version()}",
        )

    def get_conn(self) -> TriggerDevClient:
        """Return a new client, as every hook does; see :meth:`get_client`."""
        return self.get_client()

    @contextmanager
    def cancellation(
        self,
        run_ids: Iterable[str],
        *,
        max_concurrency: int = MAX_CONCURRENCY,
        time_limit: float | None = None,
        termination_timeout: float | None = None,
        poll_interval: float = POLL_INTERVAL,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Cancellation]:
        """
        Give a cancellation on a client of its own; an error that leaves the ``with`` names the connection.

        :param run_ids: exact run ids; a repeated one counts once
        :param max_concurrency: how many requests are in flight at a time
        :param time_limit: for all of it, in seconds; None for no limit
        :param termination_timeout: how long to wait until canceled runs are terminated, in seconds; None to
            not wait
        :param poll_interval: between two status checks of a run while waiting, in seconds
        :param is_stopped: called several times per second; true stops the work within a second
        """
        from airflow_provider_trigger.cancel.cancellation import Cancellation
        from airflow_provider_trigger.hooks.diagnosis import action_for

        with _client(self, max_connections=max_concurrency) as client:
            yield Cancellation(
                client=client,
                run_ids=run_ids,
                bulk_action_name=BULK_ACTION_NAME,
                max_concurrency=max_concurrency,
                time_limit=time_limit,
                termination_timeout=termination_timeout,
                poll_interval=poll_interval,
                is_stopped=is_stopped,
                action_for=partial(action_for, settings=self.settings),
            )

    def cancel_run(self, run_id: Any) -> CancelResult:
        """
        Cancel one run and return its outcome; for the other errors see :meth:`cancel_runs`.

        :param run_id: a run id, or any value that :meth:`cancel_runs` accepts and that contains exactly one
        :raises ValueError: not a valid run id, or several; nothing is sent then
        """
        found = _run_ids(run_id)
        if len(found) != 1:
            raise ValueError(f"run_id must contain exactly one run id, not {len(found)}: {str(run_id)[:80]}")
        return self.cancel_runs(found)[0]

    def cancel_runs(self, run_ids: Any) -> list[CancelResult]:
        """
        Cancel many runs and return the outcome of each.

        The list has one :class:`~airflow_provider_trigger.cancel.outcome.CancelResult` for each run, in the
        order of the ids; a repeated id counts once. Its ``outcome`` is ``canceled``, ``already_completed``,
        ``not_found`` or ``failed``; for ``failed``, nothing is raised, and its ``error`` says why.

        :param run_ids: run ids in any form that the operator accepts: a list, text, dicts with an ``id``
        :raises ValueError: a value, or None, is not a valid run id; names each, and nothing is sent
        :raises AuthenticationError: the server rejected the secret key; some runs may be canceled by then
        """
        with self.cancellation(_run_ids(run_ids)) as cancellation:
            return cancellation.run()

    def get_run(self, run_id: str) -> Run:
        """
        Check the status of a run.

        :param run_id: the run id
        :raises TriggerDevError: the check failed; a NotFoundError if the key's environment has no such run
        """
        with _client(self) as client:
            return client.retrieve_run(run_id)

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


@contextmanager
def _client(hook: TriggerDevHook, *, max_connections: int = MAX_CONCURRENCY) -> Iterator[TriggerDevClient]:
    """Give a client; an error of the API then names the connection."""
    from airflow_provider_trigger.api.errors import TriggerDevError
    from airflow_provider_trigger.hooks.diagnosis import add_connection

    with hook.get_client(max_connections=max_connections) as client:
        try:
            yield client
        except TriggerDevError as error:
            add_connection(error, hook.settings)
            raise


def _run_ids(value: object) -> list[str]:
    from airflow_provider_trigger.reporting import enumeration
    from airflow_provider_trigger.sources.run_ids import RunIds

    if isinstance(value, Iterator):
        value = list(value)
    ids = RunIds()
    ids.add(value, source="run_ids")
    problems = [*map(str, ids.invalid), *(f"{source} is None" for source in ids.skipped)]
    if value is None or value:  # an empty list is valid
        problems += ids.empty
    if problems:
        raise ValueError(enumeration(problems, "; "))
    return ids.found
