"""Turn the results of a cancellation into log lines, reasons for a failure and one summary line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_trigger.cancel.grouping import failures
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.sources.problems import Reaction, problems_of_sources
from airflow_provider_trigger.sources.run_ids import hint
from airflow_provider_trigger.wording import MAX_LINES, counted, enumeration

if TYPE_CHECKING:
    from airflow_provider_trigger.cancel.search import Search
    from airflow_provider_trigger.sources.run_ids import RunIds

NOTHING_CANCELED = "No run ids were found, so nothing was canceled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """
    The outcome of a cancellation as a whole.

    :param runs: how many there were
    :param summary: the same in words, and how many had each outcome
    :param problems: why it failed, the most important first; empty if it did not
    :param warnings: what to check although it did not fail
    :param retryable: whether another try may succeed
    """

    runs: int
    summary: str
    problems: list[str]
    warnings: list[str]
    retryable: bool

    def __str__(self) -> str:
        return f"{self.summary} - {'; '.join(self.problems)}" if self.problems else self.summary


def make_report(
    *,
    results: Sequence[CancelResult],
    ids: RunIds,
    conn_id: str,
    on_not_found: Reaction,
    on_empty: Reaction,
    rejection: str | None = None,
    stopped: bool = False,
) -> Report:
    """
    Decide what failed, and describe it in one line.

    :param results: what became of the runs
    :param ids: what was gathered
    :param conn_id: the connection's id
    :param on_not_found: whether an unknown run is a failure
    :param on_empty: whether a source without run ids is a failure
    :param rejection: what to do about the secret key where the server rejected it, None where it did not
    :param stopped: whether Airflow stopped the task before the work was done
    """
    environment = unknown_environment_hint(results, conn_id)
    problems = _why_it_ended_early(conn_id, rejection=rejection, stopped=stopped)
    problems += runs_left(results, ids)
    for name, is_unconfirmed in (("not canceled", False), ("not confirmed", True)):
        if reasons := failures(one for one in results if one.is_unconfirmed is is_unconfirmed):
            problems.append(f"{name}: {reasons}")
    if on_not_found == "fail" and (unknown := not_found(results)):
        named = (f"{run_id} ({text})" if (text := hint(run_id)) else run_id for run_id in unknown)
        problems.append(f"not found: {enumeration(named)}")
        problems += [environment] if environment else []
    problems += problems_of_sources(ids, on_empty)
    helps = stopped or bool(ids.failed) or any(result.retryable for result in results if result.error)
    return Report(
        runs=len(results),
        summary=summary(results),
        problems=problems,
        warnings=[environment] if environment and environment not in problems else [],
        retryable=helps and not rejection,
    )


def _why_it_ended_early(conn_id: str, *, rejection: str | None, stopped: bool) -> list[str]:
    if rejection:
        return [f"Connection {conn_id!r}: the secret key was rejected: {rejection}"]
    return ["Airflow stopped the task before its work was done"] if stopped else []


def summary(results: Sequence[CancelResult]) -> str:
    """Return, for example, ``16 Trigger.dev runs: 12 canceled, 3 already completed, 1 not found``."""
    counts = Counter(result.outcome for result in results)
    parts = [
        f"{counts[outcome]} {outcome.value.replace('_', ' ')}" for outcome in CancelOutcome if counts[outcome]
    ]
    return counted(len(results), "Trigger.dev run") + (f": {', '.join(parts)}" if parts else "")


def runs_left(results: Iterable[CancelResult], ids: RunIds) -> list[str]:
    """
    Return how many runs were not canceled, by their last known status, and whether there are others.

    :param results: what became of the runs
    :param ids: what was gathered
    """
    all_failed = [result for result in results if result.outcome is CancelOutcome.FAILED]
    failed = [result for result in all_failed if not result.is_unconfirmed]
    counts = Counter(result.status or "unknown" for result in failed)
    texts = []
    if unconfirmed := len(all_failed) - len(failed):
        texts.append(f"the cancel of {counted(unconfirmed, 'run')} was requested, and is not confirmed")
    if failed:
        each = (f"{status}: {count}" for status, count in counts.most_common())
        texts.append(f"{_may_run(len(failed))} (status {', '.join(each if len(counts) > 1 else counts)})")
    if ids.failed or ids.invalid:
        texts.append("runs whose ids could not be read may still run")
    return texts


def _may_run(count: int) -> str:
    return f"{count} {'run' if count == 1 else 'runs'} may still run"


@contextmanager
def adding_runs_left(ids: RunIds, *, origin: str = "", searched: bool = False) -> Iterator[None]:
    """
    Make the text of an error name how many runs may still run, as Airflow logs no more than that text.

    :param ids: what was gathered; none of these runs is known to be canceled
    :param origin: what the text begins with, in a log that is not the task's own
    :param searched: whether there may be others, which were to be searched
    """
    try:
        yield
    except Exception as error:
        # Any error, among them what Airflow raises where it cannot get a connection.
        left = [_may_run(len(ids.found))] if ids.found or not searched else []
        left += ["runs that were not found yet may still run"] if searched else []
        error.args = ("; ".join((f"{origin}{error}", *left, *runs_left((), ids))),)
        raise


def not_found(results: Iterable[CancelResult]) -> list[str]:
    """Return the ids of given runs that this key's environment does not have; a descendant may vanish."""
    return [
        result.run_id
        for result in results
        if result.outcome is CancelOutcome.NOT_FOUND and result.parent_run_id is None
    ]


