"""The hook: an Airflow connection as a client of Trigger.dev."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger import defaults, rules
from airflow_provider_trigger._compat import BaseHook
from airflow_provider_trigger.api.errors import TriggerDevError, UnreadableAnswerError
from airflow_provider_trigger.api.http import segment
from airflow_provider_trigger.api.limits import NEVER, Deadline
from airflow_provider_trigger.api.runs import reschedule_run, retrieve_run
from airflow_provider_trigger.api.statuses import TODAYS_STATUSES
from airflow_provider_trigger.api.tokens import CreatedToken, WaitpointToken, create_token, retrieve_token
from airflow_provider_trigger.cancel.record import CancelSettings
from airflow_provider_trigger.get_provider_info import CONNECTION_NAME, CONNECTION_TYPE, FORM
from airflow_provider_trigger.hooks.connection import (
    ConnectionNotFoundError,
    InvalidConnectionError,
    Settings,
    read_settings,
)
from airflow_provider_trigger.hooks.fetching import MAX_TIMEOUT, fetch_connection, fetch_key, try_connection
from airflow_provider_trigger.log import enumeration
from airflow_provider_trigger.rules import Duration
from airflow_provider_trigger.run.request import (
    OPTIONS,
    TOKEN_OPTIONS,
    TaskRequest,
    check_data,
    check_json,
    to_api,
)
from airflow_provider_trigger.run.search import ALL_TIMES, RunFilter
from airflow_provider_trigger.run.wait import WaitSettings
from airflow_provider_trigger.run.wait_outcome import WaitEnd
from airflow_provider_trigger.sources.arguments import SELECTING, Selection, batch_ids, terms
from airflow_provider_trigger.sources.run_ids import TOKEN_IDS, RunIds, all_valid, exactly_one, hint

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.models import ListedRun, Run
    from airflow_provider_trigger.api.secret_key import SecretKey
    from airflow_provider_trigger.cancel.cancellation import Cancellation
    from airflow_provider_trigger.cancel.outcome import CancelResult
    from airflow_provider_trigger.tokens.complete import Completion, CompletionResult


FILTER_RULES = {
    "tags": SELECTING["tags"],
    "statuses": terms("status", TODAYS_STATUSES),
    "task_identifiers": terms("task identifier"),
    "batch_id": lambda name, value, when: batch_ids(name, [value], when)[0],
    "limit": rules.number("runs", least=1, whole=True),
}

WAIT_RULES = {
    "timeout": rules.optional(rules.duration(least=0)),
    "poll_interval": rules.optional(rules.duration(least=0.01)),
    "pending_version_timeout": rules.optional(rules.duration(least=0)),
    "run_progress": rules.boolean,
}
# After its timeout, wait_for_run ends within a second: in the last check, and two turns of the wait.
_LAST_CHECK, _TURN = 0.75, 0.1


class TriggerDevHook(BaseHook):
    """
    Turn an Airflow connection into a client of Trigger.dev: start, check and cancel runs, complete tokens.

    If Airflow does not find the connection, its first use raises a ``ConnectionNotFoundError``; if a field is
    missing or invalid, an ``InvalidConnectionError``, which fails the task without retries. An invalid
    argument is a ``ValueError``, and nothing is sent. An error of the API is a ``TriggerDevError``.

    :param trigger_dev_conn_id: the id of the connection
    :param connection: the connection itself, if the caller has it already; then it is not fetched
    """

    conn_name_attr = "trigger_dev_conn_id"
    default_conn_name = defaults.CONN_ID
    conn_type = CONNECTION_TYPE
    hook_name = CONNECTION_NAME

    def __init__(
        self, trigger_dev_conn_id: str = defaults.CONN_ID, *, connection: Connection | None = None
    ) -> None:
        super().__init__()
        self.trigger_dev_conn_id = trigger_dev_conn_id
        self._connection = connection

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the connection form's settings for Airflow up to 3.1; newer ones read the provider info."""
        return {name.replace("-", "_"): value for name, value in FORM.items()}

    def test_connection(self) -> tuple[bool, str]:
        """Test the connection; return whether it works, and one line that says why."""
        try:
            timeout = min(self.settings.timeout, MAX_TIMEOUT)
        except (InvalidConnectionError, ConnectionNotFoundError) as error:
            return False, str(error)
        with self.get_client(timeout=timeout, retry_for=0) as client:
            return try_connection(client, self.settings)

    @cached_property
    def settings(self) -> Settings:
        """The connection's values, read and checked."""
        found = self._connection or fetch_connection(self.trigger_dev_conn_id, get=self.get_connection)
        return read_settings(found)

    @cached_property
    def _key(self) -> SecretKey:
        """The key, which all clients share; it is fetched again after a 401."""
        from airflow_provider_trigger.api.secret_key import SecretKey

        get = partial(fetch_connection, get=self.get_connection)
        fetch = None if self._connection else lambda _: fetch_key(self.settings, fetch=get)
        return SecretKey(self.settings.secret_key, fetch=fetch)

    def get_client(
        self,
        *,
        max_connections: int = defaults.MAX_CONCURRENCY,
        timeout: float | None = None,
        retry_for: float | None = None,
    ) -> TriggerDevClient:
        """
        Return a new client; close it, or use it in a ``with`` statement.

        :param max_connections: how many connections it keeps open
        :param timeout: for one request, in seconds; None for the connection's value
        :param retry_for: how long one call is retried, in seconds; None for the connection's value; with 0
            it requests nothing from Airflow, also after a 401, so it may be used in a signal handler
        """
        from airflow_provider_trigger.api.client import TriggerDevClient

        given: dict[str, Any] = {"timeout": timeout, "retry_for": retry_for}
        given = {name: value for name, value in given.items() if value is not None}
        settings = replace(self.settings, **given)
        client = TriggerDevClient(settings, max_connections=max_connections, secret_key=self._key)
        client.fetches_key = retry_for != 0
        return client

    def get_conn(self) -> TriggerDevClient:
        """Return a new client, as every hook does; see :meth:`get_client`."""
        return self.get_client()

    @contextmanager
    def client(
        self, *, max_connections: int = defaults.MAX_CONCURRENCY, has_worked: bool = False
    ) -> Iterator[TriggerDevClient]:
        """
        Give a new client; an error of the API that leaves the ``with`` names the connection.

        ``has_worked``: the server has answered another client, so a page in its place is an outage.
        """
        with self.get_client(max_connections=max_connections) as client:
            if has_worked:
                client.breaker.has_worked = True
            try:
                yield client
            except TriggerDevError as error:
                self.settings.explain(error)
                raise

    def request(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        params: Mapping[str, str | float | bool] | None = None,
        repeatable: bool | None = None,
    ) -> Any:
        """
        Send any request of Trigger.dev's API, and return the JSON of its answer.

        It has the key, the branch, the pace, the retries and the errors of all other calls.

        :param method: ``GET``, ``POST``, ``PUT``, ``PATCH`` or ``DELETE``
        :param path: such as ``/api/v1/queues``, percent-encoded, without a query
        :param json: the body; None for none
        :param params: the query
        :param repeatable: whether sending it twice does no more than sending it once, so that it is sent
            again where its answer is lost; None for GET only
        :raises ValueError: an argument is invalid; nothing is sent
        :raises TriggerDevError: the server did not do it, or its answer is no JSON or above 16 MB
        """
        from airflow_provider_trigger.api.any_call import any_call

        with rules.naming("request"):
            check_json("json", json)
            call = any_call(method, path, json, params or {}, repeatable=repeatable)
        with self.client() as client:
            return client.call(call)

    def trigger_task(
        self, task_identifier: str, payload: Any = None, options: Mapping[str, Any] | None = None
    ) -> str:
        """
        Start a run of a task and return the run's id.

        :param task_identifier: the id of the Trigger.dev task
        :param payload: any JSON; None for no payload
        :param options: as the arguments of
            :class:`~airflow_provider_trigger.operators.run.RunTriggerTaskOperator` are named, such as
            ``{"delay": "1h", "idempotency_key": "order-17"}``, with up to 10 tags; and
            ``idempotency_key_ttl``. With an ``idempotency_key`` whose run is alive or has completed, that
            run's id is returned. There is none by default
        :raises TriggerDevError: it could not be started; the error says whether a run may exist
        """
        from airflow_provider_trigger.run.starts import start_now

        with rules.naming("trigger_task"):
            given = to_api(options or {})
            if given.get("idempotencyKey") == defaults.AUTOMATIC_KEY:  # would give all calls the same run
                raise ValueError("idempotency_key must be one of your own: only an operator can make one")
            check_json("payload", payload)
            request = TaskRequest(task_identifier=task_identifier, payload=payload, options=given)
        with self.client() as client:
            return start_now(client, request, log=self.log)

    def wait_for_run(
        self,
        run_id: str,
        *,
        timeout: Duration | None = None,
        poll_interval: Duration | None = None,
        pending_version_timeout: Duration | None = defaults.PENDING_VERSION_TIMEOUT,
        run_progress: bool = True,
    ) -> Run:
        """
        Wait until a run has ended, and return it, whatever its status; outages are waited out.

        A duration is given in seconds, as a timedelta, or as a text such as ``"5m"``.

        :param run_id: the run id
        :param timeout: how long to wait, a second more at most; None for no limit
        :param poll_interval: between two status checks; None for a tenth of the run's age, but 2 to 30 s
        :param pending_version_timeout: how long the run may wait for a deployed version that has its task;
            None for no limit
        :param run_progress: whether the log shows the run's metadata when it has changed, cut at 200
            characters
        :raises ValueError: it is the id of a batch, or no id; nothing is sent
        :raises TimeoutError: the run had not ended in time, or waited for a version for longer than
            ``pending_version_timeout``; it is not canceled
        :raises TriggerDevError: the server answered the checks without the run for longer than ``retry_for``,
            and for 30 s at least: a shorter ``timeout`` comes first, also where there is no such run
        """
        from airflow_provider_trigger.report.ends import why_not_completed
        from airflow_provider_trigger.run.watch import wait_for_runs

        began_at, now = time.time(), time.monotonic()
        given = {"timeout": timeout, "poll_interval": poll_interval, "run_progress": run_progress}
        with rules.naming("wait_for_run"):
            run_id = exactly_one(run_id)
            if run_id.startswith("batch_"):
                raise ValueError(hint(run_id))
            how = rules.checked(WAIT_RULES, given | {"pending_version_timeout": pending_version_timeout})
        limit = how.pop("timeout")
        settings = WaitSettings(
            **how,
            run_url=self.settings.run_url(run_id),
            deadline=None if limit is None else began_at + limit,
            patience=self.settings.retry_for,
            cancels=False,
        )
        with self.client(has_worked=True) as client:
            if limit is not None:  # on a slow server, the last check needs all of the time
                client.deadline = Deadline(now + limit + _LAST_CHECK, is_for_one=True)
            outcome = wait_for_runs([run_id], settings, client, log=self.log, turn=_TURN)[run_id]
            if outcome.end is WaitEnd.FINAL and outcome.run:
                return outcome.run
            where = {"run_url": settings.run_url, "conn_id": self.trigger_dev_conn_id}
            reason = why_not_completed(outcome, run_id, **where, timeouts={"timeout": limit})
            raise (TriggerDevError if outcome.end is WaitEnd.REJECTED else TimeoutError)(reason)

    def get_run(self, run_id: str) -> Run:
        """
        Check the status of a run.

        :param run_id: the run id
        :raises NotFoundError: the key's environment has no such run
        """
        with self.client() as client:
            return client.call(retrieve_run(run_id))

    def list_runs(
        self,
        *,
        tags: str | Sequence[str] | None = None,
        statuses: str | Sequence[str] | None = None,
        task_identifiers: str | Sequence[str] | None = None,
        batch_id: str | None = None,
        created_after: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[ListedRun]:
        """
        List runs, the newest first, 100 with each request, which is sent when its first run is needed.

        A run must fit all arguments that are given; None allows any. The list lags 1 to 2 s behind
        (measured): a run that was started a moment ago may be missing.

        :param tags: all of these. The server searches for the first one: give the rarest first
        :param statuses: one of these, such as ``EXECUTING``
        :param task_identifiers: one of these Trigger.dev tasks
        :param batch_id: the batch that started them. An older server that cannot filter by it lists the runs
            of all; :meth:`get_run` shows the ``batch_id`` of a run
        :param created_after: since when they exist, with a time zone; None for all times
        :param limit: how many at most; None for all
        """
        given: dict[str, Any] = {"tags": tags, "statuses": statuses, "task_identifiers": task_identifiers}
        with rules.naming("list_runs"):
            if created_after is not None and getattr(created_after, "tzinfo", None) is None:
                raise ValueError(f"created_after must be a datetime with a zone, not {created_after!r}")
            found = rules.checked_given(FILTER_RULES, {**given, "batch_id": batch_id, "limit": limit})
        limit = found.pop("limit", None)
        is_given = created_after is not None
        which = RunFilter(**found, created_from=created_after or ALL_TIMES, is_whole=is_given)

        def listed() -> Iterator[ListedRun]:
            with self.client() as client:
                yield from islice((run for page in which.pages(client) for run in page), limit)

        return listed()

    def get_output(self, run_id: str) -> Any:
        """
        Return the output of a run that has completed: any JSON, up to 16 MB; None where it has none.

        :param run_id: the run id
        :raises ValueError: the run has not completed
        :raises TriggerDevError: it could not be fetched; an ``OutputTooLargeError`` says how to download it
        """
        from airflow_provider_trigger.run.output import output_of

        with self.client() as client:
            run = client.call(retrieve_run(run_id))
            if not run.is_success:
                raise ValueError(f"Run {run_id} has no output: it is {run.status}")
            return output_of(run, client, log=self.log)

    def replay_run(self, run_id: str) -> str:
        """
        Start a run again, and return the new run's id.

        :param run_id: the run id
        :raises TriggerDevError: it could not be started; the error says whether a run may exist
        """
        from airflow_provider_trigger.run.starts import start_now

        segment(run_id)
        with self.client() as client:
            return start_now(client, TaskRequest(replay_of=run_id), log=self.log)

    def reschedule_run(self, run_id: str, delay: Any) -> Run:
        """
        Change when a DELAYED run starts, and return the run.

        :param run_id: the run id
        :param delay: a duration from now such as ``"1h30m"``, a timedelta, a time, or an ISO date
        :raises TriggerDevError: it could not be changed, as the run is not DELAYED, for example
        """
        with rules.naming("reschedule_run"):
            options = rules.checked(OPTIONS, {"delay": delay})
        with self.client() as client:
            return client.call(reschedule_run(run_id, **options))

    def cancel_run(self, run_id: Any) -> CancelResult:
        """
        Cancel one run and return its outcome; for the other errors see :meth:`cancel_runs`.

        :param run_id: a run id, or any value that :meth:`cancel_runs` accepts and that contains exactly one
        """
        return self.cancel_runs([exactly_one(run_id)])[0]

    def cancel_runs(
        self,
        run_ids: Any = None,
        *,
        tags: str | Sequence[str] | None = None,
        batch_ids: str | Sequence[str] | None = None,
        max_runs: int = defaults.MAX_RUNS,
    ) -> list[CancelResult]:
        """
        Cancel many runs and return the outcome of each.

        With ``tags`` or ``batch_ids``, the runs are searched for twice, 2.5 s apart, as the server shows a
        new run with a delay. The log names each, and says why the second search failed, or left out some.

        The list has one :class:`~airflow_provider_trigger.cancel.outcome.CancelResult` for each run, in the
        order of the ids. Its ``outcome`` is ``canceled``, ``already_completed``, ``not_found`` or ``failed``;
        for ``failed``, nothing is raised, and its ``error`` says why.

        :param run_ids: run ids in any form that the operator accepts: a list, text, dicts with an ``id``
        :param tags: in addition, the runs that are alive and have all of these
        :param batch_ids: in addition, the runs of these batches that are alive
        :param max_runs: how many runs ``tags`` and ``batch_ids`` may find
        :raises ValueError: there is no such batch, or more than ``max_runs`` are found; no other run than
            those of ``run_ids`` is canceled
        :raises AuthenticationError: the server rejected the secret key; some runs may be canceled by then
        :raises TriggerDevError: the runs could not be searched for; only those of ``run_ids`` are canceled
        """
        from airflow_provider_trigger.sources.search import SelectedRuns

        given = {"tags": tags, "batch_ids": batch_ids, "max_runs": max_runs}
        with rules.naming("cancel_runs"):
            table = {**SELECTING, "max_runs": FILTER_RULES["limit"]}
            selection = Selection(**rules.checked_given(table, given))
        ids = RunIds(found=[] if selection and run_ids is None else all_valid(run_ids))
        selected = SelectedRuns(selection, ids, log=self.log)
        with self.cancellation(ids.found, CancelSettings()) as work:
            results = work.run(selected.search(work.client, needs_all=True) if selection else None)
            if selection:
                selected.note_end(work)
            if selected.error is not None:
                raise selected.error
        if problems := ids.too_many + ids.invalid:
            raise ValueError(f"cancel_runs: {enumeration(problems, '; ')}")
        return results

    @contextmanager
    def cancellation(
        self,
        run_ids: Iterable[str],
        settings: CancelSettings,
        *,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Cancellation]:
        """
        Give a cancellation on a client of its own; an error that leaves the ``with`` names the connection.

        ``is_stopped`` is called several times per second; true stops the work within a second.
        """
        from airflow_provider_trigger.cancel.cancellation import Cancellation

        # One more connection, for a search of further runs.
        with self.client(max_connections=settings.max_concurrency + 1) as client:
            action = self.settings.action_for
            yield Cancellation(client, run_ids, settings, is_stopped=is_stopped, action_for=action)

    def create_waitpoint_token(
        self,
        *,
        timeout: Duration | None = None,
        tags: str | Sequence[str] | None = None,
        idempotency_key: str | None = None,
    ) -> CreatedToken:
        """
        Create a waitpoint token: its ``id``, and its ``url``, by which anybody can complete it without a key.

        :param timeout: how long it can be completed: seconds, a timedelta, or a text such as ``"5m"``, 1 s or
            more, rounded up to seconds; None for no limit
        :param tags: up to 10, of up to 128 characters, without a comma
        :param idempotency_key: the token that was created with it before is returned, whatever became of it
            since; None for none
        :raises TriggerDevError: it could not be created; the error says whether it may exist
        """
        from airflow_provider_trigger.run.sending import saying_what_may_exist

        given = {"timeout": timeout, "tags": tags, "idempotency_key": idempotency_key}
        with rules.naming("create_waitpoint_token"):
            options = to_api(given, known=TOKEN_OPTIONS)
        with self.client() as client, saying_what_may_exist("token", "create", has_key=bool(idempotency_key)):
            return client.call(create_token(options))

    def get_waitpoint_token(self, token_id: Any) -> WaitpointToken:
        """
        Check a waitpoint token: its ``status`` (WAITING, COMPLETED or TIMED_OUT) and its ``output``.

        :param token_id: a token id, ``{"id", "url"}``, or the token's address
        :raises UnknownTokenError: the key's environment has no such token, which takes some seconds to know
        """
        call = retrieve_token(exactly_one(token_id, TOKEN_IDS))
        with self.client() as client:
            token = client.call(call)
            if token.output_error:
                raise UnreadableAnswerError(f"waitpoint token {token.id}: {token.output_error}")
            return token

    def complete_waitpoint_token(self, token_id: Any, data: Any = None) -> CompletionResult:
        """
        Complete a waitpoint token, so that what waits for it continues, and return what became of it.

        Its ``outcome`` is ``completed``, ``already_completed``, ``timed_out``, ``not_found``, ``accepted`` or
        ``failed``; for none of them anything is raised, and for the last two its ``error`` says why.

        :param token_id: a token id, ``{"id", "url"}``, or the token's address
        :param data: any JSON, up to 512 KB, with integers up to 2^53
        :raises AuthenticationError: the server rejected the secret key
        """
        found = exactly_one(token_id, TOKEN_IDS)
        with rules.naming("complete_waitpoint_token"):
            check_data("data", data)
        with self.completion(data) as work:
            [result] = work.run([found])
            if work.rejection is not None and result.outcome == "failed":
                raise work.rejection
        return result

    @contextmanager
    def completion(
        self, data: Any, *, deadline: Deadline = NEVER, is_stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[Completion]:
        """Give a completion with checked data on a client of its own; ``deadline`` is of the whole work."""
        from airflow_provider_trigger.tokens.complete import Completion

        with self.client() as client:
            action = self.settings.action_for
            yield Completion(client, data, deadline=deadline, action_for=action, is_stopped=is_stopped)
