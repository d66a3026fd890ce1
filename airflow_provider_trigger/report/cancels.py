"""The texts about runs that were canceled, and about waitpoint tokens that were completed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.log import MAX_LINES, Level, Line, counted, enumeration, named
from airflow_provider_trigger.sources.run_ids import (
    RUN_IDS,
    TOKEN_IDS,
    IdKind,
    Reaction,
    hint,
    problems_of_sources,
)
from airflow_provider_trigger.tokens.complete import CompletionOutcome, CompletionResult

if TYPE_CHECKING:
    from airflow_provider_trigger.sources.run_ids import RunIds

NOTHING_CANCELED = "No run ids were found, so nothing was canceled"

TOKEN = "waitpoint token"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The outcome of a work as a whole."""

    summary: str
    problems: list[str]
    """Why it failed, the most important first; empty if it did not."""
    warnings: list[str] = field(default_factory=list)  # what to check although it did not fail
    retryable: bool

    def __str__(self) -> str:
        return f"{self.summary} - {'; '.join(self.problems)}" if self.problems else self.summary


def make_report(
    *,
    results: Sequence[CancelResult],
    ids: RunIds,
    conn_id: str,
    on_not_found: Reaction = "fail",
    on_empty: Reaction = "ignore",
    rejection: str | None = None,
    stopped: bool = False,
) -> Report:
    """Decide what failed, in one line; ``rejection`` says what to do about a secret key that was rejected."""
    problems = ["Airflow stopped the task before its work was done"] if stopped else []
    if rejection:
        problems = [f"Connection {conn_id!r}: the secret key was rejected: {rejection}"]
    problems += runs_left(results, ids)
    for name, is_unconfirmed in (("not canceled", False), ("not confirmed", True)):
        if reasons := failures(result for result in results if result.is_unconfirmed is is_unconfirmed):
            problems.append(f"{name}: {reasons}")
    missing = [result.run_id for result in results if _is_missing(result)]
    not_found, environment = _not_found(missing, RUN_IDS, len(results), conn_id)
    if on_not_found == "fail":
        problems += not_found + environment
    problems += problems_of_sources(ids, on_empty)
    helps = stopped or bool(ids.failed) or any(result.retryable for result in results if result.error)
    return Report(
        summary=summary(results) if results or problems else NOTHING_CANCELED,
        problems=problems,
        warnings=[] if on_not_found == "fail" else environment,
        retryable=helps and not rejection,
    )


def summary(results: Sequence[CancelResult | CompletionResult], name: str = "Trigger.dev run") -> str:
    """Return, for example, ``16 Trigger.dev runs: 12 canceled, 3 already completed, 1 not found``."""
    counts = Counter(map(in_words, results))
    kinds: Iterable[StrEnum] = type(results[0].outcome) if results else ()
    words = [*(_words(kind) for kind in kinds), _UNCONFIRMED]
    parts = [f"{counts[kind]} {kind}" for kind in words if counts[kind]]
    return counted(len(results), name) + (f": {', '.join(parts)}" if parts else "")


_UNCONFIRMED = "requested but not confirmed"


def in_words(result: CancelResult | CompletionResult) -> str:
    """Return the outcome of a run or token in words; an unconfirmed cancel has not failed."""
    is_unconfirmed = isinstance(result, CancelResult) and result.is_unconfirmed
    return _UNCONFIRMED if is_unconfirmed else _words(result.outcome)


def _words(outcome: StrEnum) -> str:
    return outcome.value.replace("_", " ")


def runs_left(results: Iterable[CancelResult], ids: RunIds) -> list[str]:
    """Return how many runs were not canceled, by last status, and whether ids could not be read."""
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


def failures(results: Iterable[CancelResult]) -> str:
    """Return why runs failed and which, the most frequent reason first."""
    groups: dict[str, list[str]] = {}
    for result in results:
        if result.error is not None:
            groups.setdefault(shared_error(result), []).append(result.run_id)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return enumeration((f"{named(run_ids)}: {why}" for why, run_ids in ordered), " | ")


def shared_error(result: CancelResult) -> str:
    """Return an error without the ids of its run and its request, so that several runs share it."""
    text = re.sub(r" \(request [^)]*\)", "", result.error or "")
    return text.replace(f"/runs/{quote(result.run_id, safe='')}", "/runs/…")


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
    """Return how many runs may still run after an error; ``searched``: a search was to find more."""
    left = [f"{counted(len(ids.found), 'run')} may still run"] if ids.found else []
    left += ["runs that were not found yet may still run"] if searched else []
    return [*left, *runs_left((), ids)]


def _is_missing(result: CancelResult) -> bool:
    """Return whether this key's environment does not have a given run; a descendant may vanish."""
    return result.outcome is CancelOutcome.NOT_FOUND and result.parent_run_id is None


