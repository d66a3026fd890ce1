"""The blocking driver of waits: takes their steps in this thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.query import query_runs
from airflow_provider_trigger.api.runs import check_run, retrieve_run
from airflow_provider_trigger.cancel.cancellation import cancel_all
from airflow_provider_trigger.cancel.settings import settings_of
from airflow_provider_trigger.run.checks import CONCURRENCY, call_each, call_once
from airflow_provider_trigger.run.status_watch import StatusWatch
from airflow_provider_trigger.run.wait_log import LOG_INTERVAL
from airflow_provider_trigger.run.waited import Cancel, Check, News, Step, Steps, Waited

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

CHECK_INTERVAL = 0.2
"""How often a pause is interrupted to check whether the wait was stopped, in seconds."""

WATCHED_ALONE = 20
"""Up to so many runs, a check of each costs less than a query for all."""

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
        time.sleep(min(left, CHECK_INTERVAL))
    raise StoppedError


def drive(
    steps: Steps,
    client: TriggerDevClient,
    *,
    is_stopped: Callable[[], bool] = lambda: False,
    on_news: Callable[[News], object] = lambda news: None,
) -> dict[str, Waited]:
    """
    Wait in this thread; return what became of each run, by run id, or raise StoppedError.

    ``on_news`` gets what the wait gets of its runs.
    """
    watch, reply = BlockingWatch(client, is_stopped), None
    with closing(steps):
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            reply = watch.take(step)
            if is_stopped():
                raise StoppedError
            if isinstance(step, Check):
                on_news(reply)


class BlockingWatch:
    """Make the requests of a wait in this thread, with a :class:`.status_watch.StatusWatch`."""

    def __init__(self, client: TriggerDevClient, is_stopped: Callable[[], bool]) -> None:
        self._client = client
        self._is_stopped = is_stopped
        self._status: StatusWatch | None = None

    def take(self, step: Step) -> Any:
        """Take a step of a wait."""
        if isinstance(step, Cancel):
            return cancel_all(self._client, step.run_ids, settings_of(), is_stopped=self._is_stopped).results
        if isinstance(step, Call):
            # With a deadline, a call has its turn although the checks have opened the circuit breaker.
            deadline = Deadline.after(_TIME_FOR_OTHER_CALL, now=time.monotonic())
            return call_once(self._client, step, deadline=deadline, patience=0)
        if step.is_fresh:
            return call_each(self._client, _check_of(step), step.run_ids, patience=_PATIENCE)
        return self._check(step)

    def _check(self, step: Check) -> News:
        """Return what is new, at the latest when the step says, or in 5 minutes."""
        now = time.monotonic()
        if self._status is None:
            queries = len(step.run_ids) > WATCHED_ALONE
            self._status = StatusWatch(now=now, queries=queries)
        status = self._status
        status.follow(self, step.run_ids, poll_interval=step.poll_interval, now=now)
        until = now + min(max(0.0, step.until - time.time()), LOG_INTERVAL)
        while True:
            news = {**self._query(status), **self._check_due(status, step)}
            now = time.monotonic()
            if news or now >= until:
                return news
            due = status.next_at(may_query=True, may_check=True)
            pause(min(due, until) - now, is_stopped=self._is_stopped)
            if due >= until:
                return {}

    def _query(self, status: StatusWatch) -> News:
        sent_at = time.monotonic()
        run_ids = status.next_query(sent_at)
        if run_ids is None:
            return {}
        runs = call_once(self._client, query_runs(run_ids), patience=0)
        if isinstance(runs, TriggerDevError):
            status.query_failed(runs, now=time.monotonic())
            return {}
        return status.queried(run_ids, runs, sent_at=sent_at, now=time.monotonic())

    def _check_due(self, status: StatusWatch, step: Check) -> dict[str, Run | TriggerDevError]:
        now = time.monotonic()
        due: list[str] = []
        while len(due) < CONCURRENCY and (run_id := status.next_check(now)):
            due.append(run_id)
        news: dict[str, Run | TriggerDevError] = {}
        # No check is repeated that another one follows.
        for run_id, reply in call_each(self._client, _check_of(step), due, patience=0).items():
            news |= status.checked(run_id, reply, now=time.monotonic())
        return news


def _check_of(step: Check) -> Callable[[str], Call[Run]]:
    # Who waits for several fetches their outputs later; together they can be too large to be kept.
    return retrieve_run if len(step.run_ids) == 1 else check_run
