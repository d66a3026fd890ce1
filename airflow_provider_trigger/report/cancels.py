"""What is said of the runs that an operator or a callback was to cancel."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.log import MAX_LINES, MAX_NAMED, Line, counted, enumeration
from airflow_provider_trigger.sources.run_ids import Reaction, hint, problems_of_sources

if TYPE_CHECKING:
    from airflow_provider_trigger.sources.run_ids import RunIds

NOTHING_CANCELED = "No run ids were found, so nothing was canceled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The outcome of a work as a whole."""

    count: int
    """Of how many runs or tokens it is."""
    summary: str
    problems: list[str]
    """Why it failed, the most important first; empty if it did not."""
    warnings: list[str]
    """What to check although it did not fail."""
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

    ``rejection`` says what to do about a secret key that the server rejected.
    """
    problems = ["Airflow stopped the task before its work was done"] if stopped else []
    if rejection:
        problems = [f"Connection {conn_id!r}: the secret key was rejected: {rejection}"]
    problems += runs_left(results, ids)
    for name, is_unconfirmed in (("not canceled", False), ("not confirmed", True)):
        if reasons := failures(one for one in results if one.is_unconfirmed is is_unconfirmed):
            problems.append(f"{name}: {reasons}")
    hints = {one.run_id: hint(one.run_id) for one in results if _is_missing(one)}
    is_none_found = len(hints) == len(results) and not all(hints.values())
    environment = [none_found("runs", conn_id)] if is_none_found else []
    if on_not_found == "fail" and hints:
        named = (f"{run_id} ({text})" if text else run_id for run_id, text in hints.items())
        problems += [f"not found: {enumeration(named)}", *environment]
    problems += problems_of_sources(ids, on_empty)
    helps = stopped or bool(ids.failed) or any(result.retryable for result in results if result.error)
    return Report(
        count=len(results),
        summary=summary(results),
        problems=problems,
        warnings=[] if on_not_found == "fail" else environment,
        retryable=helps and not rejection,
    )


def summary(results: Sequence[CancelResult]) -> str:
    """Return, for example, ``16 Trigger.dev runs: 12 canceled, 3 already completed, 1 not found``."""
    return outcomes("Trigger.dev run", CancelOutcome, [result.outcome for result in results])


def outcomes(name: str, kinds: type[StrEnum], found: Sequence[StrEnum]) -> str:
    """Return how many of what is named so came to which outcome, in the order of the kinds."""
    counts = Counter(found)
    parts = [f"{counts[kind]} {words(kind)}" for kind in kinds if counts[kind]]
    return counted(len(found), name) + (f": {', '.join(parts)}" if parts else "")


def words(outcome: StrEnum) -> str:
    """Return an outcome in words."""
    return outcome.value.replace("_", " ")


def runs_left(results: Iterable[CancelResult], ids: RunIds) -> list[str]:
    """Return how many runs were not canceled, by their last known status, and whether there are others."""
    all_failed = [result for result in results if result.outcome is CancelOutcome.FAILED]
    failed = [result for result in all_failed if not result.is_unconfirmed]
    counts = Counter(result.status or "unknown" for result in failed)
    texts = []
    if unconfirmed := len(all_failed) - len(failed):
        texts.append(f"the cancel of {counted(unconfirmed, 'run')} was requested, and is not confirmed")
    if failed:
        each = (f"{status}: {count}" for status, count in counts.most_common())
        status = ", ".join(each if len(counts) > 1 else counts)
        texts.append(f"{counted(len(failed), 'run')} may still run (status {status})")
    if ids.failed or ids.invalid:
        texts.append("runs whose ids could not be read may still run")
    return texts


def failures(results: Iterable[CancelResult], *, named: int = MAX_NAMED) -> str:
    """Return why runs failed and which, up to ``named`` of a reason, the most frequent reason first."""
    groups: dict[str, list[str]] = {}
    for result in results:
        if result.error is not None:
            groups.setdefault(_shared_error(result), []).append(result.run_id)
    texts = []
    for why, run_ids in sorted(groups.items(), key=lambda group: -len(group[1])):
        text = enumeration(run_ids, named=named)
        texts.append(f"{len(run_ids)} runs ({text}): {why}" if len(run_ids) > MAX_NAMED else f"{text}: {why}")
    return enumeration(texts, " | ")


def _shared_error(result: CancelResult) -> str:
    """Return an error without the ids of its run and its request, so that several runs share it."""
    text, segment = re.sub(r" \(request [^)]*\)", "", result.error or ""), quote(result.run_id, safe="")
    # The server may repeat the path, as in the address of a redirect.
    return text.replace(f"/runs/{segment}", "/runs/…").replace(f"runs%2F{segment}", "runs%2F…")


@contextmanager
def adding(left: Sequence[str], *, origin: str = "") -> Iterator[None]:
    """Make the text of an error name what is left undone, as Airflow logs no more than that text."""
    try:
        yield
    except Exception as error:
        # Any error, among them what Airflow raises where it cannot get a connection.
        error.args = ("; ".join((f"{origin}{error}", *left)),)
        raise


def gathered_left(ids: RunIds, *, searched: bool) -> list[str]:
    """Return how many runs may still run, where none was canceled; others were to be ``searched``."""
    left = [f"{counted(len(ids.found), 'run')} may still run"] if ids.found or not searched else []
    left += ["runs that were not found yet may still run"] if searched else []
    return [*left, *runs_left((), ids)]


def _is_missing(result: CancelResult) -> bool:
    """Return whether this key's environment does not have a given run; a descendant may vanish."""
    return result.outcome is CancelOutcome.NOT_FOUND and result.parent_run_id is None


def none_found(what: str, conn_id: str) -> str:
    """Return what to check if none of several was found."""
    return (
        f"None of the {what} was found: does the secret key of connection {conn_id!r} belong to another "
        "environment?"
    )


def of_work(
    results: Sequence[CancelResult],
    unsearched: Sequence[str],
    run_url: Callable[[str], str],
    *,
    on_not_found: Reaction,
) -> Iterator[Line]:
    """
    Yield what became of each run, and what a search for descendants may have missed.

    Of more than :data:`MAX_LINES` runs, only failed and not found ones have a line.
    """
    if len(results) > MAX_LINES:
        shown = (CancelOutcome.FAILED, CancelOutcome.NOT_FOUND)
        results = [result for result in results if result.outcome in shown]
    for result in results[:MAX_LINES]:
        note = hint(result.run_id) if result.outcome is CancelOutcome.NOT_FOUND else result.error
        is_problem = result.outcome is CancelOutcome.FAILED
        is_problem |= on_not_found == "fail" and _is_missing(result)
        text = f"{result.run_id} ({result.task_identifier or 'Trigger.dev task unknown'}"
        text += f", child of {result.parent_run_id})" if result.parent_run_id else ")"
        text += f": {words(result.outcome)}, {result.status or 'status unknown'}"
        text += f" - {note}" if note else ""
        yield "error" if is_problem else "info", f"{text} {run_url(result.run_id)}"
    if unsearched:
        yield "warning", f"Descendants may be missing, and still run: {'; '.join(unsearched)}"


def of_callback(report: Report) -> Line:
    """Return what a callback did."""
    text = str(report) if report.count or report.problems else NOTHING_CANCELED
    return ("error" if report.problems else "info"), text
