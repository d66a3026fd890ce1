"""Fetch the logs of runs that have ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.events import list_events
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.models.events import RunEvent
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.drive import StoppedError, pause

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

TIME_LIMIT = 5.0
"""For all that is fetched for a task, in seconds."""

# Before the second request for a log that is not complete yet, in seconds.
_PAUSE = 1.0


def fetch_logs(
    run_ids: Sequence[str], client: TriggerDevClient, *, log: Log, is_stopped: Callable[[], bool]
) -> dict[str, list[RunEvent]]:
    """
    Return the logs by run id, with up to two requests each; what goes wrong ends it, and is one line.

    Nothing is returned once the task is stopped. ``client`` is not used for anything else.
    """
    found: dict[str, list[RunEvent]] = {}
    client.may_fetch_key = False
    sleep = partial(pause, is_stopped=is_stopped)
    deadline = Deadline.after(TIME_LIMIT, now=client.exchange.monotonic())
    call = partial(client.call, deadline=deadline, patience=0, sleep=sleep)
    try:
        for is_second in (False, True):
            late = [one for one in run_ids if _is_late(found.get(one, []))]
            if late and is_second:
                if deadline.remaining(client.exchange.monotonic()) <= _PAUSE:
                    break
                sleep(_PAUSE)
            for run_id in late:
                client.exchange.key_is_rejected = True  # so that a 401 is not confirmed by another request
                found[run_id] = call(list_events(run_id)) or found.get(run_id, [])
    except StoppedError:
        return {}
    except Exception as error:
        # Any error: what became of the runs decides about the task.
        reason = error if isinstance(error, TriggerDevError) else type(error).__name__
        log.debug("The logs of runs could not be fetched: %s", reason)
    return found


def _is_late(events: Sequence[RunEvent]) -> bool:
    """Return whether there may be more to come."""
    return not events or any(event.is_root and event.is_partial for event in events)
