"""Base class of operators that start one run: start it, wait for it, and return its output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_trigger._compat import AirflowException
from airflow_provider_trigger._compat.assets import add_to_asset_events
from airflow_provider_trigger.operators.base import RunsOperator, Work
from airflow_provider_trigger.operators.results import push
from airflow_provider_trigger.xcom_keys import RUN_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.api.models import Run
    from airflow_provider_trigger.run.guard import Guard
    from airflow_provider_trigger.run.starts import Started
    from airflow_provider_trigger.run.wait_settings import WaitSettings
    from airflow_provider_trigger.run.waited import Waited


ASSET_EXTRA = "trigger_dev"
"""The key in the ``extra`` of an asset's event."""


class OneRunOperator(RunsOperator):
    """
    Start one run, and wait for it; a subclass says how it starts.

    The run's id is in XCom as ``run_id``, and its page in the dashboard as ``run_url``, as soon as the server
    has answered. The return value is the run's output, or its id where the operator does not wait. Where it
    waits, XCom ``run`` has at its end, also where the task fails, ``{"run_id", "run_url", "status",
    "task_identifier", "version", "attempts", "created_at", "started_at", "finished_at", "compute_seconds",
    "cost_in_cents", "metadata"}``, None for what is not known; with
    ``do_xcom_push=False`` there is none. The same without metadata is in the events of the assets in
    ``outlets``, in ``extra`` under ``"trigger_dev"``.

    :raises TriggerRunFailedError: when it runs: the run has ended without success; see
        :mod:`airflow_provider_trigger.exceptions`
    """

    def _start_run(self, work: Work, guard: Guard) -> Started:
        """Start the run, or return one to take up."""
        raise NotImplementedError

    def _start(self, work: Work, guard: Guard, *, on_ids: Callable[[], object]) -> Mapping[str, Run]:
        started = self._start_run(work, guard)
        guard.know(started.run_id)
        on_ids()
        return {started.run_id: started.run} if started.run else {}

    def _xcom_of(self, run_ids: Sequence[str | None]) -> Any:
        return run_ids[0]

    def _defer(
        self, run_ids: Sequence[str], settings: WaitSettings, guard: Guard, context: Context
    ) -> NoReturn:
        # The resumed task logs the end with what the run has used, which a query does not show.
        super()._defer(run_ids, replace(settings, logs_end=False), guard, context)

    def _complete(self, event: Any, context: Context) -> Any:
        from airflow_provider_trigger.run.event import check_again, read_event
        from airflow_provider_trigger.run.facts import state_of

        [(run_id, waited)] = read_event(event).items()
        hook = self._hook()
        with hook.client(has_worked=True) as client:
            waited = check_again(run_id, waited, client)
            if waited.run is not None and waited.run.is_final:
                self.log.info("%s", state_of(waited.run))
            self.run_url = hook.settings.run_url(run_id)
            return self._conclude([run_id], {run_id: waited}, Work(client, hook, context))

    def _conclude(self, run_ids: Sequence[str], ended: Mapping[str, Waited], work: Work) -> Any:
        """Return the output of a run that has completed, or fail."""
        from airflow_provider_trigger.operators.conclusion import failure_of
        from airflow_provider_trigger.report.ends import why_no_output
        from airflow_provider_trigger.run.event import check_again
        from airflow_provider_trigger.run.output import output_for_xcom
        from airflow_provider_trigger.run.waited import WaitEnd

        [run_id] = run_ids
        waited, run_url = ended[run_id], work.hook.settings.run_url(run_id)
        if waited.end is WaitEnd.FINAL and waited.run and not (waited.run.has_contents or waited.error):
            # It was taken up as the wait for its worker has seen it.
            waited = check_again(run_id, waited, work.client)
        self._keep_facts(waited.run, work.context, run_id=run_id, run_url=run_url)
        [end] = self._ends_of(run_ids, {run_id: waited}, work)
        self._write_logs([end], work.hook, fails=bool(end.reason))
        if reason := why_no_output(waited, run_url=run_url):
            raise AirflowException(reason)
        if waited.run is not None and waited.run.is_success:
            return output_for_xcom(waited.run, work.client, max_size=self.max_output_size, log=self.log)
        raise failure_of(end, run_url=run_url, log=self.log)

    def _keep_facts(self, run: Run | None, context: Context, *, run_id: str, run_url: str) -> None:
        """Push what is known of a run, and add it to the events of the assets that the task updates."""
        from airflow_provider_trigger.run.facts import run_facts
        from airflow_provider_trigger.run.xcom import UnstorableError, for_xcom

        facts = run_facts(run, run_id=run_id, run_url=run_url)
        metadata = facts.pop("metadata")
        add_to_asset_events(self.outlets, context, key=ASSET_EXTRA, value=facts)
        try:
            metadata = for_xcom(metadata, f"The metadata of run {run_id}", log=self.log)
        except UnstorableError as error:
            self.log.warning("%s: XCom %r lacks it", error, RUN_KEY)
            metadata = None
        push(self, RUN_KEY, facts | {"metadata": metadata}, context)
