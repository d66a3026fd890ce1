"""What a hook does with runs, for code of your own."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.defaults import (
    AUTOMATIC_KEY,
    MAX_CONCURRENCY,
    PENDING_VERSION_TIMEOUT,
    POLL_INTERVAL,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.models.runs import Run
    from airflow_provider_trigger.cancel.cancellation import Cancellation
    from airflow_provider_trigger.cancel.outcome import CancelResult
    from airflow_provider_trigger.hooks.connection import Settings

BULK_ACTION_NAME = "Canceled by Apache Airflow"
"""The name of bulk actions in the dashboard."""


class RunMethods:
    """The methods of :class:`~airflow_provider_trigger.hooks.trigger_dev.TriggerDevHook` on runs."""

    if TYPE_CHECKING:
        log: Any

        @property
        def settings(self) -> Settings: ...  # noqa: D102

        def client(self, *, max_connections: int = ...) -> AbstractContextManager[TriggerDevClient]: ...  # noqa: D102

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

        with self.client(max_connections=max_concurrency) as client:
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
        from airflow_provider_trigger.sources.run_ids import exactly_one

        return self.cancel_runs([exactly_one(run_id)])[0]

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
        from airflow_provider_trigger.sources.run_ids import all_valid

        with self.cancellation(all_valid(run_ids)) as cancellation:
            return cancellation.run()

    def get_run(self, run_id: str) -> Run:
        """
        Check the status of a run.

        :param run_id: the run id
        :raises TriggerDevError: the check failed; a NotFoundError if the key's environment has no such run
        """
        with self.client() as client:
            return client.retrieve_run(run_id)

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
        :raises ValueError: an argument is invalid; nothing is sent
        :raises TriggerDevError: it could not be started; the error says whether a run may exist
        """
        from airflow_provider_trigger.run.request import check_options, check_payload, to_api
        from airflow_provider_trigger.run.start import TaskRequest, start_run

        options = dict(options or {})
        if options.get("idempotency_key") == AUTOMATIC_KEY:  # would give all calls the same run
            what = f"one of your own, not {AUTOMATIC_KEY!r}: only an operator knows its task instance"
            raise ValueError(f"trigger_task: idempotency_key must be {what}")
        check_payload("trigger_task", payload)
        check_options("trigger_task", options)
        request = TaskRequest(task_identifier=task_identifier, payload=payload, options=to_api(options))
        with self.client() as client:
            return start_run(client, request, log=self.log).run_id

    def wait_for_run(
        self,
        run_id: str,
        *,
        timeout: float | None = None,
        poll_interval: float | None = None,
        pending_version_timeout: float | None = PENDING_VERSION_TIMEOUT,
    ) -> Run:
        """
        Wait until a run has ended, and return it, whatever its status; outages are waited out.

        :param run_id: the run id
        :param timeout: how long to wait, in seconds; None for no limit
        :param poll_interval: between two status checks, in seconds; None for a tenth of the run's age,
            between 2 and 30 s
        :param pending_version_timeout: how long the run may wait for a deployed version that has its task, in
            seconds; None for no limit
        :raises ValueError: ``poll_interval`` is not above 0
        :raises TimeoutError: the run had not ended in time, or waited for a version for longer than
            ``pending_version_timeout``; it is not canceled
        :raises TriggerDevError: the server rejected the checks for longer than ``retry_for``
        """
        from airflow_provider_trigger.api.errors import TriggerDevError
        from airflow_provider_trigger.run.drive import drive
        from airflow_provider_trigger.run.ending import why_given_up
        from airflow_provider_trigger.run.wait import WaitEnd, WaitSettings, wait_for_run
        from airflow_provider_trigger.validation import check_number

        if poll_interval is not None:
            check_number("wait_for_run", "poll_interval", poll_interval, least=0.01, unit="seconds")
        run_url = self.settings.run_url(run_id)
        settings = WaitSettings(
            run_url=run_url,
            poll_interval=poll_interval,
            deadline=None if timeout is None else time.time() + timeout,
            pending_version_timeout=pending_version_timeout,
            patience=self.settings.retry_for,
            cancels=False,
        )
        with self.client() as client:
            waited = drive(wait_for_run(run_id, settings, log=self.log), client)
            if waited.end is WaitEnd.FINAL and waited.run:
                return waited.run
            reason = why_given_up(waited, run_id, limit=f"timeout={timeout} s", run_url=run_url)
            raise (TriggerDevError if waited.end is WaitEnd.REJECTED else TimeoutError)(reason)

    def get_output(self, run_id: str) -> Any:
        """
        Return the output of a run that has completed: any JSON, up to 16 MB; None where it has none.

        :param run_id: the run id
        :raises ValueError: the run has not completed
        :raises TriggerDevError: the run or its output could not be fetched
        """
        from airflow_provider_trigger.run.output import output_of

        with self.client() as client:
            run = client.retrieve_run(run_id)
            if not run.is_success:
                raise ValueError(f"Run {run_id} has no output: it is {run.status}")
            return output_of(run, client, log=self.log)

    def replay_run(self, run_id: str) -> str:
        """
        Start a run again, and return the new run's id.

        :param run_id: the run id
        :raises TriggerDevError: it could not be started; the error says whether a run may exist
        """
        from airflow_provider_trigger.run.start import replay

        with self.client() as client:
            return replay(client, run_id).run_id

    def reschedule_run(self, run_id: str, delay: Any) -> Run:
        """
        Change when a DELAYED run starts, and return the run.

        :param run_id: the run id
        :param delay: a duration from now such as ``"1h30m"``, a timedelta, a time, or an ISO date
        :raises ValueError: the delay is invalid or has passed; nothing is sent
        :raises TriggerDevError: it could not be changed, as the run is not DELAYED, for example
        """
        from airflow_provider_trigger.api.endpoints.runs import reschedule_run
        from airflow_provider_trigger.run.request import check_options, to_api

        given = {"delay": "" if delay is None else delay}  # None would be no option at all
        check_options("reschedule_run", given)
        with self.client() as client:
            return client.call(reschedule_run(run_id, delay=to_api(given)["delay"]))
