"""The event that a trigger sends to its task: plain JSON, without the run's output, which can be large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.endpoints.runs import retrieve_run
from airflow_provider_trigger.api.errors import TriggerDevError, UnexpectedAnswerError
from airflow_provider_trigger.run.wait import Waited, WaitEnd

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient


def make_event(run_id: str, waited: Waited, *, try_number: int | None = None) -> dict[str, Any]:
    """
    Return ``{"run_id", "end", "status", "error", "is_canceled", "try_number"}``.

    :param run_id: the run
    :param waited: what the wait came to
    :param try_number: the try of the task that waited, if it is known
    """
    status = waited.run.status if waited.run else None
    return {
        "run_id": run_id,
        "end": waited.end.value,
        "status": status,
        "error": waited.error,
        "is_canceled": waited.is_canceled,
        "try_number": try_number,
    }


def is_of_another_try(event: Any, try_number: int | None) -> bool:
    """
    Return whether another try of the task waited for this event.

    Airflow 3.0 resumes the retry of a deferred task with the event of the try before (apache/airflow#56704).

    :param event: as :func:`make_event` returned it
    :param try_number: of the try that got the event, if it is known
    """
    waited_in = event.get("try_number") if isinstance(event, dict) else None
    return None not in (waited_in, try_number) and waited_in != try_number


def read_event(event: Any, client: TriggerDevClient) -> tuple[str, Waited]:
    """
    Return the run of an event, and what the wait came to; the run is checked once more.

    :param event: as :func:`make_event` returned it
    :param client: for the run's environment
    :raises TriggerDevError: it is not such an event, or a run that has ended could not be checked
    """
    ends = {end.value: end for end in WaitEnd}
    if not isinstance(event, dict) or not event.get("run_id") or event.get("end") not in ends:
        raise UnexpectedAnswerError(
            "the trigger's event is not valid; do all workers and triggerers have the same version of this "
            f"provider? {event!r}"
        )
    end, run = ends[event["end"]], None
    try:
        run = client.call(retrieve_run(event["run_id"]))
    except TriggerDevError:
        if end is WaitEnd.FINAL:
            raise
    if run is not None and run.is_final and (end is WaitEnd.REJECTED or not run.is_canceled):
        return run.id, Waited(end=WaitEnd.FINAL, run=run)  # it ended after all: its result counts
    error, is_canceled = event.get("error") or "", bool(event.get("is_canceled"))
    return event["run_id"], Waited(end=end, run=run, error=error, is_canceled=is_canceled)
