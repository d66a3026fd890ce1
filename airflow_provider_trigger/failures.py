"""The errors with which a task fails after its runs have ended, or a wait for them."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_trigger import _compat, exceptions
from airflow_provider_trigger.log import MAX_NAMED, MAY_RUN, Log, enumeration, write
from airflow_provider_trigger.report.ends import ItemEnd, stack_trace
from airflow_provider_trigger.run.facts import failure_facts

# By whether a time limit has ended the wait, and whether the task is retried.
_KINDS = {
    (False, True): exceptions.TriggerRunFailedError,
    (False, False): exceptions.TriggerRunNotRetriedError,
    (True, True): exceptions.TriggerRunTimeoutError,
    (True, False): exceptions.TriggerRunTimeoutNotRetriedError,
}


def failure_of(end: ItemEnd, *, log: Log) -> _compat.AirflowException:
    """Return the error to raise for a run; its class says whether the task is retried."""
    write(log, stack_trace(end.outcome.run))
    if not (end.ended_run or end.limit):
        return _compat.task_failure(end.reason, is_retried=end.is_retried)
    facts = failure_facts(end.outcome.run, run_id=end.run_id, run_url=end.run_url)
    if end.limit:
        facts["limit"] = end.limit
    return _KINDS[bool(end.limit), end.is_retried](end.reason, **facts)


def failure_of_batch(
    ends: Sequence[ItemEnd], *, log: Log, tag: str | None = None
) -> _compat.AirflowException | None:
    """Return the error to raise, None if all completed; its class says whether the task is retried."""
    failed = [end for end in ends if end.has_failed]
    canceled = sum(end.was_not_needed for end in ends)
    if not failed and not canceled:
        return None
    for end in failed[:MAX_NAMED]:
        write(log, stack_trace(end.outcome.run))
    reasons = enumeration((f"item {end.index}: {end.reason}" for end in failed), "; ")
    text = f"{len(failed)} of {len(ends)} items failed: {reasons or 'the failed run has completed after all'}"
    if tag and any(end.outcome.run is None or not end.outcome.run.is_final for end in failed):
        text += f". Look for runs that {MAY_RUN} by the tag {tag}"
    if canceled:
        text += f". Canceled because of a failed run (cancel_others=True): {canceled}"
    is_retried = not failed or any(end.is_retried for end in failed)
    if failed and not any(end.ended_run or end.limit for end in failed):
        return _compat.task_failure(text, is_retried=is_retried)
    kind = exceptions.TriggerBatchFailedError if is_retried else exceptions.TriggerBatchNotRetriedError
    return kind(text, results=[end.to_dict() for end in ends])
