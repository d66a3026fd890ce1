"""Say what became of the runs of a stopped task, how runs ended, and why a wait ended before its runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import assert_never

from airflow_provider_trigger.api.models import Run, advice
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.log import (
    MAX_LINES,
    MAX_NAMED,
    MAY_RUN,
    Line,
    Log,
    capitalized,
    counted,
    enumeration,
    write,
)
from airflow_provider_trigger.report.cancels import failures
from airflow_provider_trigger.run.facts import describe, missing_version
from airflow_provider_trigger.run.guard import Stop
from airflow_provider_trigger.run.waited import Waited, WaitEnd


def log_stop(log: Log, conn_id: str, stop: Stop) -> None:
    """Log that a cancel by the task itself begins, or what came of it."""
    write(log, _of_stop(stop, conn_id) if stop.begins_with is None else _of_begin(stop, stop.begins_with))


def _of_begin(stop: Stop, run_ids: Sequence[str]) -> Iterator[Line]:
    yield from canceling(run_ids)
    if stop.unknown:
        tag = f", by the tag {stop.tag}" if stop.tag else ""
        yield "info", f"Canceling {counted(stop.unknown, 'run')} whose start the server has not answered{tag}"


def _of_stop(stop: Stop, conn_id: str) -> Iterator[Line]:
    if stop.search_error is not None:
        text = (
            f"Runs that an earlier try has started {MAY_RUN}, as the list of runs could not be searched "
            f"({str(stop.search_error).rstrip('.')}): a retry finds them. Without a retry, look for them in "
            f"the dashboard by the tag {stop.tag}"
        )
        yield "error", text
    bulk = f"bulk action {', '.join(stop.bulk_ids)} cancels" if stop.bulk_ids else ""
    if stop.count:
        all_of_them = f", and {bulk} all" if bulk else ""
        yield "info", f"The cancel of {stop.accepted} of {stop.count} runs was accepted{all_of_them}"
    yield from of_cancels(stop.results, conn_id, tag=stop.tag)
    if stop.unknown:
        answer, tag = stop.answer, f" by the tag {stop.tag}" if stop.tag else ""
        how = f"answered {answer.status} ({counted(answer.tries, 'time')}) to" if answer else "not answered"
        items = f" ({enumeration(stop.parts)})" if stop.parts else ""
        which = "which may be running" if not bulk else f"and {bulk} those that it has created"
        retry = "a retry finds what was started. Without a retry, " if stop.have_keys else ""
        runs = "it" if stop.unknown == 1 else "the runs"
        text = (
            f"The server has {how} the start of {counted(stop.unknown, 'run')}, {which}{items}: "
            f"{retry}look for {runs} in the dashboard{tag}"
        )
        yield ("warning" if bulk else "error"), text


def canceling(run_ids: Sequence[str]) -> Iterator[Line]:
    """Yield that runs are being canceled, because their task was ended."""
    if len(run_ids) > MAX_NAMED:
        yield "info", f"Canceling {len(run_ids)} runs, because their task was ended: {', '.join(run_ids)}"
    else:
        yield from (("info", f"Canceling run {one}, because its task was ended") for one in run_ids)


def of_cancels(
    results: Iterable[CancelResult], conn_id: str, *, was_ended: bool = False, tag: str | None = None
) -> Iterator[Line]:
    """Yield what became of canceled runs, and that their task was ended, which a trigger's log lacks else."""
    groups: dict[tuple[CancelOutcome, bool], list[CancelResult]] = {}
    for result in results:
        groups.setdefault((result.outcome, result.is_unconfirmed), []).append(result)
    for outcome in CancelOutcome:
        for is_unconfirmed in (False, True):
            group = groups.get((outcome, is_unconfirmed), [])
            for some in [group] if len(group) > MAX_NAMED else [[one] for one in group]:
                yield _of_some(some, conn_id, was_ended=was_ended, tag=tag)


