"""What a trigger hands to its task: plain JSON, without the run's output, which can be large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.errors import TriggerDevError, UnexpectedAnswerError
from airflow_provider_trigger.run.follow import Waited, WaitEnd

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient


def make_event(run_id: str, waited: Waited) -> dict[str, Any]:
    """
    Return ``{"run_id", "end", "status", "error", "is_canceled"}``.

    :param run_id: the run
    :param waited: what the wait came to
    """
    status = waited.run.status if waited.run else None
    return {
        "run_id": run_id,
        "end": waited.end.value,
        "status": status,
        "error": waited.error,
        "is_canceled": waited.is_canceled,
    }


def read_event(event: Any, client: TriggerDevClient) -> tuple[str, Waited]:
    """
    Return the run of an event, and what the wait came to; the run is checked once more.

    :param event: as :func:`make_event` returned it
    :param client: for the run's environment
    :raises TriggerDevError: it is not such an event, or a run that has ended could not be checked
    """
    ends = {end.value: end for end in WaitEnd}
    if not isinstance(event, dict) or not event.get("run_id") or event.get("end") not in ends:
        raise UnexpectedAnswerError(f"the trigger sent something that is not an event of a run: {event!r}")
    end, run = ends[event["end"]], None
    try:
        run = client.retrieve_run(event["run_id"])
    except TriggerDevError:
        if end is WaitEnd.FINAL:
            raise
    if run is not None and run.is_final and (end is WaitEnd.REJECTED or not run.is_canceled):
        return run.id, Waited(end=WaitEnd.FINAL, run=run)  # it ended after all: its result counts
    error, is_canceled = event.get("error") or "", bool(event.get("is_canceled"))
    return event["run_id"], Waited(end=end, run=run, error=error, is_canceled=is_canceled)
