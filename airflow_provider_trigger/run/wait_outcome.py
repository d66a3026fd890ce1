"""The outcome of the wait for a run, the event that hands it to a resumed task, and a last check."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.runs import check_run, ended_run, retrieve_run
from airflow_provider_trigger.log import MAX_NAMED
from airflow_provider_trigger.run.checks import call_each, query_many

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient


class WaitEnd(StrEnum):
    """
    Why a wait for a run ended.

    - ``final``: the run has ended, in whatever status
    - ``timed_out``: it had not ended at the deadline
    - ``no_version``: no deployed version has its task
    - ``rejected``: no check shows it any more: the key was rejected, the run is unknown, or the server works
      and each check of the run fails
    - ``not_needed``: it was canceled, as another run had ended in a way that is not a success
    - ``no_connection``: the triggerer could not get the connection, or its fields are invalid there
    """

    FINAL = "final"
    TIMED_OUT = "timed_out"
    NO_VERSION = "no_version"
    REJECTED = "rejected"
    NOT_NEEDED = "not_needed"
    NO_CONNECTION = "no_connection"


# If the wait ended like this, it has canceled nothing.
_UNSEEN = (WaitEnd.REJECTED, WaitEnd.NO_CONNECTION)


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitOutcome:
    """The outcome of the wait for one run."""

    end: WaitEnd
    run: Run | None
    """The run as a check has shown it last, None if none has."""
    error: str = ""
    """Why no check shows the run, why its cancel failed, or why ``run`` has nothing but a status."""
    is_canceled: bool = False  # by the wait
    progress: str = ""
    """What the log of the wait has shown last of the metadata."""


# Airflow stores an event, MySQL in 64 KB: above this number of runs it is compressed. The errors after the
# first few are cut to this length.
_PACKED_ABOVE, _MAX_ERROR_LENGTH = 100, 80


def make_event(ended: Mapping[str, WaitOutcome], *, try_number: int | None = None) -> dict[str, Any]:
    """Return ``{"runs": [{"run_id", "end", "status", "error", "is_canceled"}], "try_number"}``."""
    whole = [run_id for run_id, outcome in ended.items() if outcome.error][:MAX_NAMED]
    runs = [
        {
            "run_id": run_id,
            "end": outcome.end.value,
            "status": outcome.run.status if outcome.run else None,
            "error": outcome.error if run_id in whole else outcome.error[:_MAX_ERROR_LENGTH],
            "is_canceled": outcome.is_canceled,
            # The end of a single run is logged by the resumed task.
            **({"progress": outcome.progress} if outcome.progress and len(ended) == 1 else {}),
        }
        for run_id, outcome in ended.items()
    ]
    if len(runs) <= _PACKED_ABOVE:
        return {"runs": runs, "try_number": try_number}
    packed = base64.b64encode(zlib.compress(json.dumps(runs).encode(), 9)).decode()
    return {"runs": packed, "try_number": try_number}


def is_of_another_try(event: Any, try_number: int | None) -> bool:
    """
    Return whether another try of the task waited for this event; false where that is not known.

    Airflow 3.0 resumes the retry of a deferred task with the event of the try before (apache/airflow#56704).
    """
    waited_in = event.get("try_number") if isinstance(event, dict) else None
    return None not in (waited_in, try_number) and waited_in != try_number


def read_event(event: Any) -> dict[str, WaitOutcome]:
    """Return the outcomes in an event, by run id; ValueError if it is not such an event."""
    try:
        runs = event["runs"]
        if isinstance(runs, str):
            runs = json.loads(zlib.decompress(base64.b64decode(runs)))
        ended = {
            run["run_id"]: WaitOutcome(
                end=WaitEnd(run["end"]),
                run=_run_of(run),
                error=run.get("error") or "",
                is_canceled=bool(run.get("is_canceled")),
                progress=run.get("progress") or "",
            )
            for run in runs
        }
    except (AttributeError, KeyError, TypeError, ValueError, zlib.error):
        ended = {}
    if not ended:
        raise ValueError(invalid_event(event))
    return ended


def _run_of(shown: Mapping[str, Any]) -> Run | None:
    status = shown.get("status")
    return Run.from_answer({"id": shown["run_id"], "status": status}) if isinstance(status, str) else None


def _after_check(outcome: WaitOutcome, reply: Run | TriggerDevError) -> WaitOutcome:
    if isinstance(reply, TriggerDevError):
        if outcome.end is not WaitEnd.FINAL:
            return outcome
        if outcome.run is None or not outcome.run.is_final:
            raise reply
        return replace(outcome, error=str(reply))  # its status is known, and decides about retries
    if reply.is_final and (outcome.end in _UNSEEN or not reply.is_canceled):
        # It ended after all: its result counts.
        return replace(outcome, end=WaitEnd.FINAL, run=reply, error="", is_canceled=False)
    # It is canceled, even if its cancel request failed.
    return replace(outcome, run=reply, error="" if reply.is_canceled else outcome.error)


def check_failed(outcomes: Mapping[str, WaitOutcome], client: TriggerDevClient) -> dict[str, WaitOutcome]:
    """Check again the runs that did not complete, for their errors; a run that has ended must be shown."""
    runs = {run_id: outcome.run for run_id, outcome in outcomes.items()}
    failed = [run_id for run_id, run in runs.items() if not (run and (run.is_success or run.has_contents))]
    # A run that the wait has canceled has no error.
    shown = query_many(client, [run_id for run_id in failed if outcomes[run_id].is_canceled]) or {}
    known = {run_id: _after_check(outcomes[run_id], run) for run_id, run in shown.items() if run.is_canceled}
    left = {run_id: outcomes[run_id] for run_id in failed if run_id not in known}
    return {**outcomes, **known, **check_again(left, client, with_output=len(outcomes) == 1)}


def check_again(
    outcomes: Mapping[str, WaitOutcome], client: TriggerDevClient, *, with_output: bool = True
) -> dict[str, WaitOutcome]:
    """
    Check runs again after their wait.

    A 500 is no error, as a run whose output is broken is always answered with it (measured).
    """
    check = retrieve_run if with_output else check_run
    replies = call_each(client, lambda run_id: _recheck(outcomes[run_id], check(run_id)), list(outcomes))
    return {run_id: _after_check(outcomes[run_id], reply) for run_id, reply in replies.items()}


def _recheck(outcome: WaitOutcome, call: Call[Run]) -> Call[Run]:
    return ended_run(call) if outcome.end is WaitEnd.FINAL else call


def invalid_event(event: object) -> str:
    """Return the error text for an event that is not one of this provider's triggers."""
    return (
        "the trigger's event is not valid; do all workers and triggerers have the same version of this "
        f"provider? {event!r}"
    )
