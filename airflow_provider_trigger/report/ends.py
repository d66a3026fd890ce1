"""Say how runs ended, why a wait ended before its run, and what became of the runs of a stopped task."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_trigger.api.models import Run, advice
from airflow_provider_trigger.api.statuses import SUCCESS_STATUSES
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.log import (
    MAY_RUN,
    Line,
    Log,
    capitalized,
    counted,
    enumeration,
    named,
    write,
)
from airflow_provider_trigger.report.cancels import shared_error, summary
from airflow_provider_trigger.run.cancel_started import Stop
from airflow_provider_trigger.run.facts import describe, missing_version, usage_facts
from airflow_provider_trigger.run.output import Outputs
from airflow_provider_trigger.run.wait_outcome import WaitEnd, WaitOutcome


def log_stop(log: Log, conn_id: str, stop: Stop) -> None:
    """Log that a cancel by the task itself begins, or what came of it."""
    if stop.begins_with is None:
        write(log, _of_stop(stop, conn_id))
        return
    write(log, canceling(stop.begins_with))
    if stop.unknown:
        tag = f", by the tag {stop.tag}" if stop.tag else ""
        what = f"{counted(stop.unknown, 'run')} whose start the server has not answered{tag}"
        log.info("Canceling %s", what)


def _of_stop(stop: Stop, conn_id: str) -> Iterator[Line]:
    by_tag = f" by the tag {stop.tag}" if stop.tag else ""
    if stop.search_error is not None:
        yield (
            "error",
            f"Runs that an earlier try has started {MAY_RUN}, as the list of runs could not be searched "
            f"({str(stop.search_error).rstrip('.')}): a retry finds them. Without a retry, look for them in "
            f"the dashboard{by_tag}",
        )
    results = stop.results
    if stop.accepted is not None:
        accepted = [f"bulk action {bulk_id}" for bulk_id in stop.bulk_ids]
        accepted += [counted(len(stop.accepted), "single cancel")] if stop.accepted else []
        yield "info", summary(results) + (f"; accepted: {', '.join(accepted)}" if accepted else "")
        shown = (CancelOutcome.CANCELED, CancelOutcome.ALREADY_COMPLETED)
        left = (result for result in results if result.outcome not in shown)
        results = [result for result in left if result.run_id not in stop.accepted]
    yield from of_cancels(results, conn_id, tag=stop.tag)
    if stop.unknown:
        ids = ", ".join(stop.bulk_ids_by_tag)
        bulk = f"bulk action {ids} cancels" if ids else ""
        answer = stop.answer
        how = f"answered {answer.status} ({counted(answer.tries, 'time')}) to" if answer else "not answered"
        which = f"and {bulk} those that it has created" if bulk else "which may be running"
        items = f" ({enumeration(stop.parts)})" if stop.parts else ""
        retry = "a retry finds what was started. Without a retry, " if stop.have_keys else ""
        text = f"The server has {how} the start of {counted(stop.unknown, 'run')}, {which}{items}"
        yield ("warning" if bulk else "error"), f"{text}: {retry}look in the dashboard for runs{by_tag}"


def canceling(run_ids: Sequence[str]) -> Iterator[Line]:
    """Yield that runs are being canceled, because their task was ended; this line names all."""
    if run_ids:
        yield "info", f"Canceling {named(run_ids, most=len(run_ids))}, because the task was ended"


def of_cancels(
    results: Iterable[CancelResult], conn_id: str, *, was_ended: bool = False, tag: str | None = None
) -> Iterator[Line]:
    """
    Yield one line for all runs with the same outcome, final status and error.

    ``was_ended``: also say that the task was ended, for the log of a trigger, which does not say so.
    """
    groups: dict[tuple[CancelOutcome, str, bool], list[str]] = {}
    for result in results:
        why = shared_error(result) if result.error else f"connection {conn_id!r} has no such run"
        why = str(result.status) if result.outcome is CancelOutcome.ALREADY_COMPLETED else why
        groups.setdefault((result.outcome, why, result.is_unconfirmed), []).append(result.run_id)
    because, by_tag = ", because the task was ended" * was_ended, f", by the tag {tag}" if tag else ""
    order = [*CancelOutcome]
    for (outcome, why, is_unconfirmed), run_ids in sorted(
        groups.items(), key=lambda group: order.index(group[0][0])
    ):
        match outcome:
            case CancelOutcome.CANCELED:
                yield "info", f"Canceled {named(run_ids)}{because}"
            case CancelOutcome.ALREADY_COMPLETED:
                yield "info", f"{why} before the cancel: {named(run_ids)}"
            case _:
                text = f"{capitalized(named(run_ids, most=len(run_ids)))} {MAY_RUN}: {why.rstrip('.')}"
                text += f". Cancel in the dashboard what no retry waits for{by_tag}"
                yield ("warning" if is_unconfirmed else "error"), text


_MAX_MESSAGE_LENGTH = 1000


def _why_failed(run: Run) -> str:
    count = run.attempt_count
    attempts = f" after {counted(count, 'attempt')}" if count else ""
    error, reason = run.error, error_of(run)
    text = f"{capitalized(describe(run))} ended with status {run.status}{attempts}"
    text += f": {reason}" if reason else ""
    text += f". {advice(error.code)}" if error is not None and error.code else ""
    return text.rstrip(".")


def error_of(run: Run) -> str:
    """Return the error of a failed run in one line, empty if the server shows none."""
    error = run.error
    if error is None:
        return ""
    name = f"{error.name}: " if error.name and error.message else error.name or ""
    return " ".join(f"{name}{error.message}".split())[:_MAX_MESSAGE_LENGTH]


def stack_trace(run: Run | None) -> Iterator[Line]:
    """Yield the stack trace of a failed run, if the server shows one."""
    if run is not None and run.error and run.error.stack_trace:
        yield "error", f"Stack trace of run {run.id}:\n{run.error.stack_trace}"


def why_not_completed(
    outcome: WaitOutcome,
    run_id: str,
    *,
    run_url: str,
    conn_id: str,
    timeouts: Mapping[str, float | None] | None = None,
) -> str:
    """Return why a run did not complete, and what to do; ``timeouts`` are in seconds, None for no limit."""
    run = outcome.run
    what = describe(run) if run else f"run {run_id}"
    match outcome.end:
        case WaitEnd.FINAL if run is not None:
            return f"{_why_failed(run)}. {run_url}"
        case WaitEnd.REJECTED:
            text = f"The server rejects the status checks of {what}, which {MAY_RUN}: {outcome.error}"
            action = f"Check that connection {conn_id!r} has a key of its environment"
            return f"{text}. {action}, and look at it in the dashboard: {run_url}"
        case WaitEnd.NO_CONNECTION:
            text = f"{capitalized(what)} {MAY_RUN}, as the triggerer could not wait for it: {outcome.error}"
            return f"{text.rstrip('.')}. It was not canceled, and a retry waits for it. {run_url}"
        case WaitEnd.NO_VERSION:
            why = f"was still waiting for a version after pending_version_timeout: {missing_version(run)}"
        case WaitEnd.NOT_NEEDED:
            why = "was not needed any more, as another run had failed"
        case _:
            given = (f"{name}={value:g} s" for name, value in (timeouts or {}).items() if value is not None)
            why = f"did not end within its time limit ({', '.join(given)})"
    return f"{capitalized(what)} {why}. {_became(outcome)}. {run_url}"


def _became(outcome: WaitOutcome) -> str:
    run = outcome.run
    if outcome.error:
        return f"It {MAY_RUN}: {outcome.error}"
    if outcome.is_canceled or (run and run.is_canceled):
        return "It was canceled"
    return f"It was not canceled, and is {run.status}" if run else "It was not canceled"


# Without heartbeats, Airflow takes a process for dead. If that process is stopped later, it cancels the run.
_CANCELED_BY = (
    "An earlier try has started it, and this try has not canceled it. If nobody has, then a process of the "
    "earlier try has, which Airflow had taken for dead. A retry starts another run"
)
_MAX_ERROR_LENGTH = 500  # in XCom, which may have 1,000 of them


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemEnd:
    """How the run of one item has ended."""

    index: int
    run_id: str
    run_url: str
    outcome: WaitOutcome
    reason: str = ""
    """Why it did not complete, and what to do; empty if it did."""
    error: str = ""
    """The reason without the run, for XCom, or why the output cannot be fetched."""
    is_retried: bool = False
    limit: str | None = None
    """The argument whose time limit has ended the wait; None if none has."""
    lacks_output: bool = False  # as it cannot be fetched, although the run completed

    @property
    def was_not_needed(self) -> bool:
        """Whether the run was canceled because another run had failed."""
        run = self.outcome.run
        return self.outcome.end is WaitEnd.NOT_NEEDED and run is not None and run.is_canceled

    @property
    def has_failed(self) -> bool:
        """Whether it failed. A run that was canceled as not needed has not failed."""
        return bool(self.reason) and not self.was_not_needed

    @property
    def ended_run(self) -> Run | None:
        """The run, unless the task has canceled it, or it is alive, or lacks its output."""
        return self.outcome.run if self.outcome.end is WaitEnd.FINAL and not self.lacks_output else None

    def with_output(self, outputs: Outputs) -> ItemEnd:
        """Return the same with the run that the fetch of its output has shown, or the error of the fetch."""
        run, why = outputs.runs.get(self.run_id, self.outcome.run), outputs.errors.get(self.run_id)
        if why is None:
            return replace(self, outcome=replace(self.outcome, run=run))
        outcome = replace(self.outcome, run=run, error=str(why))
        error = f"its output cannot be fetched: {why}"
        reason = (
            f"Run {self.run_id} is COMPLETED, but {error}. A retry tries again, and starts another run only "
            f"if this one has no idempotency key. {self.run_url}"
        )
        return replace(self, outcome=outcome, reason=reason, error=error, is_retried=True, lacks_output=True)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        run = self.outcome.run
        status, error = str(run.status) if run else None, self.error[:_MAX_ERROR_LENGTH] or None
        what = {"index": self.index, "run_id": self.run_id, "status": status, "error": error}
        return what | usage_facts(run)


def end_of(
    run_id: str,
    outcome: WaitOutcome,
    *,
    index: int = 0,
    success_statuses: Collection[str] = SUCCESS_STATUSES,
    run_url: str,
    conn_id: str,
    retry_statuses: Collection[str],
    timeouts: Mapping[str, float | None] | None = None,
    taken_up_until: float | None = None,
) -> ItemEnd:
    """
    Return how the run of an item has ended; ``timeouts`` are in seconds, None for no limit.

    An earlier try has started each run that was created up to ``taken_up_until``, in seconds since 1970 by
    the server's clock.
    """
    end = ItemEnd(index=index, run_id=run_id, run_url=run_url, outcome=outcome)
    run = outcome.run
    if run is not None and run.status in success_statuses:
        return end
    reason = why_not_completed(outcome, run_id, run_url=run_url, conn_id=conn_id, timeouts=timeouts)
    if run is None or outcome.end is not WaitEnd.FINAL:
        # Without a version, another run would wait for the same.
        is_retried, limit = outcome.end is not WaitEnd.NO_VERSION, _limit_of(outcome, timeouts or {})
        return replace(end, reason=reason, error=reason, is_retried=is_retried, limit=limit)
    error = error_of(run) or f"ended with status {run.status}"
    is_retried, until = run.status in retry_statuses, taken_up_until or -math.inf
    if run.is_canceled and run.created_at and run.created_at.timestamp() <= until:
        reason, is_retried = f"{_why_failed(run)}. {_CANCELED_BY}. {run_url}", True
    return replace(end, reason=reason, error=error, is_retried=is_retried)


def _limit_of(outcome: WaitOutcome, timeouts: Mapping[str, float | None]) -> str | None:
    if outcome.end is WaitEnd.NO_VERSION:
        return "pending_version_timeout"
    if outcome.end is not WaitEnd.TIMED_OUT:
        return None
    age = outcome.run.age if outcome.run else 0.0
    given = {name: seconds for name, seconds in timeouts.items() if seconds is not None}
    return min(given, key=lambda name: abs(given[name] - age), default=None)