def unknown_environment_hint(results: Sequence[CancelResult], conn_id: str) -> str | None:
    """Return what to check if none of the runs was found; None if one was, or if their ids have hints."""
    unknown = not_found(results)
    if not results or len(unknown) < len(results) or all(map(hint, unknown)):
        return None
    return (
        "None of the runs was found: does the secret key of connection "
        f"{conn_id!r} belong to another environment?"
    )


def log_results(
    log: Log,
    results: Sequence[CancelResult],
    run_url: Callable[[str], str],
    *,
    on_not_found: Reaction,
    origin: str = "",
) -> None:
    """
    Write a line for each of up to :data:`MAX_LINES` runs; of more, only failed and not found ones get one.

    :param log: where to
    :param results: what became of the runs
    :param run_url: returns a run's page in the dashboard
    :param on_not_found: whether an unknown run is a failure, and so an error in the log
    :param origin: what each line begins with, in a log that is not the task's own
    """
    if len(results) > MAX_LINES:
        shown = (CancelOutcome.FAILED, CancelOutcome.NOT_FOUND)
        results = [result for result in results if result.outcome in shown]
    for result in results[:MAX_LINES]:
        note = hint(result.run_id) if result.outcome is CancelOutcome.NOT_FOUND else result.error
        (log.error if _is_problem(result, on_not_found) else log.info)(
            "%s%s (%s%s): %s, %s%s %s",
            origin,
            result.run_id,
            result.task_identifier or "Trigger.dev task unknown",
            f", child of {result.parent_run_id}" if result.parent_run_id else "",
            result.outcome.value.replace("_", " "),
            result.status or "status unknown",
            f" - {note}" if note else "",
            run_url(result.run_id),
        )


def _is_problem(result: CancelResult, on_not_found: Reaction) -> bool:
    if result.outcome is CancelOutcome.NOT_FOUND:
        return on_not_found == "fail" and result.parent_run_id is None
    return result.outcome is CancelOutcome.FAILED


def log_search(log: Log, search: Search | None, *, origin: str = "") -> None:
    """
    Warn of descendants that the search may have missed, and say whether it did without the query.

    :param log: where to
    :param search: of descendants, None if they were not to be canceled
    :param origin: what the line begins with, in a log that is not the task's own
    """
    if search is None:
        return
    if search.query_error is not None:
        text = "%sDescendants were searched with status checks, as the query failed: %s"
        log.info(text, origin, search.query_error)
    reasons = []
    if not search.is_over:
        reasons.append("the search was not finished")
    if search.query_error is not None and search.unreadable:
        each = (f"{run_id} ({error})" for run_id, error in search.unreadable.items())
        reasons.append(f"these runs could not be checked: {enumeration(each)}")
    if search.is_cut_off:
        reasons.append("the query shows no more than 10,000 runs")
    if reasons:
        log.warning("%sDescendants may be missing, and still run: %s", origin, "; ".join(reasons))


def log_summary(log: Log, report: Report, *, origin: str) -> None:
    """
    Write what a callback did, in one line.

    :param log: where to
    :param report: of the cancellation
    :param origin: what the line begins with
    """
    text = str(report) if report.runs or report.problems else NOTHING_CANCELED
    (log.error if report.problems else log.info)("%s%s", origin, text)


def log_unterminated(log: Log, results: Iterable[CancelResult], timeout: float) -> None:
    """
    Warn of the runs that are CANCELED, but not known to be terminated.

    :param log: where to
    :param results: what became of the runs
    :param timeout: how long the termination was waited for, in seconds
    """
    canceled = [result for result in results if result.outcome is CancelOutcome.CANCELED]
    if run_ids := [result.run_id for result in canceled if not result.terminated]:
        log.warning("Canceled, but not terminated within %s s: %s", f"{timeout:g}", enumeration(run_ids))