def _not_found(found: Sequence[str], kind: IdKind, count: int, conn_id: str) -> tuple[list[str], list[str]]:
    """Return what is said of ids that the server does not know, and what to check if they are all of them."""
    hints = {found_id: hint(found_id, kind) for found_id in found}
    named = enumeration(f"{name} ({text})" if text else name for name, text in hints.items())
    is_none_found = len(hints) == count and not all(hints.values())
    what = kind.name.replace(" id", "s")
    text = f"None of the {what} was found: does the secret key of connection {conn_id!r} belong to another "
    return [f"not found: {named}"] * bool(hints), [f"{text}environment?"] * is_none_found


def of_work(
    results: Sequence[CancelResult],
    unsearched: Sequence[str],
    run_url: Callable[[str], str],
    *,
    on_not_found: Reaction = "fail",
) -> Iterator[Line]:
    """Yield a line for each run, above ``MAX_LINES`` only for failed and unknown ones, and for searches."""
    if len(results) > MAX_LINES:
        shown = (CancelOutcome.FAILED, CancelOutcome.NOT_FOUND)
        results = [result for result in results if result.outcome in shown]

    def level(result: CancelResult) -> Level:
        is_problem = on_not_found == "fail" and _is_missing(result)
        return "error" if is_problem or result.outcome is CancelOutcome.FAILED else "info"

    for result in results[:MAX_LINES]:
        note = hint(result.run_id) if result.outcome is CancelOutcome.NOT_FOUND else result.error
        text = f"{result.run_id} ({result.task_identifier or 'Trigger.dev task unknown'}"
        text += f", child of {result.parent_run_id})" if result.parent_run_id else ")"
        text += f": {in_words(result)}, {result.status or 'status unknown'}"
        text += f" - {note}" if note else ""
        yield level(result), f"{text} {run_url(result.run_id)}"
    if more := results[MAX_LINES:]:
        ids = ", ".join(result.run_id for result in more)
        yield min(map(level, more)), f"{counted(len(more), 'more run')} failed or not found: {ids}"
    if unsearched:
        yield "warning", f"Descendants may be missing, and still run: {'; '.join(unsearched)}"


def of_callback(report: Report) -> Line:
    """Return what a callback did."""
    return ("error" if report.problems else "info"), str(report)


def report_of_completion(
    results: Sequence[CompletionResult],
    ids: RunIds,
    *,
    conn_id: str,
    on_empty: Reaction,
    ignored: Collection[str] = (),
) -> Report:
    """Decide what failed, and describe it in one line; ``ignored`` are outcomes that are no failure."""
    failed, accepted, timed_out, unknown = (
        [result for result in results if result.outcome == outcome and outcome not in ignored]
        for outcome in ("failed", "accepted", "timed_out", "not_found")
    )
    problems = tokens_left(len(failed), ids)
    for name, group in (("not completed", failed), ("not confirmed", accepted)):
        if group:
            # The log has the others' errors. What no retry cures is to be seen first.
            worst = min(group, key=lambda result: result.retryable)
            problems.append(f"{name}: {enumeration(result.token_id for result in group)}: {worst.error}")
    if timed_out:
        named = enumeration(result.token_id for result in timed_out)
        problems.append(f"timed out: {named} (what waited for it went on without this data)")
    for texts in _not_found([result.token_id for result in unknown], TOKEN_IDS, len(results), conn_id):
        problems += texts
    problems += problems_of_sources(ids, on_empty)
    return Report(
        summary=summary(results, TOKEN) if results else "No token ids were found, so nothing was completed",
        problems=problems,
        retryable=bool(ids.failed) or any(result.retryable for result in results),
    )


def _token_ids(results: Iterable[CompletionResult]) -> str:
    return enumeration(result.token_id for result in results)


def tokens_left(count: int, ids: RunIds) -> list[str]:
    """Return how many tokens may be waiting, and whether ids could not be read."""
    left = [f"{counted(count, 'token')} may still be waiting"] * bool(count)
    is_unread = bool(ids.failed or ids.invalid)
    return left + ["tokens whose ids could not be read may still be waiting"] * is_unread


def each_token(results: Sequence[CompletionResult], *, ignored: Collection[str] = ()) -> Iterator[Line]:
    """Yield a line for each token, above ``MAX_LINES`` only for those without our data."""
    good = (CompletionOutcome.COMPLETED, CompletionOutcome.ALREADY_COMPLETED)
    are_few = len(results) <= MAX_LINES
    shown = [result for result in results if are_few or result.outcome not in good]
    for result in shown[:MAX_LINES]:
        note = f" - {result.error}" if result.error else ""
        text = f"{result.token_id}: {in_words(result)}, {result.status or 'status unknown'}{note}"
        yield "info" if result.outcome in (*good, *ignored) else "error", text
