"""Check many runs in this thread, most of them by one query."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.endpoints.query import query_runs
from airflow_provider_trigger.api.endpoints.runs import check_run
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.checks import CONCURRENCY, call_each
from airflow_provider_trigger.run.drive import pause
from airflow_provider_trigger.run.status_watch import StatusWatch
from airflow_provider_trigger.run.steps import Check, News
from airflow_provider_trigger.run.wait_log import LOG_INTERVAL

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

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
