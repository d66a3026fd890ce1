"""Wait for runs that others have started."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_trigger import _compat, defaults, rules
from airflow_provider_trigger.api.statuses import FINAL_STATUSES, SUCCESS_STATUSES
from airflow_provider_trigger.log import enumeration
from airflow_provider_trigger.rules import Duration
from airflow_provider_trigger.sensors.base import TriggerDevSensor
from airflow_provider_trigger.sources.arguments import SelectsRuns, arguments_of, check_arguments
from airflow_provider_trigger.sources.context import can_resume, has_retry_policy
from airflow_provider_trigger.sources.run_ids import problems_of_sources

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
    from airflow_provider_trigger.run.wait import WaitSettings
    from airflow_provider_trigger.run.wait_outcome import WaitOutcome
    from airflow_provider_trigger.sources.run_ids import RunIds

RULES = {
    "max_runs": rules.number("runs", least=1, whole=True),
    "trigger_dev_conn_id": rules.connection_id,
    "success_statuses": rules.list_of("final statuses", FINAL_STATUSES),
    "return_outputs": rules.boolean,
    "max_output_size": rules.number("bytes", least=0, whole=True),
    "on_empty": rules.choice("ignore", "fail"),
    "deferrable": rules.boolean,
    "poll_interval": rules.optional(rules.duration(least=0.01)),
    "run_progress": rules.boolean,
}


class TriggerRunSensor(SelectsRuns, TriggerDevSensor):
    """
    Wait until runs have ended, all in a status that counts as success.

    A run that has ended otherwise, or that the key's environment does not have, fails the sensor. It
    cancels nothing. The return value is a list in the ids' order: of ``{"run_id", "status"}``, or of outputs.

    ``tags`` and ``batch_ids`` are searched for once, when the task begins to wait, or is retried: a run that
    had ended before, or starts later, is not waited for. They need ``deferrable=True`` or ``mode="poke"``, as
    a rescheduled sensor would search again at each check, and miss what has ended since.

    :param tags: waits for the runs that are alive and have all of these, too; they are searched for twice,
        2.5 s apart, as the server shows a new run with a delay; templated
    :param batch_ids: waits for the runs of these batches that are alive, in the same way; if more are still
        being created, the task fails, and a retry waits for all that are alive then, and does not see which
        have failed meanwhile; templated
    :param max_runs: if ``tags`` and ``batch_ids`` find more runs, the task fails
    :param success_statuses: the final statuses that count as success
    :param return_outputs: whether it returns the runs' outputs, with None for a run that has none
    :param max_output_size: of all outputs together, in bytes of JSON; above it, each is replaced by
        ``{"run_id", "output_size"}``, and ``TriggerDevHook.get_output`` returns it
    :param on_empty: ``"fail"``: a source without run ids, or tags or a batch without runs that are alive,
        fails the task; ``"ignore"``: it is a warning in the log
    :param poll_interval: between two status checks of a run while deferred: seconds, a timedelta, or a text
        such as ``"5m"``; None for one check of all runs together every 2 s
    :param run_progress: whether the log shows the metadata of runs when it has changed, cut at 200
        characters: of one run with each change of its status, and every 5 minutes, there of 100 at most
    :raises ValueError: when the Dag is parsed: none of ``run_ids``, ``xcom_task_ids``, ``tags`` and
        ``batch_ids``, a task in place of its id, ``tags`` or ``batch_ids`` with ``mode="reschedule"``, or an
        invalid value such as an empty list of tags; in a mapped task, when it runs: then it fails without
        retries
    """

    template_fields: Sequence[str] = (*SelectsRuns.template_fields, "trigger_dev_conn_id")

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
        success_statuses: Sequence[str] = SUCCESS_STATUSES,
        return_outputs: bool = False,
        max_output_size: int = defaults.MAX_OUTPUT_SIZE,
        on_empty: Literal["ignore", "fail"] = "fail",
        deferrable: bool | None = None,
        poll_interval: Duration | None = None,
        run_progress: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.trigger_dev_conn_id = trigger_dev_conn_id
        self.success_statuses = success_statuses
        self.return_outputs = return_outputs
        self.max_output_size = max_output_size
        self.on_empty = on_empty
        self.deferrable = _compat.default_deferrable() if deferrable is None else deferrable
        self.poll_interval: Any = poll_interval
        self.run_progress = run_progress
        self._take_runs(locals())
        check_arguments(self, RULES)
        self._check_mode(may_defer=self.deferrable)

    def _check_mode(self, *, may_defer: bool, is_executed: bool = False) -> None:
        if self._selecting and self.reschedule and not may_defer:
            what = f"{' and '.join(self._selecting)}, as each check would search again"
            how = "use deferrable=True or mode='poke'"
            with arguments_of(self, are_rendered=is_executed):
                raise ValueError(f"mode must not be 'reschedule' with {what}: {how}")

    @property
    def _is_in_doubt(self) -> bool:
        return self._pokes is not None and self._pokes.is_rejected

    def _check_once(self, context: Context) -> _compat.PokeReturnValue:
        from airflow_provider_trigger.run.checks import QUERY_ABOVE

        may_defer = self.deferrable and can_resume(context, self)
        self._check_mode(may_defer=may_defer, is_executed=True)  # a sensor in another task cannot defer
        run_ids = self._run_ids(context)
        outcomes: Mapping[str, WaitOutcome] | None = None if run_ids else {}
        if run_ids and (not may_defer or len(run_ids) <= QUERY_ABOVE):  # of many it would take long
            outcomes = self._poke_once(run_ids, ends_early=not self._was_rescheduled(context))
        if outcomes is not None:
            checked = self._conclude(outcomes, context)
            if checked.is_done:
                return checked
        if may_defer:
            self._defer(run_ids, context)
        return _compat.PokeReturnValue(is_done=False)

    def _poke_once(self, run_ids: list[str], *, ends_early: bool) -> dict[str, WaitOutcome] | None:
        """Return what became of each run once all have ended, or one without success; else None."""
        from airflow_provider_trigger.run.watch import Pokes

        hook = self._hook()
        with hook.client(has_worked=self._pokes is not None) as client:
            settings = self._settings(run_ids, hook)
            pokes = self._pokes or Pokes(run_ids, settings, log=self.log, ends_early=ends_early)
            self._pokes = None  # after its end, or an error, another poke begins again
            outcomes = pokes.once(client)
        if outcomes is None:
            self._pokes = pokes
        return outcomes

    def _settings(self, run_ids: list[str], hook: TriggerDevHook) -> WaitSettings:
        from airflow_provider_trigger.run.wait import WaitSettings

        return WaitSettings(
            run_url=hook.settings.run_url(run_ids[0]),
            poll_interval=self.poll_interval,
            patience=hook.settings.retry_for,
            pending_version_timeout=None,
            cancels=False,
            success_statuses=list(self.success_statuses),
            run_progress=self.run_progress,
        )

    def _defer(self, run_ids: list[str], context: Context) -> None:
        from airflow_provider_trigger.triggers.base import event_hold
        from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger

        hold = event_hold(context, self.execution_timeout)
        trigger = TriggerDevRunTrigger(
            run_ids=run_ids,
            trigger_dev_conn_id=self.trigger_dev_conn_id,
            wait=self._settings(run_ids, self._hook()).to_json(),
            not_before=time.time() + hold,
        )
        # Another search would miss those that have ended, and the event may lack some.
        packed = trigger.serialize()[1]["run_ids"]
        self.defer(
            trigger=trigger,
            method_name=self.execute_complete.__name__,
            kwargs={"found": packed} if self._selecting else None,
            timeout=timedelta(seconds=max(self.timeout, 1.5 * hold)),  # else its event is too late
        )

    def execute_complete(
        self, context: Context, event: Any = None, found: Sequence[str] | str | None = None
    ) -> Any:
        """
        Return the runs once the trigger has seen all of them end, or fail.

        :param context: of the task instance
        :param event: from :class:`airflow_provider_trigger.triggers.run.TriggerDevRunTrigger`
        :param found: the trigger's ``run_ids``, where tags or batches have found some
        """
        from airflow_provider_trigger.run.wait_outcome import read_event
        from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger

        try:
            outcomes = read_event(event)
        except ValueError as error:
            raise _compat.AirflowException(str(error)) from None
        if found is not None:
            self._found = TriggerDevRunTrigger(run_ids=found).run_ids
        checked = self._conclude(outcomes, context)
        if not checked.is_done:  # the wait begins again
            checked = self.poke(context)
        if not checked.is_done:
            self._defer(self._run_ids(context), context)
        return checked.xcom_value

    def _conclude(self, outcomes: Mapping[str, WaitOutcome], context: Context) -> _compat.PokeReturnValue:
        """Return the runs, or fail with the first one that has failed, unless a last check says otherwise."""
        from airflow_provider_trigger.failures import failure_of
        from airflow_provider_trigger.report.ends import end_of
        from airflow_provider_trigger.run.wait_outcome import WaitEnd, check_again

        statuses = {
            run_id: outcome.run.status if outcome.run else None for run_id, outcome in outcomes.items()
        }
        failed = next((run_id for run_id in statuses if statuses[run_id] not in self.success_statuses), None)
        if failed is None:
            return _compat.PokeReturnValue(is_done=True, xcom_value=self._returned(statuses))
        hook, outcome = self._hook(), outcomes[failed]
        if outcome.end is not WaitEnd.REJECTED:
            with hook.client(has_worked=True) as client:
                # An event, or a query, does not say why a run failed.
                outcome = check_again({failed: outcome}, client)[failed]
        if outcome.run is not None and outcome.run.status in self.success_statuses:
            # Its worker completed it in spite of a cancel. The wait for all begins again.
            return _compat.PokeReturnValue(is_done=False)
        # A skip reaches no policy, and a sensor with silent_fail continues after any other error.
        is_skipped = self.soft_fail or self.never_fail or self.silent_fail
        has_policy = has_retry_policy(context, self) and not is_skipped
        end = end_of(
            failed,
            outcome,
            success_statuses=self.success_statuses,
            run_url=hook.settings.run_url(failed),
            conn_id=self.trigger_dev_conn_id,
            retry_statuses=FINAL_STATUSES if has_policy else (),
        )
        raise failure_of(end, log=self.log)

    def _run_ids(self, context: Context) -> list[str]:
        if self._found is None:
            ids, until = self._gather_ids(context, on_empty=self.on_empty), time.monotonic() + self.timeout
            found = self._search(ids, until)
            if problems := problems_of_sources(ids, self.on_empty):
                if ids.failed and time.monotonic() >= until:
                    raise _compat.AirflowSensorTimeout("; ".join(problems))
                raise _compat.task_failure("; ".join(problems), is_retried=bool(ids.failed))
            self._found = list(dict.fromkeys(found))
        return self._found

    def _search(self, ids: RunIds, until: float) -> list[str]:
        """Return the given ids, and those that tags and batches find; ``ids`` gets what is wrong."""
        from airflow_provider_trigger.api.errors import AuthenticationError
        from airflow_provider_trigger.api.limits import Deadline
        from airflow_provider_trigger.sources.search import SelectedRuns

        selection, found = self._selection(ids), [*ids.found]
        if not selection or ids.invalid or ids.failed:
            return found
        selected = SelectedRuns(selection, ids, log=self.log, on_empty=self.on_empty, done="waited for")
        try:
            with self._hook().client() as client:
                client.deadline = Deadline(until)
                for page in selected.search(client):
                    found += page
                if isinstance(selected.error, AuthenticationError):
                    raise selected.error  # to which the client's ``with`` adds the connection
        except AuthenticationError as error:
            raise _compat.task_failure(str(error), is_retried=False) from None
        return found

    def _returned(self, statuses: Mapping[str, str | None]) -> list[Any]:
        from airflow_provider_trigger.api.errors import TriggerDevError
        from airflow_provider_trigger.run.output import Outputs

        if not self.return_outputs or not statuses:
            return [{"run_id": run_id, "status": status} for run_id, status in statuses.items()]
        outputs = Outputs(max_size=self.max_output_size)
        with self._hook().client() as client:
            outputs.fetch(dict.fromkeys(statuses), client, log=self.log)
            if errors := outputs.errors:
                named = enumeration(
                    (f"{run_id}: {errors[run_id]}" for run_id in statuses if run_id in errors), "; "
                )
                text = f"{len(errors)} of {len(statuses)} outputs cannot be fetched: {named}"
                raise TriggerDevError(text)  # to which the client's ``with`` adds the connection
        return outputs.for_xcom(list(statuses), log=self.log)