def _of_some(some: Sequence[CancelResult], conn_id: str, *, was_ended: bool, tag: str | None) -> Line:
    """Return what became of one run, or of many with the same outcome."""
    first, is_one, run_ids = some[0], len(some) == 1, [result.run_id for result in some]
    who, their, them = (
        ("run " + run_ids[0], "its", "it") if is_one else (f"{len(some)} runs", "their", "them")
    )
    match first.outcome:
        case CancelOutcome.CANCELED:
            return "info", f"Canceled {who}{f', because {their} task was ended' if was_ended else ''}"
        case CancelOutcome.ALREADY_COMPLETED if is_one:
            return "info", f"Run {first.run_id} was {first.status} before its cancel"
        case CancelOutcome.ALREADY_COMPLETED:
            return "info", f"{who} had ended before their cancel: {enumeration(run_ids)}"
        case CancelOutcome.NOT_FOUND:
            why = f"connection {conn_id!r} has no such run{'' if is_one else ': ' + enumeration(run_ids)}"
        case CancelOutcome.FAILED:
            why = str(first.error) if is_one else failures(some, named=MAX_LINES)
        case other:
            assert_never(other)
    how = "" if is_one else ", as the cancel is not confirmed"
    text = f"{capitalized(who)} {MAY_RUN}{how}: {why.rstrip('.')}"
    text += f". Unless a retry waits for {them}, cancel {them} in the dashboard"
    text += f", by the tag {tag}" if tag else ""
    return ("warning" if first.is_unconfirmed else "error"), text


_MAX_MESSAGE_LENGTH = 1000


def why_failed(run: Run, *, run_url: str) -> str:
    """Return in one line how a run ended, why, and what to do."""
    count = run.attempt_count
    attempts = f" after {counted(count, 'attempt')}" if count else ""
    error, reason = run.error, error_of(run)
    text = f"{capitalized(describe(run))} ended with status {run.status}{attempts}"
    text += f": {reason}" if reason else ""
    text += f". {advice(error.code)}" if error is not None and error.code else ""
    return f"{text.rstrip('.')}. {run_url}"


def error_of(run: Run) -> str:
    """Return in one line the error with which a run has failed, empty where the server shows none."""
    error = run.error
    if error is None:
        return ""
    name = f"{error.name}: " if error.name and error.message else error.name or ""
    return " ".join(f"{name}{error.message}".split())[:_MAX_MESSAGE_LENGTH]


def stack_trace(run: Run | None) -> Iterator[Line]:
    """Yield where a run has failed, if the server shows it."""
    if run is not None and run.error and run.error.stack_trace:
        yield "error", f"Stack trace of run {run.id}:\n{run.error.stack_trace}"


def why_not_completed(
    waited: Waited,
    run_id: str,
    *,
    run_url: str,
    conn_id: str,
    timeouts: Mapping[str, float | None] | None = None,
) -> str:
    """
    Return in one line why a run did not complete, or is not known to, what became of it, and what to do.

    ``timeouts`` are in seconds, None for no limit.
    """
    run = waited.run
    what = describe(run) if run else f"run {run_id}"
    match waited.end:
        case WaitEnd.FINAL if run is not None:
            return why_failed(run, run_url=run_url)
        case WaitEnd.REJECTED:
            text = f"The server rejects the status checks of {what}, which {MAY_RUN}: {waited.error}"
            action = f"Check that connection {conn_id!r} has a key of its environment"
            return f"{text}. {action}, and look at it in the dashboard: {run_url}"
        case WaitEnd.NO_VERSION:
            missing = missing_version(run)
            why = f"was still waiting for a version after pending_version_timeout: {missing}"
        case WaitEnd.NOT_NEEDED:
            why = "was not needed any more, as another run had failed"
        case WaitEnd.TIMED_OUT | WaitEnd.FINAL:
            given = (f"{name}={value:g} s" for name, value in (timeouts or {}).items() if value is not None)
            why = f"did not end within its time limit ({', '.join(given)})"
        case other:
            assert_never(other)
    return f"{capitalized(what)} {why}. {_became(waited)}. {run_url}"


def _became(waited: Waited) -> str:
    run = waited.run
    if waited.error:
        return f"It {MAY_RUN}: {waited.error}"
    if waited.is_canceled or (run and run.is_canceled):
        return "It was canceled"
    return f"It was not canceled, and is {run.status}" if run else "It was not canceled"


def why_no_output(waited: Waited, *, run_url: str) -> str | None:
    """Return in one line why the output of a run is not known that has completed; None where it is known."""
    if waited.run is None or not waited.run.is_success or not waited.error:
        return None
    return (
        f"{capitalized(describe(waited.run))} is {waited.run.status}, but its output cannot be fetched: "
        f"{waited.error}. A retry tries again, and starts another run only if this one has no idempotency "
        f"key. {run_url}"
    )
