"""Execute an operator with runs: start the runs, wait for them, return their outputs or fail."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_trigger import _compat, exceptions
from airflow_provider_trigger.api.errors import ResponseError, TriggerDevError
from airflow_provider_trigger.api.statuses import FINAL_STATUSES, SUCCESS_STATUSES
from airflow_provider_trigger.cancel.outcome import not_canceled
from airflow_provider_trigger.defaults import RESULTS_KEY, RUN_ID_KEY, RUN_KEY
from airflow_provider_trigger.failures import failure_of, failure_of_batch
from airflow_provider_trigger.hooks.connection import safe_text
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.links.run import push_link
from airflow_provider_trigger.log import enumeration, named, write
from airflow_provider_trigger.operators.base import push, storing
from airflow_provider_trigger.report.ends import ItemEnd, end_of, log_stop, of_cancels
from airflow_provider_trigger.report.run_logs import write_logs
from airflow_provider_trigger.rules import read_list
from airflow_provider_trigger.run.facts import UnstorableError, for_xcom, progress_of, run_facts, state_of
from airflow_provider_trigger.run.guard import Guard
from airflow_provider_trigger.run.identity import KEY_PREFIX
from airflow_provider_trigger.run.output import Outputs
from airflow_provider_trigger.run.started import StartedRuns
from airflow_provider_trigger.run.starts import Starts
from airflow_provider_trigger.run.stop import StopNote, StoppedError
from airflow_provider_trigger.run.wait import WaitSettings
from airflow_provider_trigger.run.wait_outcome import (
    WaitEnd,
    WaitOutcome,
    check_failed,
    is_of_another_try,
    read_event,
)
from airflow_provider_trigger.run.watch import wait_for_runs
from airflow_provider_trigger.sources.context import can_resume, has_retry_policy, task_instance_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.api.models import Run
    from airflow_provider_trigger.log import Log
    from airflow_provider_trigger.operators.base import RunsOperator

# While runs start, all ids that are known are pushed now and then.
_PUSHED_IDS_PER_SECOND = 1000


class Execution:
    """Execute an operator that has one run."""

    # The task itself logs the end, with the costs of the run, which a query does not show.
    _logs: ClassVar[dict[str, bool]] = {"logs_end": False}

    def __init__(self, operator: RunsOperator, context: Context) -> None:
        self.operator = operator
        self.context = context
        self.log: Log = operator.log
        self.hook = TriggerDevHook(operator.trigger_dev_conn_id)
        self.note = StopNote(lambda: operator._stopped_at)
        self._identity = task_instance_of(context)
        self.tag = None if self._identity is None else self._identity.tag
        self._try_number: int | None = getattr(context.get("ti"), "try_number", None)  # None by hand
        self._begun_at = time.time()
        self._taken_up_until: float | None = None
        self._pushed: list[str | None] = []
        self._pushed_at = -math.inf
        timeout = operator.execution_timeout
        self._execution_timeout = None if timeout is None else timeout.total_seconds()

    def _xcom_of(self, values: Sequence[Any]) -> Any:
        """Return what XCom gets of values of all runs, such as their ids."""
        return values[0]

    def _fails(self, ends: Sequence[ItemEnd]) -> bool:
        failed = sum(bool(end.error) for end in ends)
        return self.operator._fails(failed=failed, count=len(ends))

    def _failure_of(self, ends: Sequence[ItemEnd]) -> _compat.AirflowException | None:
        [end] = ends
        return failure_of(end, log=self.log) if end.reason else None

    def _push_ends(self, ends: Sequence[ItemEnd]) -> None:
        """Push what is known of the run, and add it to the events of the assets that the task updates."""
        [end] = ends
        run = end.outcome.run
        if run is not None and run.is_final:
            progress = progress_of(run, end.outcome.progress) if self.operator.run_progress else ""
            self.log.info("%s%s", state_of(run), progress)
        facts = run_facts(run, run_id=end.run_id, run_url=end.run_url)
        metadata = facts.pop("metadata")
        _compat.add_to_asset_events(self.operator.outlets, self.context, key="trigger_dev", value=facts)
        try:
            metadata = for_xcom(metadata, f"The metadata of run {end.run_id}", log=self.log)
        except UnstorableError as error:
            self.log.warning("%s: XCom %r lacks it", error, RUN_KEY)
            metadata = None
        push(self.operator, RUN_KEY, facts | {"metadata": metadata}, self.context)

    def run(self) -> Any:
        """Start what the operator says, and wait for it."""
        # All that a stop needs is made before anything is sent.
        self.started = started = StartedRuns(tag=self.tag)
        self.guard = guard = self._new_guard(started)
        try:
            with self.hook.client() as self.client:
                self.client.sleep = guard.sleep
                try:
                    with guard:
                        return self._run()
                finally:  # a stop may have shown further ids
                    with storing(self.operator, RUN_ID_KEY):
                        self._push_ids()
        except (StoppedError, TriggerDevError, KeyError, RuntimeError) as error:
            if getattr(error, "may_have_effect", False):  # a retry would start a second run without a word
                raise _compat.AirflowFailException(str(error)) from None
            # Python raises one of the last two where Airflow 2 interrupts the start of a thread.
            if self.note.is_set:
                raise _stopped(started) from None
            if isinstance(error, ResponseError) and (error.method, error.status) == ("POST", 422):
                raise exceptions.TriggerRunNotStartedError(str(error)) from None
            raise

    def _run(self) -> Any:
        self.note.check()
        guard, started = self.guard, self.started
        requests, earlier = self.operator._to_start(self.context)
        started.run_ids = [None] * len(requests)
        if any(request.replay_of for request in requests):  # a replay has its original's tags
            started.tag = None
        tag = None if self._identity is None else self._identity.dag_run.tag
        log_start = partial(self.operator._log_start, tag)
        starts = Starts(self.client, started, sleep=guard.sleep, log=self.log, on_start=log_start)
        seen = self.note.wait_for(partial(starts.start, requests, earlier), meanwhile=self._push_now_and_then)
        started.ended = {run_id for run_id, run in seen.items() if run.is_final}
        # In a first try, another task with the same key has started it.
        if starts.taken_up_until and (self._try_number or 1) > 1:
            self._taken_up_until = starts.taken_up_until.timestamp()
        self._push_ids()
        if not self.operator.wait_for_completion or not started.run_ids:
            guard.release()
            return self._xcom_of(started.run_ids)
        ended = self._wait(seen)
        guard.release()
        return self._conclude([str(run_id) for run_id in started.run_ids], ended)

    def _push_now_and_then(self) -> None:
        if time.monotonic() >= self._pushed_at + len(self._pushed) / _PUSHED_IDS_PER_SECOND:
            self._push_ids()

    def _push_ids(self) -> None:
        """Push the ids as far as they are known, before anything else can fail."""
        known = list(self.started.run_ids)
        if known == self._pushed or not any(known):
            return
        ti: Any = self.context.get("ti")
        if ti is not None:  # an operator may be executed by hand
            ti.xcom_push(key=RUN_ID_KEY, value=self._xcom_of(known))
            self._pushed, self._pushed_at = known, time.monotonic()
        url = self.hook.settings.run_url(next(filter(None, known)))
        if url != self.operator.run_url:
            push_link(self.operator, url, self.context)

    def _new_guard(self, started: StartedRuns) -> Guard:
        timeout = max(_compat.stop_time(), self.hook.settings.timeout)
        return Guard(
            self.hook.get_client(timeout=timeout, retry_for=math.inf),  # a cancel has a deadline
            self.note,
            started,
            cancels=self.operator.cancel_on_kill,
            stop_time=_compat.stop_time(),
            log_stop=partial(log_stop, self.log, self.operator.trigger_dev_conn_id),
        )

    def _settings(self) -> WaitSettings:
        operator, deadline = self.operator, None
        if operator.deferrable and self._execution_timeout is not None:
            # Airflow 3 does not enforce it while the task is deferred; Airflow 2 does not cancel the run.
            deadline = self._begun_at + self._execution_timeout
        return WaitSettings(
            run_url=operator.run_url or "",
            poll_interval=operator.poll_interval,
            deadline=deadline,
            timeout=operator.timeout,
            pending_version_timeout=operator.pending_version_timeout,
            patience=self.hook.settings.retry_for,
            tag=self.started.tag or "",
            cancels=operator.cancel_on_kill,
            success_statuses=SUCCESS_STATUSES if operator.cancel_others else None,
            cancels_others=operator.cancel_others,
            run_progress=operator.run_progress,
            **self._logs,
        )

    def _wait(self, seen: Mapping[str, Run]) -> dict[str, WaitOutcome]:
        """Defer, or wait in the worker, unless all have completed; return what became of each, by run id."""
        completed = {run_id: run for run_id, run in seen.items() if run.is_success}
        ended = {run_id: WaitOutcome(end=WaitEnd.FINAL, run=run) for run_id, run in completed.items()}
        left = [run_id for run_id in self.started.known_ids if run_id not in ended]
        if not left:
            return ended
        settings = self._settings()
        if self.operator.deferrable and can_resume(self.context, self.operator):
            self._defer(self.started.known_ids, settings)
        return ended | wait_for_runs(
            left,
            settings,
            self.client,
            log=self.log,
            is_stopped=lambda: self.note.is_set,
            on_ended=self.started.ended.add,
        )

    def _defer(self, run_ids: Sequence[str], settings: WaitSettings) -> None:
        from airflow_provider_trigger.triggers.base import event_hold
        from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger

        trigger = TriggerDevRunTrigger(
            run_ids=run_ids,
            trigger_dev_conn_id=self.operator.trigger_dev_conn_id,
            wait=settings.to_json(),
            try_number=self._try_number,
            not_before=time.time() + event_hold(self.context, self.operator.execution_timeout),
        )
        text = "Deferring: the triggerer waits for %s from here on. %s"
        self.log.info(text, named(run_ids), settings.run_url)
        self.guard.release()  # from here on the trigger cancels them
        kept = {"taken_up_until": self._taken_up_until} if self._taken_up_until else None
        self.operator.defer(trigger=trigger, method_name="execute_complete", kwargs=kept)

    def resume(self, event: Any, taken_up_until: float | None) -> Any:
        """Return what the runs of a trigger's event returned, or fail."""
        self._taken_up_until = taken_up_until
        if is_of_another_try(event, self._try_number):
            return self.operator.execute(self.context)
        ended = read_event(event)
        # In the order of the items: two items with one key share a run.
        pushed = [run_id for run_id in self._read_ids() if run_id] if len(ended) > 1 else []
        run_ids = pushed if set(pushed) == set(ended) else list(ended)
        with self.hook.client(has_worked=True) as self.client:
            self.operator.run_url = self.hook.settings.run_url(run_ids[0])
            return self._conclude(run_ids, ended)

    def _read_ids(self) -> list[str | None]:
        """Return the ids of the runs in XCom, whose backend may make a text or a tuple of a list."""
        ti: Any = self.context["ti"]
        task_id, index = self.operator.task_id, ti.map_index
        found = read_list(ti.xcom_pull(task_ids=task_id, key=RUN_ID_KEY, map_indexes=index))
        ids = found if isinstance(found, (list, tuple)) else []
        return [run_id if isinstance(run_id, str) else None for run_id in ids]

    def cancel_pushed(self) -> None:
        """Cancel the runs of a deferred task whose trigger failed: those in XCom, else those with its tag."""
        try:
            pushed, why = self._read_ids(), "it has none"  # a database is cleaned at times
        except Exception as error:
            # Any error: XCom backends raise what they like.
            pushed, why = [], safe_text(error)
        if not pushed:
            text = "The ids of the task's runs cannot be read from XCom (%s): canceling those with the tag %s"
            self.log.error(text, why, self.tag)
        is_earlier = None if pushed else self._may_have_started
        started = StartedRuns(
            run_ids=pushed, tag=None if len(pushed) == 1 else self.tag, is_earlier=is_earlier
        )
        try:
            guard = self._new_guard(started)
        except Exception as error:
            # Any error: secrets backends raise what they like, and Airflow's own says why the trigger failed.
            run_ids = list(filter(None, pushed)) or ["of this task"]
            results = [not_canceled(run_id, safe_text(error)) for run_id in run_ids]
            write(self.log, of_cancels(results, self.operator.trigger_dev_conn_id, tag=started.tag))
            return
        with guard:
            guard.cancel()
        if not pushed and not started.found:
            text = "No run with the tag %s was found: a run of this task may still be running"
            self.log.error(text, started.tag)

    def _may_have_started(self, idempotency_key: str | None) -> bool:
        """Return whether a run that has the tag and this key is the task's, where XCom does not say so."""
        if idempotency_key is None:
            return not self.operator._has_key
        # A key of this kind that is not the task's is of another Airflow, or of before a clear.
        if idempotency_key.startswith(f"{KEY_PREFIX}-"):
            return self._identity is not None and self._identity.has_started(idempotency_key)
        return True

    def _conclude(self, run_ids: Sequence[str], ended: Mapping[str, WaitOutcome]) -> Any:
        """Return the outputs of the runs of all items, or fail."""
        operator = self.operator
        ended = self.note.wait_for(partial(check_failed, ended, self.client))
        has_policy = has_retry_policy(self.context, operator)
        ends = [
            end_of(
                run_id,
                ended[run_id],
                index=index,
                run_url=self.hook.settings.run_url(run_id),
                conn_id=operator.trigger_dev_conn_id,
                retry_statuses=FINAL_STATUSES if has_policy else operator.retry_statuses,
                timeouts={"timeout": operator.timeout, "execution_timeout": self._execution_timeout},
                taken_up_until=self._taken_up_until,
            )
            for index, run_id in enumerate(run_ids)
        ]
        outputs, fails = Outputs(max_size=operator.max_output_size), self._fails(ends)
        try:
            if not fails:
                completed = {end.run_id: end.outcome.run for end in ends if not end.reason}
                self.note.wait_for(partial(outputs.fetch, completed, self.client, log=self.log))
        finally:
            # An event, and a query, show less of a run than the answer that has its output.
            ends = [end.with_output(outputs) for end in ends]
            self._push_ends(ends)
        if operator.run_logs == "always" or (operator.run_logs == "on_failure" and fails):
            self.note.wait_for(partial(self._write_logs, ends))
        if failure := self._failure_of(ends):
            raise failure
        return self._xcom_of(outputs.for_xcom(run_ids, log=self.log))

    def _write_logs(self, ends: Sequence[ItemEnd]) -> None:
        only_failed = self.operator.run_logs == "on_failure"
        with self.hook.get_client(max_connections=1) as client:
            write_logs(ends, client, only_failed=only_failed, log=self.log)


