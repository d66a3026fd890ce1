"""What the ends of a batch's runs mean for its task: the outputs to return, or the error to raise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.operators.conclusion import may_be_retried, reason_of
from airflow_provider_trigger.run.ending import error_of, log_stack_trace
from airflow_provider_trigger.run.waited import Waited, WaitEnd
from airflow_provider_trigger.wording import MAX_NAMED, counted, enumeration

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Settings
    from airflow_provider_trigger.log import Log
    from airflow_provider_trigger.run.batch.outputs import Outputs

# Of an error in XCom, in characters: there may be 1,000 of them.
_MAX_ERROR_LENGTH = 500
_NOT_COUNTED = "The task does not fail for it (fail_on=%r): %s"


@dataclass(frozen=True, kw_only=True, slots=True)
class ItemEnd:
    """
    What became of the run of one item.

    :param index: of the item
    :param waited: what the wait for it came to
    :param reason: why it did not complete, and what to do; empty if it did
    :param error: the same without the run, for XCom
    :param is_retried: whether a retry of the task may do better
    """

    index: int
    run_id: str
    waited: Waited
    reason: str = ""
    error: str = ""
    is_retried: bool = False

    @property
    def was_not_needed(self) -> bool:
        """Whether it was canceled because another one had failed."""
        run = self.waited.run
        return self.waited.end is WaitEnd.NOT_NEEDED and run is not None and run.is_canceled

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        status = str(self.waited.run.status) if self.waited.run else None
        error = self.error[:_MAX_ERROR_LENGTH] or None
        return {"run_id": self.run_id, "status": status, "error": error}


def ends_of(
    run_ids: Sequence[str],
    ended: Mapping[str, Waited],
    *,
    connection: Settings,
    timeouts: Mapping[str, float | None],
    retry_statuses: Sequence[str],
) -> list[ItemEnd]:
    """
    Return what became of the run of each item.

    :param timeouts: the time limits by name, in seconds, None where there is none
    :param retry_statuses: the final statuses after which the task is retried
    """
    ends = []
    for index, run_id in enumerate(run_ids):
        waited = ended[run_id]
        run = waited.run
        if run is not None and run.is_success:
            ends.append(ItemEnd(index=index, run_id=run_id, waited=waited))
            continue
        reason = error = reason_of(waited, run_id, connection=connection, timeouts=timeouts)
        if run is not None and waited.end is WaitEnd.FINAL:
            error = error_of(run) or f"ended with status {run.status}"
        is_retried = may_be_retried(waited, retry_statuses=retry_statuses)
        made = ItemEnd(index=index, run_id=run_id, waited=waited)
        ends.append(replace(made, reason=reason, error=error, is_retried=is_retried))
    return ends


def failure_of(ends: Sequence[ItemEnd], *, fail_on: str, log: Log) -> AirflowException | None:
    """
    Return the error to raise, None if the task succeeds; its class says whether the task is retried.

    :param fail_on: ``any``, ``all`` or ``never``
    """
    failed = [end for end in ends if end.reason and not end.was_not_needed]
    canceled = sum(end.was_not_needed for end in ends)
    if not failed and not canceled:
        return None
    for end in failed[:MAX_NAMED]:
        if end.waited.run is not None:
            log_stack_trace(end.waited.run, log)
    text = _describe(failed, canceled=canceled, count=len(ends))
    has_completed = len(failed) + canceled < len(ends)
    if fail_on == "never" or (fail_on == "all" and has_completed):
        log.warning(_NOT_COUNTED, fail_on, text)
        return None
    is_retried = not failed or any(end.is_retried for end in failed)
    return (AirflowException if is_retried else AirflowFailException)(text)


def _describe(failed: Sequence[ItemEnd], *, canceled: int, count: int) -> str:
    if not failed:
        return (
            f"{canceled} of {count} runs were canceled, as another one had failed (cancel_others=True); that "
            "one has completed after all"
        )
    shown = enumeration((f"item {end.index}: {end.reason}" for end in failed), "; ")
    text = f"{len(failed)} of {count} runs did not complete: {shown}"
    others = f"{canceled} others were canceled, as one had failed (cancel_others=True)"
    return f"{text}. {others}" if canceled else text


def check_fetched(
    ends: Sequence[ItemEnd], outputs: Outputs, *, connection: Settings, fail_on: str, log: Log
) -> None:
    """
    Fail, or warn, if outputs could not be fetched.

    :param outputs: what could be fetched
    :raises AirflowException: a retry tries again, and starts no run that has completed
    """
    unfetched = [
        f"item {end.index}: run {end.run_id} is COMPLETED, but its output cannot be fetched: "
        f"{outputs.errors[end.run_id]}. {connection.run_url(end.run_id)}"
        for end in ends
        if end.run_id in outputs.errors
    ]
    if not unfetched:
        return
    text = f"{counted(len(unfetched), 'output')} missing: {enumeration(unfetched, '; ')}"
    if fail_on == "any" or not (outputs.sizes or outputs.missing):
        raise AirflowException(text)
    log.warning(_NOT_COUNTED, fail_on, text)
