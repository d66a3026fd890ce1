"""What is said of the waitpoint tokens that an operator or a callback was to complete."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from airflow_provider_trigger.log import MAX_LINES, Line, counted, enumeration
from airflow_provider_trigger.report.cancels import Report, none_found, outcomes, words
from airflow_provider_trigger.sources.run_ids import TOKEN_IDS, hint, problems_of_sources
from airflow_provider_trigger.tokens.complete import CompletionOutcome, CompletionResult

if TYPE_CHECKING:
    from airflow_provider_trigger.sources.run_ids import Reaction, RunIds


def make_report(
    results: Sequence[CompletionResult],
    ids: RunIds,
    *,
    conn_id: str,
    on_empty: Reaction,
    ignored: Collection[str] = (),
) -> Report:
    """Decide what failed, and describe it in one line; ``ignored`` are outcomes that are no failure."""
    failed, accepted, timed_out, unknown = (
        [one for one in results if one.outcome == outcome and outcome not in ignored]
        for outcome in ("failed", "accepted", "timed_out", "not_found")
    )
    problems = tokens_left(len(failed), ids)
    for name, group in (("not completed", failed), ("not confirmed", accepted)):
        if group:
            # The log has the others' errors. What no retry cures is to be seen first.
            worst = min(group, key=lambda one: one.retryable)
            problems.append(f"{name}: {enumeration(one.token_id for one in group)}: {worst.error}")
    if timed_out:
        named = enumeration(one.token_id for one in timed_out)
        problems.append(f"timed out: {named} (what waited for it went on without this data)")
    if unknown:
        hints = {one.token_id: hint(one.token_id, TOKEN_IDS) for one in unknown}
        named = enumeration(f"{one} ({text})" if text else one for one, text in hints.items())
        problems.append(f"not found: {named}")
        problems += [none_found("tokens", conn_id)] if len(unknown) == len(results) else []
    problems += problems_of_sources(ids, on_empty)
    return Report(
        count=len(results),
        summary=summary(results) if results else "No token ids were found, so nothing was completed",
        problems=problems,
        warnings=[],
        retryable=bool(ids.failed) or any(result.retryable for result in results),
    )


def summary(results: Sequence[CompletionResult]) -> str:
    """Return, for example, ``3 waitpoint tokens: 2 completed, 1 timed out``."""
    return outcomes("waitpoint token", CompletionOutcome, [result.outcome for result in results])


def tokens_left(count: int, ids: RunIds) -> list[str]:
    """Return how many tokens are not known to be completed, and whether there are others."""
    left = [f"{counted(count, 'token')} may still be waiting"] if count else []
    others = ["tokens whose ids could not be read may still be waiting"] if ids.failed or ids.invalid else []
    return left + others


def each_token(results: Sequence[CompletionResult], *, ignored: Collection[str] = ()) -> Iterator[Line]:
    """Yield a line for each of up to ``MAX_LINES`` tokens; of more, only those without our data."""
    good = (CompletionOutcome.COMPLETED, CompletionOutcome.ALREADY_COMPLETED)
    shown = [one for one in results if len(results) <= MAX_LINES or one.outcome not in good]
    for result in shown[:MAX_LINES]:
        note = f" - {result.error}" if result.error else ""
        text = f"{result.token_id}: {words(result.outcome)}, {result.status or 'status unknown'}{note}"
        yield "info" if result.outcome in (*good, *ignored) else "error", text