class ManyRuns(Execution):
    """Execute an operator that has several runs."""

    _logs: ClassVar[dict[str, bool]] = {"logs_progress": True}

    def _xcom_of(self, values: Sequence[Any]) -> Any:
        return list(values)

    def _failure_of(self, ends: Sequence[ItemEnd]) -> _compat.AirflowException | None:
        """Return the error if so many have failed as ``fail_on`` says; else it is a warning."""
        failure = failure_of_batch(ends, log=self.log, tag=self.tag)
        if failure is None or self._fails(ends):
            return failure
        self.log.warning("The task does not fail for it (fail_on=%r): %s", self.operator.fail_on, failure)
        return None

    def _push_ends(self, ends: Sequence[ItemEnd]) -> None:
        push(self.operator, RESULTS_KEY, [end.to_dict() for end in ends], self.context)


def _stopped(started: StartedRuns) -> _compat.AirflowException:
    if started.may_have_lost:
        return _compat.AirflowFailException(
            "Airflow stopped the task before the server answered its start, which has no idempotency key: a "
            "run may exist. Look for it in the dashboard before you start another one"
        )
    runs = enumeration(started.known_ids) or "none"
    text = "Airflow stopped the task (marked, cleared or timed out). Its runs, as far as known"
    return _compat.AirflowException(f"{text}: {runs}")
