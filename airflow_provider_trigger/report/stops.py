"""What is said of the runs of a task that was stopped or has failed: each of a few, and many together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import assert_never

from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.log import Line, Log, write
from airflow_provider_trigger.report.cancels import failures
from airflow_provider_trigger.run.guard import Stop
from airflow_provider_trigger.wording import MAX_LINES, MAX_NAMED, MAY_RUN, capitalized, counted, enumeration


def log_stop(log: Log, conn_id: str, stop: Stop) -> None:
    """Log what came of a cancel by the task itself."""
    write(log, _of_stop(stop, conn_id))


def _of_stop(stop: Stop, conn_id: str) -> Iterator[Line]:
    if stop.search_error is not None:
        text = (
            f"Runs that an earlier try has started {MAY_RUN}, as the list of runs could not be searched "
            f"({str(stop.search_error).rstrip('.')}): a retry finds them. Without a retry, look for them in "
            f"the dashboard by the tag {stop.tag}"
        )
        yield "error", text
    if stop.count:
        bulk = f", and bulk action {', '.join(stop.bulk_ids)} cancels all" if stop.bulk_ids else ""
        yield "info", f"The cancel of {stop.accepted} of {stop.count} runs was accepted{bulk}"
    yield from of_cancels(stop.results, conn_id)
    if stop.unknown:
        answer, tag = stop.answer, f" by the tag {stop.tag}" if stop.tag else ""
        how = f"answered {answer.status} ({counted(answer.tries, 'time')}) to" if answer else "not answered"
        text = (
            f"The server has {how} the start of {counted(stop.unknown, 'run')}, which may be running "
            f"({enumeration(stop.parts)}): a retry finds what was started. Without a retry, look for the "
            f"runs in the dashboard{tag}"
        )
        yield "error", text


def canceling(run_ids: Sequence[str]) -> Iterator[Line]:
    """Yield that runs are being canceled, because their task was ended."""
    if len(run_ids) > MAX_NAMED:
        yield "info", f"Canceling {len(run_ids)} runs, because their task was ended"
    else:
        yield from (("info", f"Canceling run {one}, because its task was ended") for one in run_ids)


def of_cancels(results: Iterable[CancelResult], conn_id: str, *, was_ended: bool = False) -> Iterator[Line]:
    """
    Yield what became of runs that were canceled.

    :param was_ended: whether to say that their task was ended, which a trigger's log does not show else
    """
    groups: dict[tuple[CancelOutcome, bool], list[CancelResult]] = {}
    for result in results:
        groups.setdefault((result.outcome, result.is_unconfirmed), []).append(result)
    for outcome in CancelOutcome:
        for is_unconfirmed in (False, True):
            group = groups.get((outcome, is_unconfirmed), [])
            for some in [group] if len(group) > MAX_NAMED else [[one] for one in group]:
                yield _of_some(some, conn_id, was_ended=was_ended)


def _of_some(some: Sequence[CancelResult], conn_id: str, *, was_ended: bool) -> Line:
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
    return ("warning" if first.is_unconfirmed else "error"), text
