"""
Cancel many runs at once: one result a run, and no run's failure stops another.

A check decides the outcome, never the cancel's 200, which says nothing (measured). A bulk action cancels 500
runs with one request, but misses runs triggered a moment ago, drops unknown ids and does not say which
(measured): so each run is checked, and gets its own cancel at once if it is not shown as ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.errors import AuthenticationError
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.cancel.outcome import ActionFor, CancelOutcome, CancelResult, End, no_action
from airflow_provider_trigger.cancel.schedule import Schedule
from airflow_provider_trigger.cancel.search import Search
from airflow_provider_trigger.cancel.settings import CancelSettings
from airflow_provider_trigger.cancel.workers import Threads, Workers

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient


class Cancellation:
    """
    Cancel many runs; :attr:`results` can be read at any time, also when it was cut short.

    ``is_stopped`` is called several times a second; ``action_for`` says what to do about an error, for the
    results; ``threads`` exist already, None for its own.
    """

    def __init__(
        self,
        client: TriggerDevClient,
        run_ids: Iterable[str],
        settings: CancelSettings,
        *,
        is_stopped: Callable[[], bool] = lambda: False,
        action_for: ActionFor = no_action,
        threads: Threads | None = None,
    ) -> None:
        given = list(dict.fromkeys(run_ids))
        self.schedule = Schedule(client.exchange, settings)
        self.schedule.add(given)
        self.client = client
        self._max_concurrency = settings.max_concurrency
        self._workers = min(settings.max_concurrency, len(given))
        if settings.include_descendants and given:
            self._workers = settings.max_concurrency
        self._is_stopped = is_stopped
        self._threads = threads
        self._action_for = action_for
        self._results: list[CancelResult] | None = None

    @property
    def results(self) -> list[CancelResult]:
        """In the ids' order, and then of descendants; a run that was not reached is ``failed``."""
        return self.schedule.results(self._action_for) if self._results is None else self._results

    @property
    def search(self) -> Search | None:
        """The search of descendants, None if they are not canceled."""
        return self.schedule.search

    @property
    def finished(self) -> bool:
        """Whether it came to its end: not stopped, no time limit reached, no key rejected."""
        return self.schedule.end is End.FINISHED

    @property
    def stopped(self) -> bool:
        """Whether it was stopped from outside before its end."""
        return self.schedule.end is End.STOPPED

    def run(self, further: Iterable[Iterable[str]] | None = None) -> list[CancelResult]:
        """
        Cancel the runs, and ``further`` ones, whose ids are read while the others are being canceled.

        :raises AuthenticationError: the key was rejected twice, which ends the work
        """
        count = self._workers
        if further is not None:
            self.schedule.awaits_more, count = True, self._max_concurrency
        try:
            crew = Workers(self.schedule, self.client.send, is_stopped=self._is_stopped)
            crew.run(count, further or (), self._threads)
        finally:
            self._results = self.schedule.results(self._action_for)
        if self.schedule.rejection:
            raise self.schedule.rejection
        return self.results


@dataclass(kw_only=True, slots=True)
class Canceled:
    """What came of a cancel."""

    results: dict[str, CancelResult] = field(default_factory=dict)
    """Of each run, by its id."""
    accepted: set[str] = field(default_factory=set)
    """The runs of which a cancel of their own was accepted."""
    bulk_ids: list[str] = field(default_factory=list)


def cancel_all(
    client: TriggerDevClient,
    run_ids: Iterable[str],
    settings: CancelSettings,
    *,
    is_stopped: Callable[[], bool] = lambda: False,
    action_for: ActionFor = no_action,
    threads: Threads | None = None,
) -> Canceled:
    """
    Cancel runs, and with a key that was changed meanwhile what is left.

    A key that stays rejected is no error: the results say so, and what to do about it.
    """
    canceled, left = Canceled(), list(run_ids)
    deadline = Deadline.after(settings.time_limit, now=client.exchange.monotonic())
    while True:
        version, advice = client.key_version, None
        work = Cancellation(
            client, left, settings, is_stopped=is_stopped, action_for=action_for, threads=threads
        )
        try:
            work.run()
        except AuthenticationError as error:
            advice = action_for(error)
        for result in work.results:
            is_advised = advice is not None and result.error is not None and result.action is None
            canceled.results[result.run_id] = replace(result, action=advice) if is_advised else result
        canceled.accepted |= work.schedule.accepted
        canceled.bulk_ids += work.schedule.bulk_ids
        left = [one for one in left if canceled.results[one].outcome is CancelOutcome.FAILED]
        if not work.schedule.rejection or not client.renew_key(version):
            return canceled
        settings = replace(settings, time_limit=deadline.remaining(client.exchange.monotonic()))
