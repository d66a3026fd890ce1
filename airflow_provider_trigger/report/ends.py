"""What is said of the ends of runs, and of waits that ended before their runs did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import assert_never

from airflow_provider_trigger.api.models.run_errors import advice
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.log import Line
from airflow_provider_trigger.run.describe import describe, missing_version
from airflow_provider_trigger.run.waited import Waited, WaitEnd
from airflow_provider_trigger.wording import MAY_RUN, capitalized, counted, enumeration

_MAX_MESSAGE_LENGTH = 1000


def why_failed(run: Run, *, run_url: str) -> str:
    """Return in one line how a run ended, why, and what to do."""
    count = run.attempt_count
    attempts = f" after {counted(count, 'attempt')}" if count else ""
    error, reason = run.error, error_of(run)
    text = f"{capitalized(describe(run))} ended with status {run.status}{attempts}"
    text += f": {reason}" if reason else ""
    if error is not None and error.code and (what_to_do := advice(error.code)):
        text = f"{text}. {what_to_do}"
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
    timeouts: Mapping[str, float | None] | None = None,
    is_development: bool = False,
) -> str:
    """
    Return in one line why a run did not complete, or is not known to, what became of it, and what to do.

    :param timeouts: the time limits by name, in seconds, None where there is none
    :param is_development: whether the secret key is one for development
    """
    run = waited.run
    what = describe(run) if run else f"run {run_id}"
    match waited.end:
        case WaitEnd.FINAL if run is not None:
            return why_failed(run, run_url=run_url)
        case WaitEnd.REJECTED:
            text = f"The server rejects the status checks of {what}, which {MAY_RUN}: {waited.error}"
            return f"{text}. {run_url}"
        case WaitEnd.UNCHECKABLE:
            text = f"{capitalized(what)} cannot be checked, and {MAY_RUN}: {waited.error}"
            return f"{text}. Look at it in the dashboard: {run_url}"
        case WaitEnd.NO_VERSION:
            missing = missing_version(run, is_development=is_development)
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


def why_batch_failed(reasons: Mapping[int, str], *, canceled: int, count: int) -> str:
    """
    Return which of the items of a batch did not complete, and why.

    :param reasons: by index
    :param canceled: how many others were, as another one had failed
    :param count: of all items
    """
    if not reasons:
        return (
            f"{canceled} of {count} runs were canceled, as another one had failed (cancel_others=True); that "
            "one has completed after all"
        )
    shown = enumeration((f"item {index}: {reason}" for index, reason in reasons.items()), "; ")
    text = f"{len(reasons)} of {count} runs did not complete: {shown}"
    others = f"{canceled} others were canceled, as one had failed (cancel_others=True)"
    return f"{text}. {others}" if canceled else text


def missing_outputs(reasons: Sequence[tuple[int, str, object, str]]) -> str:
    """Return which outputs could not be fetched: the index, run, error and page of each."""
    each = (
        f"item {index}: run {run_id} is COMPLETED, but its output cannot be fetched: {error}. {run_url}"
        for index, run_id, error, run_url in reasons
    )
    return f"{counted(len(reasons), 'output')} missing: {enumeration(each, '; ')}"
