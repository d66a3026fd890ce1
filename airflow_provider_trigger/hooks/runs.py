"""The hook's methods that start runs, wait for them, get their outputs, replay and reschedule them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.defaults import PENDING_VERSION_TIMEOUT
from airflow_provider_trigger.hooks.clients import ClientHook

if TYPE_CHECKING:
    from airflow_provider_trigger.api.models.runs import ListedRun, Run
    from airflow_provider_trigger.durations import Duration
    from airflow_provider_trigger.run.find import RunFilter
    from airflow_provider_trigger.run.wait_settings import WaitSettings
    from airflow_provider_trigger.run.waited import Waited


class RunsHook(ClientHook):
    """Start and check runs."""

    def get_run(self, run_id: str) -> Run:
        """
        Check the status of a run.

        :param run_id: the run id
        :raises ValueError: not a run id; nothing is sent
        :raises TriggerDevError: the check failed; a NotFoundError if the key's environment has no such run
        """
        from airflow_provider_trigger.api.endpoints.runs import retrieve_run

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
        :raises ValueError: an argument is invalid, such as an empty list, a tag with a comma or an unknown
            status; nothing is sent
        :raises TriggerDevError: the list failed; raised by the iterator
        """
        from airflow_provider_trigger.hooks.run_arguments import run_filter

        found = run_filter(
            tags=tags,
            statuses=statuses,
            task_identifiers=task_identifiers,
            batch_id=batch_id,
            created_after=created_after,
            limit=limit,
        )
        return self._listed(found, limit)

    def _listed(self, runs: RunFilter, limit: int | None) -> Iterator[ListedRun]:
        with self.client() as client:
            yield from islice((run for page in runs.pages(client) for run in page), limit)

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
        from airflow_provider_trigger.hooks.run_arguments import task_request
        from airflow_provider_trigger.run.start import start_run

        request = task_request(task_identifier, payload, options)
        with self.client() as client:
            return start_run(client, request, log=self.log).run_id

    def wait_for_run(
        self,
        run_id: str,
        *,
        timeout: Duration | None = None,
        poll_interval: Duration | None = None,
        pending_version_timeout: Duration | None = PENDING_VERSION_TIMEOUT,
    ) -> Run:
        """
        Wait until a run has ended, and return it, whatever its status; outages are waited out.

        A duration is given in seconds, as a timedelta, or as a text such as ``"5m"``.

        :param run_id: the run id
        :param timeout: how long to wait; None for no limit
        :param poll_interval: between two status checks; None for more often at first, see
            :class:`~airflow_provider_trigger.run.wait_settings.WaitSettings`
        :param pending_version_timeout: how long the run may wait for a deployed version that has its task;
            None for no limit
        :raises ValueError: one of them is not a duration, or not a run id
        :raises TimeoutError: the run had not ended in time, or waited for a version for longer than
            ``pending_version_timeout``; it is not canceled
        :raises TriggerDevError: the server rejected the checks for longer than ``retry_for``
        """
        from airflow_provider_trigger.durations import read_duration
        from airflow_provider_trigger.hooks.run_arguments import wait_settings
        from airflow_provider_trigger.run.drive import drive
        from airflow_provider_trigger.run.wait import wait_for_runs

        settings = wait_settings(
            run_id,
            self.settings,
            timeout=timeout,
            poll_interval=poll_interval,
            pending_version_timeout=pending_version_timeout,
        )
        with self.client() as client:
            waited = drive(wait_for_runs([run_id], settings, log=self.log), client)[run_id]
            limit = None if timeout is None else read_duration(timeout)
            return _ended_run(waited, run_id, settings, timeout=limit)

    def get_output(self, run_id: str) -> Any:
        """
        Return the output of a run that has completed: any JSON, up to 16 MB; None where it has none.

        :param run_id: the run id
        :raises ValueError: the run has not completed, or it is not a run id
        :raises TriggerDevError: it could not be fetched; an ``OutputTooLargeError`` says how to download it
        """
        from airflow_provider_trigger.api.endpoints.runs import retrieve_run
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
        :raises ValueError: not a run id; nothing is sent
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
        :raises ValueError: the delay is invalid or has passed, or not a run id; nothing is sent
        :raises TriggerDevError: it could not be changed, as the run is not DELAYED, for example
        """
        from airflow_provider_trigger.api.endpoints.runs import reschedule_run
        from airflow_provider_trigger.hooks.run_arguments import new_delay

        sent = new_delay(delay)
        with self.client() as client:
            return client.call(reschedule_run(run_id, delay=sent))


def _ended_run(waited: Waited, run_id: str, settings: WaitSettings, *, timeout: float | None) -> Run:
    """
    Return the run that was waited for.

    :param waited: what the wait came to
    :param run_id: the run
    :param settings: of the wait
    :param timeout: the time limit, in seconds, for the error
    :raises TimeoutError: the run had not ended in time
    :raises TriggerDevError: the run can no longer be checked, or its output cannot be fetched
    """
    from airflow_provider_trigger.report.ends import why_no_output, why_not_completed
    from airflow_provider_trigger.run.waited import WaitEnd

    if reason := why_no_output(waited, run_url=settings.run_url):
        raise TriggerDevError(reason)
    if waited.end is WaitEnd.FINAL and waited.run:
        return waited.run
    reason = why_not_completed(
        waited,
        run_id,
        run_url=settings.run_url,
        timeouts={"timeout": timeout},
        is_development=settings.is_development,
    )
    raise (TriggerDevError if waited.end.is_unseen else TimeoutError)(reason)
