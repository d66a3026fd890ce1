"""The blocking driver of waits: takes their steps in this thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.runs import check_run, retrieve_run
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.cancel.cancellation import cancel_all
from airflow_provider_trigger.cancel.settings import settings_of
from airflow_provider_trigger.run.checks import call_each, query_many
from airflow_provider_trigger.run.otherwise import Otherwise, check_otherwise
from airflow_provider_trigger.run.steps import Check, CheckOtherwise, News, Step, Steps
from airflow_provider_trigger.run.waited import Waited

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

# How often a pause is interrupted to check whether the wait was stopped, in seconds.
_CHECK_INTERVAL = 0.2
# How long a check is repeated that no later one follows, in seconds.
_PATIENCE = 10.0
# For a call that checks a run otherwise, in seconds: its turn, and the answer.
_TIME_FOR_OTHER_CALL = 10.0


class StoppedError(Exception):
    """A wait was stopped from outside."""


class Stoppable(Protocol):
    """What works for a task that may be stopped."""

    is_stopped: bool

    def sleep(self, seconds: float) -> None:
        """Wait; a ``StoppedError`` ends the work of a task that was stopped."""


def pause(seconds: float, *, is_stopped: Callable[[], bool]) -> None:
    """Wait so many seconds, or raise StoppedError; ``is_stopped`` is called several times a second."""
    until = time.monotonic() + seconds
    while not is_stopped():
        if (left := until - time.monotonic()) <= 0:
            return
        time.sleep(min(left, _CHECK_INTERVAL))
    raise StoppedError


def drive(
    steps: Steps,
    client: TriggerDevClient,
    *,
    is_stopped: Callable[[], bool] = lambda: False,
    check: Callable[[Check], News] | None = None,
    on_news: Callable[[News], object] = lambda news: None,
) -> dict[str, Waited]:
    """
    Wait in this thread; return what became of each run, by run id, or raise StoppedError.

    No check is repeated that another one follows: the wait itself continues with it. ``check`` takes the
    steps that check runs when they are due; None for a check of each by itself. ``on_news`` gets what the
    wait gets of its runs.
    """
    reply: Any = None
    with closing(steps):
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if check and isinstance(step, Check) and not step.is_fresh:
                reply = check(step)
            else:
                reply = _take(step, client, is_stopped)
            if is_stopped():
                raise StoppedError
            if isinstance(step, Check):
                on_news(reply)


def _take(step: Step, client: TriggerDevClient, is_stopped: Callable[[], bool]) -> Any:
    if isinstance(step, Check):
        pause(min(step.at, step.until) - time.time(), is_stopped=is_stopped)
        # Who waits for several fetches their outputs later; together they can be too large to be kept.
        check = retrieve_run if len(step.run_ids) == 1 else check_run
        ended = {one: run for one, run in (query_many(client, step.run_ids) or {}).items() if run.is_final}
        left = [one for one in step.run_ids if one not in ended]
        patience = _PATIENCE if step.is_fresh else 0.0
        return ended | call_each(client, check, left, patience=patience)
    if isinstance(step, CheckOtherwise):
        return _check_otherwise(step.run_id, client)
    return cancel_all(client, step.run_ids, settings_of(), is_stopped=is_stopped).results


def _check_otherwise(run_id: str, client: TriggerDevClient) -> Otherwise:
    calls, reply = check_otherwise(run_id), None
    while True:
        try:
            call = calls.send(reply)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        # With a deadline, a call has its turn although the checks have opened the circuit breaker.
        deadline = Deadline.after(_TIME_FOR_OTHER_CALL, now=time.monotonic())
        try:
            reply = client.call(call, deadline=deadline, patience=0)
        except TriggerDevError as error:
            reply = error
