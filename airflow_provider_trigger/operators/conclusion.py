"""What the ends of runs mean for their task: the value to return, or the error to raise; and their logs."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.api.runs import RunEvent, list_events
from airflow_provider_trigger.exceptions import (
    TriggerBatchFailedError,
    TriggerBatchNotRetriedError,
    TriggerRunFailedError,
    TriggerRunNotRetriedError,
)
from airflow_provider_trigger.log import MAX_NAMED, MAY_RUN, Level, Line, counted, enumeration, write
from airflow_provider_trigger.report.ends import error_of, stack_trace, why_not_completed
from airflow_provider_trigger.run.facts import failure_facts, usage_facts
from airflow_provider_trigger.run.waited import Waited, WaitEnd

if TYPE_CHECKING:
    from airflow_provider_trigger.api.models import Run
    from airflow_provider_trigger.hooks.connection import Settings
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
    from airflow_provider_trigger.log import Log
    from airflow_provider_trigger.run.output import Outputs


# Of an error in XCom, in characters: there may be 1,000 of them.
_MAX_ERROR_LENGTH = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEnd:
    """What became of the run of one item."""

    index: int
    run_id: str
    waited: Waited
    reason: str = ""
    """Why it did not complete, and what to do; empty if it did."""
    error: str = ""
    """The same without the run, for XCom, or why its output cannot be fetched."""
    is_retried: bool = False
    """Whether a retry of the task may do better."""

    @property
    def was_not_needed(self) -> bool:
        """Whether it was canceled because another one had failed."""
        run = self.waited.run
        return self.waited.end is WaitEnd.NOT_NEEDED and run is not None and run.is_canceled

    @property
    def has_failed(self) -> bool:
        """Whether it did not complete, and not because it was not needed."""
        return bool(self.reason) and not self.was_not_needed

    @property
    def ended_run(self) -> Run | None:
        """The run, if it has ended by itself or was canceled by others."""
        return self.waited.run if self.waited.end is WaitEnd.FINAL else None

    def with_output(self, outputs: Outputs) -> RunEnd:
        """Return the same with the run as the fetch of its output has shown it, and the error of that."""
        run, why = outputs.runs.get(self.run_id, self.waited.run), outputs.errors.get(self.run_id)
        if why is None:
            return replace(self, waited=replace(self.waited, run=run))
        waited = replace(self.waited, run=run, error=str(why))
        return replace(self, waited=waited, error=f"its output cannot be fetched: {why}")

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        run = self.waited.run
        status, error = str(run.status) if run else None, self.error[:_MAX_ERROR_LENGTH] or None
        what = {"index": self.index, "run_id": self.run_id, "status": status, "error": error}
        return what | usage_facts(run)


def ends_of(run_ids: Sequence[str], ended: Mapping[str, Waited], **how: Any) -> list[RunEnd]:
    """Return what became of the run of each item; for ``how`` see :func:`end_of`."""
    ends = []
    for index, run_id in enumerate(run_ids):
        run = ended[run_id].run
        if run is not None and run.is_success:
            ends.append(RunEnd(index=index, run_id=run_id, waited=ended[run_id]))
        else:
            ends.append(end_of(run_id, ended[run_id], index=index, **how))
    return ends


def end_of(
    run_id: str,
    waited: Waited,
    *,
    index: int = 0,
    connection: Settings,
    retry_statuses: Collection[str],
    timeouts: Mapping[str, float | None] = MappingProxyType({}),
) -> RunEnd:
    """Return what became of a run that did not complete; ``timeouts`` are in seconds, None for no limit."""
    run_url, conn_id = connection.run_url(run_id), connection.conn_id
    reason = error = why_not_completed(waited, run_id, run_url=run_url, conn_id=conn_id, timeouts=timeouts)
    # Without a version, another run would wait for the same.
    is_retried = waited.end is not WaitEnd.NO_VERSION
    if waited.run is not None and waited.end is WaitEnd.FINAL:
        error = error_of(waited.run) or f"ended with status {waited.run.status}"
        is_retried = waited.run.status in retry_statuses
    return RunEnd(
        index=index, run_id=run_id, waited=waited, reason=reason, error=error, is_retried=is_retried
    )


def failure_of(end: RunEnd, *, run_url: str, log: Log) -> AirflowException:
    """Return the error to raise for a run; its class says whether the task is retried."""
    write(log, stack_trace(end.waited.run))
    if end.ended_run is None:
        return (AirflowException if end.is_retried else AirflowFailException)(end.reason)
    kind = TriggerRunFailedError if end.is_retried else TriggerRunNotRetriedError
    return kind(end.reason, **failure_facts(end.ended_run, run_url=run_url))


def failure_of_batch(ends: Sequence[RunEnd], *, log: Log, tag: str | None = None) -> AirflowException | None:
    """Return the error to raise, None if all completed; its class says whether the task is retried."""
    failed = [end for end in ends if end.has_failed]
    canceled = sum(end.was_not_needed for end in ends)
    if not failed and not canceled:
        return None
    for end in failed[:MAX_NAMED]:
        write(log, stack_trace(end.waited.run))
    if failed:
        shown = enumeration((f"item {end.index}: {end.reason}" for end in failed), "; ")
        text = f"{len(failed)} of {len(ends)} runs did not complete: {shown}"
        may_run = any(end.waited.run is None or not end.waited.run.is_final for end in failed)
        text += f". Look for runs that {MAY_RUN} by the tag {tag}" if tag and may_run else ""
        others = f". {canceled} others were canceled, as one had failed (cancel_others=True)"
        text += others if canceled else ""
    else:
        text = (
            f"{canceled} of {len(ends)} runs were canceled, as another one had failed (cancel_others=True); "
            "that one has completed after all"
        )
    is_retried = not failed or any(end.is_retried for end in failed)
    if failed and not any(end.ended_run for end in failed):
        return (AirflowException if is_retried else AirflowFailException)(text)
    kind = TriggerBatchFailedError if is_retried else TriggerBatchNotRetriedError
    return kind(text, results=[end.to_dict() for end in ends])


def failure_for_outputs(ends: Sequence[RunEnd], *, connection: Settings) -> AirflowException | None:
    """
    Return the error for outputs that could not be fetched, None if all could.

    A retry tries again, and starts no run that has completed.
    """
    each = [
        f"item {end.index}: run {end.run_id} is COMPLETED, but {end.error}. {connection.run_url(end.run_id)}"
        for end in ends
        if end.error and not end.reason
    ]
    if not each:
        return None
    text, others = enumeration(each, "; "), sum(bool(end.reason) for end in ends)
    text = f"{counted(len(each), 'output')} missing: {text}"
    return AirflowException(f"{text}. {counted(others, 'other run')} did not complete" if others else text)


MAX_RUNS = 3
"""Of a batch, so many runs have their logs written."""

LAST_LINES = 1000
"""So many lines of a run are written, the last ones."""

TIME_LIMIT = 5.0
"""For all that is fetched for a task, in seconds."""

# The server may have cut a message within a secret key, which is not found then.
_CUT_KEY = re.compile(r"\btr_[a-z]+_\S*$")
_LEVELS: dict[str, Level] = {"DEBUG": "debug", "WARN": "warning", "ERROR": "error"}


def write_logs(ends: Sequence[RunEnd], hook: TriggerDevHook, *, only_failed: bool, log: Log) -> None:
    """Write the logs of the first runs that failed, and of others unless there is no need for them."""
    ordered = sorted(ends, key=lambda end: end.has_failed, reverse=True)
    wanted = {end.run_id: end for end in ordered if _has_log(end) and (end.has_failed or not only_failed)}
    if not wanted:
        return
    deadline = Deadline.after(TIME_LIMIT, now=time.monotonic())
    with hook.get_client(max_connections=1) as client:
        for run_id, end in islice(wanted.items(), MAX_RUNS):
            try:
                events = client.call(list_events(run_id), deadline=deadline, patience=0)
            except TriggerDevError as error:
                log.debug("The logs of runs could not be fetched: %s", error)
                return
            what = f"run {run_id}" if len(ends) == 1 else f"item {end.index}: run {run_id}"
            write(log, _lines(events, what, hook.settings.run_url(run_id)))


def _has_log(end: RunEnd) -> bool:
    run = end.waited.run
    return run is not None and (run.started_at is not None or run.created_at is None)  # an event has no times


def _lines(events: Sequence[RunEvent], what: str, run_url: str) -> Iterator[Line]:
    shown = [event for event in events if event.level != "TRACE"]
    if not shown:
        return
    yield "info", f"Log of {what}:"
    if len(shown) > LAST_LINES:
        yield "info", f"Only the last {LAST_LINES} lines follow; all {len(shown)} are in {run_url}"
    for event in shown[-LAST_LINES:]:
        text = _CUT_KEY.sub("***", event.message)
        if event.started_at:
            time_of = event.started_at.isoformat(timespec="milliseconds").removesuffix("+00:00")
            text = f"{time_of}Z {text}"
        yield _LEVELS.get(event.level, "info"), text
