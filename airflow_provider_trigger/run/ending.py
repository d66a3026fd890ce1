"""What the end of a run means for the one who waited for it. Pure, but for a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_trigger.api.models.run_errors import advice
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.run.describe import describe, missing_version
from airflow_provider_trigger.run.waited import Waited, WaitEnd
from airflow_provider_trigger.wording import counted

if TYPE_CHECKING:
    from airflow_provider_trigger.log import Log

_MAX_MESSAGE_LENGTH = 1000


def why_failed(run: Run, *, run_url: str) -> str:
    """
    Return in one line how a run ended, why, and what to do.

    :param run: one that has ended
    :param run_url: its page in the dashboard
    """
    count = run.attempt_count
    attempts = f" after {counted(count, 'attempt')}" if count else ""
    error, reason = run.error, error_of(run)
    text = f"{describe(run)} ended with status {run.status}{attempts}"
    text = text[0].upper() + text[1:] + (f": {reason}" if reason else "")
    if error is not None and error.code and (what_to_do := advice(error.code)):
        text = f"{text}. {what_to_do}"
    return f"{text.rstrip('.')}. {run_url}"


def error_of(run: Run) -> str:
    """
    Return in one line the error with which a run has failed, empty where the server shows none.

    :param run: one that has ended
    """
    error = run.error
    if error is None:
        return ""
    name = f"{error.name}: " if error.name and error.message else error.name or ""
    return " ".join(f"{name}{error.message}".split())[:_MAX_MESSAGE_LENGTH]


def log_stack_trace(run: Run, log: Log) -> None:
    """
    Log where a run has failed, if the server shows it.

    :param run: one that has ended
    :param log: where to write it
    """
    if run.error and run.error.stack_trace:
        log.error("Stack trace of run %s:\n%s", run.id, run.error.stack_trace)


def why_not_ended(
    waited: Waited, run_id: str, *, limit: str, run_url: str, is_development: bool = False
) -> str:
    """
    Return in one line why a wait ended before the run did, and what became of the run.

    :param waited: what the wait came to
    :param run_id: the run
    :param limit: which time limit it was, for ``timed_out``, such as ``timeout=60 s``
    :param run_url: the run's page in the dashboard
    :param is_development: whether the secret key is one for development
    """
    run = waited.run
    what = describe(run) if run else f"run {run_id}"
    if waited.end.is_unseen:
        return why_unseen(waited, run_id, run_url=run_url)
    if waited.end is WaitEnd.NO_VERSION:
        missing = missing_version(run, is_development=is_development)
        why = f"was still waiting for a version after pending_version_timeout: {missing}"
    elif waited.end is WaitEnd.NOT_NEEDED:
        why = "was not needed any more, as another run had failed"
    else:
        why = f"did not end within its time limit ({limit})"
    if waited.error:
        became = f"It may still be running: {waited.error}"
    elif waited.is_canceled or (run and run.is_canceled):
        became = "It was canceled"
    else:
        became = f"It was not canceled, and is {run.status}" if run else "It was not canceled"
    return f"{what[0].upper()}{what[1:]} {why}. {became}. {run_url}"


def why_no_output(waited: Waited, *, run_url: str) -> str | None:
    """
    Return in one line why the output of a run is not known that has completed; None where it is known.

    :param waited: what the wait came to
    :param run_url: the run's page in the dashboard
    """
    if waited.run is None or not waited.run.is_success or not waited.error:
        return None
    what = describe(waited.run)
    return (
        f"{what[0].upper()}{what[1:]} is {waited.run.status}, but its output cannot be fetched: "
        f"{waited.error}. A retry tries again, and starts another run only if this one has no idempotency "
        f"key. {run_url}"
    )


def why_unseen(waited: Waited, run_id: str, *, run_url: str) -> str:
    """
    Return in one line why a wait ended that could not see what became of its run.

    :param waited: what the wait came to
    :param run_id: the run
    :param run_url: the run's page in the dashboard
    """
    what = describe(waited.run) if waited.run else f"run {run_id}"
    if waited.end is WaitEnd.REJECTED:
        text = f"The server rejects the status checks of {what}, which may still be running"
        return f"{text}: {waited.error}. {run_url}"
    text = f"{what[0].upper()}{what[1:]} cannot be checked, and may still be running: {waited.error}"
    return f"{text}. Look at it in the dashboard: {run_url}"
