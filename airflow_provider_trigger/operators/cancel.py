"""Cancel runs in a task of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_trigger import _compat, defaults, rules
from airflow_provider_trigger.links.run import TriggerRunLink, push_link
from airflow_provider_trigger.log import counted, enumeration, write
from airflow_provider_trigger.operators.base import conclude, push_results
from airflow_provider_trigger.rules import Duration
from airflow_provider_trigger.sources.arguments import SelectsRuns, check_arguments

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.cancel.cancellation import Cancellation
    from airflow_provider_trigger.cancel.outcome import CancelResult
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
    from airflow_provider_trigger.sources.arguments import Selection
    from airflow_provider_trigger.sources.run_ids import RunIds

RULES = {
    "max_runs": rules.number("runs", least=1, whole=True),
    "trigger_dev_conn_id": rules.connection_id,
    "on_not_found": rules.choice("fail", "ignore"),
    "on_empty": rules.choice("fail", "ignore"),
    "include_descendants": rules.boolean,
    "wait_for_termination": rules.boolean,
    "termination_timeout": rules.duration(least=0),
    "poll_interval": rules.duration(least=0.01),
    "max_concurrency": rules.number("requests", least=1, whole=True),
}


class CancelTriggerRunOperator(SelectsRuns, _compat.BaseOperator):
    """
    Cancel Trigger.dev runs, and report for each run what became of it.

    A run that has already ended counts as success. No run's failure stops another. The return value, in XCom
    also when the task fails, is a list in the ids' order of ``{"run_id", "outcome", "status",
    "task_identifier", "terminated"}``, and ``"error"`` where the outcome is ``failed``; see
    :class:`airflow_provider_trigger.cancel.outcome.CancelOutcome`. Descendants come after the given runs, and
    have ``"parent_run_id"``, too.

    The task is not retried where that cannot help: a rejected key, an unknown run, an invalid value.

    :param tags: cancels the runs that are alive and have all of these, too; they are searched for twice,
        2.5 s apart, as the server shows a new run with a delay, while those of ``run_ids`` are canceled;
        templated
    :param batch_ids: cancels the runs of these batches that are alive, in the same way; if more are still
        being created, the task fails after that, and a retry cancels them; templated
    :param max_runs: if ``tags`` and ``batch_ids`` find more runs, the task fails, and cancels none of these;
        if only the second search finds more, it fails after it has canceled as many
    :param on_not_found: ``"fail"``: a run that this key's environment does not have fails the task;
        ``"ignore"``: it does not
    :param on_empty: ``"fail"``: a source without run ids, or tags or a batch without runs that are alive,
        fails the task; ``"ignore"``: it is a warning in the log
    :param include_descendants: whether to cancel all that the runs have started, too, and what that has
        started, at once; those that have ended by themselves are left out, and one that vanishes is no
        failure. It takes at least 2.4 s, as the server shows a new run with a delay
    :param wait_for_termination: whether to wait until the canceled runs are terminated, their workers too
    :param termination_timeout: how long to wait for that in all: seconds, a timedelta, or a text such as
        ``"5m"``; a run that is not terminated by then is ``"terminated": false``, and not a failure
    :param poll_interval: between two status checks of a run while waiting; given in the same ways
    :param max_concurrency: how many requests are in flight at a time
    :raises ValueError: when the Dag is parsed: none of ``run_ids``, ``xcom_task_ids``, ``tags`` and
        ``batch_ids``, a task in place of its id, or an invalid value such as an empty list of tags; in a
        mapped task, when it runs: then it fails without retries
    """

    template_fields: Sequence[str] = (*SelectsRuns.template_fields, "trigger_dev_conn_id")
    operator_extra_links = (TriggerRunLink(),)  # to the first run
    ui_color = "#fde8e4"

    def __init__(
        self,
        *,
        run_ids: Any = None,
        xcom_task_ids: str | Iterable[str] | None = None,
        xcom_key: str | None = None,
        tags: str | Sequence[str] | None = None,
        batch_ids: str | Sequence[str] | None = None,
        max_runs: int = defaults.MAX_RUNS,
        trigger_dev_conn_id: str = defaults.CONN_ID,
        on_not_found: Literal["fail", "ignore"] = "fail",
        on_empty: Literal["ignore", "fail"] = "ignore",
        include_descendants: bool = False,
        wait_for_termination: bool = False,
        termination_timeout: Duration = defaults.TERMINATION_TIMEOUT,
        poll_interval: Duration = defaults.POLL_INTERVAL,
        max_concurrency: int = defaults.MAX_CONCURRENCY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.trigger_dev_conn_id = trigger_dev_conn_id
        self.on_not_found = on_not_found
        self.on_empty = on_empty
        self.include_descendants = include_descendants
        self.wait_for_termination = wait_for_termination
        self.termination_timeout: Any = termination_timeout
        self.poll_interval: Any = poll_interval
        self.max_concurrency = max_concurrency
        self.run_url: str | None = None
        self._is_stopped = False
        self._take_runs(locals())
        check_arguments(self, RULES)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Cancel the runs; see the class."""
        ids = self._gather_ids(context, on_empty=self.on_empty)
        selection = self._selection(ids)
        if ids.found or selection:
            return self._cancel(ids, selection, context)
        return self._conclude([], ids, context)

    def _cancel(self, ids: RunIds, selection: Selection, context: Context) -> list[dict[str, Any]]:
        from airflow_provider_trigger.api.errors import AuthenticationError
        from airflow_provider_trigger.cancel.record import CancelSettings
        from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
        from airflow_provider_trigger.report.cancels import adding, gathered_left
        from airflow_provider_trigger.sources.search import SelectedRuns, lacking

        hook = TriggerDevHook(self.trigger_dev_conn_id)
        with adding(gathered_left(ids, searched=bool(selection))):
            connection = hook.settings
        self._announced(ids.found, hook, context)
        options: dict[str, Any] = {"log": self.log, "is_stopped": lambda: self._is_stopped}
        selected = SelectedRuns(selection, ids, on_empty=self.on_empty, **options)
        settings = CancelSettings(
            max_concurrency=self.max_concurrency,
            termination_timeout=self.termination_timeout if self.wait_for_termination else None,
            poll_interval=self.poll_interval,
            include_descendants=self.include_descendants,
        )
        with hook.cancellation(ids.found, settings, is_stopped=lambda: self._is_stopped) as work:
            try:
                searches = [selected.search(work.client)] if selection else []
                searches += [lacking(ids, work.client, **options)] if ids.lacking else []
                found = (self._announced(some, hook, context) for some in chain(*searches))
                work.run(found if searches else None)
                error = selected.error
            except AuthenticationError as raised:
                error = raised
            except BaseException:
                # Airflow's own, which ends execute() at the execution_timeout and, on 2.11, at a stop.
                push_results(self, self._logged(work, hook), context)
                raise
            if selection:
                selected.note_end(work)
            results = self._logged(work, hook)
            rejection = connection.action_for(error) if isinstance(error, AuthenticationError) else None
            return self._conclude(results, ids, context, rejection=rejection, stopped=work.stopped)

    def _announced(self, run_ids: list[str], hook: TriggerDevHook, context: Context) -> list[str]:
        """Log that runs are canceled now, let the link lead to the first one of all, and return them."""
        if run_ids:
            count = counted(len(run_ids), "Trigger.dev run")
            self.log.info("Canceling %s on %s", count, hook.settings.base_url)
            if self.do_xcom_push and not self.run_url:
                push_link(self, hook.settings.run_url(run_ids[0]), context)
        return run_ids

    def _logged(self, work: Cancellation, hook: TriggerDevHook) -> list[CancelResult]:
        from airflow_provider_trigger.report.cancels import of_work, summary

        results = work.results
        lines = of_work(results, work.unsearched, hook.settings.run_url, on_not_found=self.on_not_found)
        write(self.log, lines)
        if results:
            self.log.info("%s", summary(results))
        canceled = [result for result in results if result.outcome == "canceled"]
        left = [result.run_id for result in canceled if not result.terminated]
        if left and self.wait_for_termination and work.finished:
            text = "Canceled, but not terminated within %g s: %s"
            self.log.warning(text, self.termination_timeout, enumeration(left))
        return results

    def _conclude(
        self, results: list[CancelResult], ids: RunIds, context: Context, **ended_early: Any
    ) -> list[dict[str, Any]]:
        from airflow_provider_trigger.report.cancels import make_report

        report = make_report(
            results=results,
            ids=ids,
            conn_id=self.trigger_dev_conn_id,
            on_not_found=self.on_not_found,
            on_empty=self.on_empty,
            **ended_early,
        )
        for warning in report.warnings:
            self.log.warning("%s", warning)
        return conclude(self, results, report, context)

    def on_kill(self) -> None:
        """
        Stop: nothing new is sent, and ``execute`` ends within a second.

        It only sets a flag, as Airflow 3 calls it in a signal handler, where a lock could be held already.
        """
        self._is_stopped = True
