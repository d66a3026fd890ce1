"""
Cancel many runs at once: one result a run, and no run's failure stops another.

A check decides the outcome, never the cancel's 200, which says nothing (measured).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_trigger.api.errors import AuthenticationError
from airflow_provider_trigger.cancel.outcome import ActionFor, CancelResult, End, no_action, result_of
from airflow_provider_trigger.cancel.rounds import Rounds
from airflow_provider_trigger.cancel.settings import CancelSettings
from airflow_provider_trigger.cancel.workers import Threads
from airflow_provider_trigger.wording import enumeration

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient


class Cancellation:
    """
    Cancel many runs; :attr:`results` can be read at any time, also when it was cut short.

    ``is_stopped`` is called several times a second, in the thread that calls :meth:`run`; ``action_for`` says
    what to do about an error, for the results; ``threads`` exist already, None for its own.
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
        self.client = client
        self._settings = settings
        self._rounds = Rounds(client, run_ids, settings, is_stopped=is_stopped, threads=threads)
        self._action_for = action_for
        self._results: list[CancelResult] | None = None

    @property
    def results(self) -> list[CancelResult]:
        """In the ids' order, and then of descendants; a run that was not reached is ``failed``."""
        if self._results is not None:
            return self._results
        breaker, end = self.client.exchange.breaker, self._rounds.end or End.STOPPED
        last_error = breaker.last_error if breaker.is_open else None
        records = [record for record in self._rounds.records.values() if not record.had_ended]
        records.sort(key=lambda record: record.parent_run_id is not None)
        return [result_of(record, end, last_error, action_for=self._action_for) for record in records]

    @property
    def unsearched(self) -> list[str]:
        """Why descendants may be missing that were to be canceled, too."""
        if not self._settings.include_descendants:
            return []
        reasons = [] if self.finished else ["the search was not finished"]
        failed = ((one.run_id, one.check_error) for one in self._rounds.records.values())
        each = [f"{run_id} ({error})" for run_id, error in failed if error]
        return reasons + ([f"these runs could not be checked: {enumeration(each)}"] if each else [])

    @property
    def accepted(self) -> set[str]:
        """The runs of which a cancel of their own was accepted."""
        return {record.run_id for record in self._rounds.records.values() if record.is_accepted}

    @property
    def bulk_ids(self) -> list[str]:
        """The bulk actions that were accepted."""
        return self._rounds.bulk.accepted_ids

    @property
    def finished(self) -> bool:
        """Whether it came to its end: not stopped, no time limit reached, no key rejected."""
        return self._rounds.end in (End.FINISHED, End.NO_ANSWER)

    @property
    def stopped(self) -> bool:
        """Whether it was stopped from outside before its end."""
        return self._rounds.end is End.STOPPED

    def run(self, further: Iterable[Iterable[str]] | None = None) -> list[CancelResult]:
        """
        Cancel the runs, and ``further`` ones, whose ids are read while the others are being canceled.

        :raises AuthenticationError: the key was rejected twice, which ends the work
        """
        try:
            self._rounds.run(further)
        finally:
            self._results = self.results
        if self._rounds.rejection:
            raise self._rounds.rejection
        return self.results


class Canceled(NamedTuple):
    """What came of a cancel."""

    results: dict[str, CancelResult]
    """Of each run, by its id."""
    accepted: set[str]
    """The runs of which a cancel of their own was accepted."""
    bulk_ids: list[str]


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
    Cancel runs; each request continues with a key that was changed meanwhile.

    A key that stays rejected is no error: the results say so, and what to do about it.
    """
    work = Cancellation(
        client, run_ids, settings, is_stopped=is_stopped, action_for=action_for, threads=threads
    )
    advice = None
    try:
        work.run()
    except AuthenticationError as error:
        advice = action_for(error)
    results = {result.run_id: result for result in work.results}
    for run_id, result in results.items():
        if advice is not None and result.error is not None:
            results[run_id] = replace(result, error=f"{result.error}; {advice}")
    return Canceled(results, work.accepted, work.bulk_ids)
