"""The blocking driver of waits: takes their steps in this thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.query import query_runs
from airflow_provider_trigger.api.endpoints.runs import check_run, retrieve_run
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.cancel.cancellation import cancel_all
from airflow_provider_trigger.cancel.settings import settings_of
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.checks import CONCURRENCY, Otherwise, call_each, check_otherwise, query_many
from airflow_provider_trigger.run.status_watch import StatusWatch
from airflow_provider_trigger.run.steps import Check, CheckOtherwise, News, Step, Steps
from airflow_provider_trigger.run.wait_log import LOG_INTERVAL
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


WATCH_FROM = 21
"""From so many runs on, a query for all costs less than a check of each."""


class BlockingWatch:
    """Make the requests that a :class:`.status_watch.StatusWatch` names, in this thread."""

    def __init__(
        self, client: TriggerDevClient, *, name: str, log: Log, is_stopped: Callable[[], bool]
    ) -> None:
        self._client = client
        self._is_stopped = is_stopped
        self._status = StatusWatch(name, log, now=time.monotonic())
        self._followed: dict[str, float | None] = {}

    def check(self, step: Check) -> News:
        """Take a step of a wait: return what is new, at the latest when the step says, or in 5 minutes."""
        self._follow(step)
        until = time.monotonic() + min(max(0.0, step.until - time.time()), LOG_INTERVAL)
        while True:
            news = {**self._query(), **self._check_due()}
            now = time.monotonic()
            if news or now >= until:
                return news
            due = self._status.next_at(may_query=True, may_check=True)
            pause(min(due, until) - now, is_stopped=self._is_stopped)

    def _follow(self, step: Check) -> None:
        """Watch the runs of a step, and no other ones."""
        wanted = set(step.run_ids)
        for run_id in [one for one in self._followed if one not in wanted]:
            self._status.remove(run_id, poll_interval=self._followed.pop(run_id))
        for run_id in step.run_ids:
            if run_id not in self._followed:
                self._followed[run_id] = step.poll_interval
                self._status.add(run_id, poll_interval=step.poll_interval, now=time.monotonic())

    def _query(self) -> News:
        sent_at = time.monotonic()
        run_ids = self._status.next_query(sent_at)
        if run_ids is None:
            return {}
        try:
            runs = self._client.call(query_runs(run_ids), patience=0)
        except TriggerDevError as error:
            self._status.query_failed(error, now=time.monotonic())
            return {}
        limit = self._client.exchange.bucket_size
        return self._status.queried(run_ids, runs, sent_at=sent_at, now=time.monotonic(), limit=limit)

    def _check_due(self) -> dict[str, Run | TriggerDevError]:
        now = time.monotonic()
        due: list[str] = []
        while len(due) < CONCURRENCY and (run_id := self._status.next_check(now)):
            due.append(run_id)
        news: dict[str, Run | TriggerDevError] = {}
        for run_id, reply in call_each(self._client, check_run, due, patience=0).items():
            news |= self._status.checked(run_id, reply, now=time.monotonic())
        return news
