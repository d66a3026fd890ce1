"""What is said of the waitpoint tokens that an operator or a callback was to complete."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from airflow_provider_trigger.log import Line
from airflow_provider_trigger.report.cancels import Report, key_rejected, none_found, outcomes, words
from airflow_provider_trigger.run.completion import Completion, CompletionOutcome, CompletionResult
from airflow_provider_trigger.sources.run_ids import TOKEN_IDS, Reaction, hint, problems_of_sources
from airflow_provider_trigger.wording import MAX_LINES, counted, enumeration

if TYPE_CHECKING:
    from airflow_provider_trigger.sources.run_ids import RunIds

_REQUEST_ID = re.compile(r" \(request [^)]*\)")

NOTHING_COMPLETED = "No token ids were found, so nothing was completed"


def make_report(
    work: Completion | None,
    ids: RunIds,
    *,
    conn_id: str,
    on_timed_out: Reaction = "fail",
    on_not_found: Reaction = "fail",
) -> Report:
    """Decide what failed, and describe it in one line; there is no work where there are no tokens."""
    results = work.results if work else []
    failed, timed_out, unknown = (
        [result for result in results if result.outcome is outcome]
        for outcome in (CompletionOutcome.FAILED, CompletionOutcome.TIMED_OUT, CompletionOutcome.NOT_FOUND)
    )
    stopped, advice = (work.stopped, work.advice) if work else (False, None)
    problems = ["Airflow stopped the task before its work was done"] if stopped else []
    problems += [key_rejected(conn_id, advice)] if advice else []
    problems += tokens_left(len(failed), ids)
    problems += [f"not completed: {_reasons(failed)}"] if failed else []
    if timed_out and on_timed_out == "fail":
        runs = "what waited for it went on without this data"
        problems.append(f"timed out: {enumeration(result.token_id for result in timed_out)} ({runs})")
    environment = [none_found("tokens", conn_id)] if results and len(unknown) == len(results) else []
    if unknown and on_not_found == "fail":
        problems += [f"not found: {enumeration(map(_named, unknown))}", *environment]
    problems += problems_of_sources(ids, "ignore")
    helps = stopped or bool(ids.failed) or any(result.retryable for result in failed)
    return Report(
        count=len(results),
        summary=summary(results),
        problems=problems,
        warnings=[] if on_not_found == "fail" else environment,
        retryable=helps and not advice,
    )


def summary(results: Sequence[CompletionResult]) -> str:
    """Return, for example, ``3 waitpoint tokens: 2 completed, 1 timed out``."""
    return outcomes("waitpoint token", CompletionOutcome, [result.outcome for result in results])


def tokens_left(count: int, ids: RunIds) -> list[str]:
    """Return how many tokens are not known to be completed, and whether there are others."""
    left = [f"{counted(count, 'token')} may still be waiting"] if count else []
    others = ["tokens whose ids could not be read may still be waiting"] if ids.failed or ids.invalid else []
    return left + others


def _reasons(failed: Sequence[CompletionResult]) -> str:
    """Return why tokens failed and which, grouped by reason, the most frequent first."""
    groups: dict[str, list[str]] = {}
    for result in failed:
        why = _REQUEST_ID.sub("", str(result.error)).replace(f"/tokens/{result.token_id}", "/tokens/…")
        groups.setdefault(why, []).append(result.token_id)
    ordered = sorted(groups.items(), key=lambda group: len(group[1]), reverse=True)
    return enumeration((f"{enumeration(token_ids)}: {why}" for why, token_ids in ordered), " | ")


def _named(result: CompletionResult) -> str:
    text = hint(result.token_id, TOKEN_IDS)
    return f"{result.token_id} ({text})" if text else result.token_id


def each_token(
    results: Sequence[CompletionResult], *, on_timed_out: Reaction = "fail", on_not_found: Reaction = "fail"
) -> Iterator[Line]:
    """Yield a line for each of up to ``MAX_LINES`` tokens; of more, only those without our data."""
    errors = {CompletionOutcome.FAILED}
    errors |= {CompletionOutcome.TIMED_OUT} if on_timed_out == "fail" else set()
    errors |= {CompletionOutcome.NOT_FOUND} if on_not_found == "fail" else set()
    good = (CompletionOutcome.COMPLETED, CompletionOutcome.ALREADY_COMPLETED)
    shown = [one for one in results if len(results) <= MAX_LINES or one.outcome not in good]
    for result in shown[:MAX_LINES]:
        note = f" - {result.error}" if result.error else ""
        text = f"{result.token_id}: {words(result.outcome)}, {result.status or 'status unknown'}{note}"
        yield "error" if result.outcome in errors else "info", text
