"""Make a call for each of several runs, and read the errors of checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models import TERMINATES_WITHIN, Run
from airflow_provider_trigger.api.runs import can_be_queried, check_run, parts_of, query_runs
from airflow_provider_trigger.defaults import POLL_INTERVAL
from airflow_provider_trigger.log import Log, counted, enumeration
from airflow_provider_trigger.threads import in_threads

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

T = TypeVar("T")

CONCURRENCY = 16
QUERY_ABOVE = 100
"""Above this number of runs, queries take the place of single checks."""

QUERY_LAG = 3.0
"""The state that a query shows is this old at most, in seconds, with a margin."""

UNKNOWN_AFTER = 30.0
"""How long the server may answer without the run, in seconds: a replica lags behind (measured)."""


def call_each(
    client: TriggerDevClient, make_call: Callable[[str], Call[T]], run_ids: Sequence[str]
) -> dict[str, T | errors.TriggerDevError]:
    """Make a call for each run, several at a time; return by run id its result, or its error."""
    return dict(in_threads(lambda run_id: reply_of(client.call, make_call(run_id)), run_ids, CONCURRENCY))


def reply_of(make: Callable[..., T], call: Call[T], **how: Any) -> T | errors.TriggerDevError:
    """Make a call; return its result, or its error."""
    try:
        return make(call, **how)
    except errors.TriggerDevError as error:
        return error.with_traceback(None)


def call_all(client: TriggerDevClient, make_call: Callable[[str], Call[Any]], run_ids: Sequence[str]) -> None:
    """Make a call for each run; raise the first error once all are made."""
    for reply in call_each(client, make_call, run_ids).values():
        if isinstance(reply, errors.TriggerDevError):
            raise reply


def check_visible(client: TriggerDevClient, run_ids: Sequence[str]) -> dict[str, Run]:
    """Check runs once, without output; a run is missing if a replica lags, or its output is broken."""
    found: dict[str, Run] = {}
    for run_id, reply in call_each(client, check_run, run_ids).items():
        if isinstance(reply, Run):
            found[run_id] = reply
        elif not isinstance(reply, errors.NotFoundError) and not errors.is_internal_error(
            errors.root_of(reply)
        ):
            raise reply
    return found


def wait_until_terminated(
    client: TriggerDevClient, runs: Mapping[str, Run], *, log: Log, sleep: Callable[[float], None]
) -> dict[str, Run]:
    """Wait until the workers of canceled runs, as just checked, have stopped; return them as last seen."""
    seen, waited = dict(runs), 0.0
    # The limit is for a server whose answers, perhaps through a proxy, have no date.
    while (
        left := [run_id for run_id in seen if not seen[run_id].is_terminated]
    ) and waited < TERMINATES_WITHIN:
        if not waited:
            what = counted(len(left), "canceled run")
            log.info("Waiting until the workers of %s have stopped: %s", what, enumeration(left))
        sleep(POLL_INTERVAL)
        waited += POLL_INTERVAL
        seen |= check_visible(client, left)
    return seen


def query_many(client: TriggerDevClient, run_ids: Sequence[str]) -> dict[str, Run] | None:
    """Return the runs that queries show; None for few runs, or if a query fails, as on an older server."""
    if len(run_ids) <= QUERY_ABOVE or not all(map(can_be_queried, run_ids)):
        return None
    try:
        return {run.id: run for run in query_all(client.call, run_ids)}
    except errors.TriggerDevError:
        return None


def query_all(make: Callable[..., Any], run_ids: Sequence[str], *, only_ended: bool = False) -> list[Run]:
    """Return the runs that queries show; a failed query is not repeated."""
    calls = (query_runs(part, only_ended=only_ended) for part in parts_of(run_ids))
    return [run for call in calls for run in make(call, patience=0)]


def is_answer(error: errors.TriggerDevError) -> bool:
    """Return whether the server has answered a check, but not with the run; a 429 is not an answer."""
    return not isinstance(error, (errors.TransportError, errors.NotSentError, errors.RateLimitError))
