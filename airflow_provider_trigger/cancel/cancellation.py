"""
Cancel many runs at once: one result a run, and no run's failure stops another.

First every cancel is sent, then every run is looked at: so all are stopped soonest, and the looks are
fresh. The outcome is decided by the look, never by the cancel's 200, which says nothing (measured).

Many runs are asked in bulk, with one request for 500 of them. A bulk action misses runs triggered a moment
ago, drops unknown ids and does not say which (measured), but it counts: where it left out some, the looks
begin, and what a look does not show ended gets its own cancel at once. So there is one look a run and little
more, which is the fewest: nothing but a look at each run tells what became of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from airflow_provider_trigger.api import endpoints
from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.endpoints import Call
from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    NotFoundError,
    NotSentError,
    TransportError,
    TriggerDevError,
)
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.api.silence import Silence
from airflow_provider_trigger.cancel import bulk
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.cancel.workers import Workers

log = logging.getLogger(__name__)

T = TypeVar("T")

# A look just after the cancel may be stale: how long to wait before each of the further looks, in seconds.
LOOK_AGAIN_AFTER = (0.5, 1.0, 2.0, 4.0)
# How long the looks before the cancels may hold these up, in seconds; they only spare waiting later.
LOOK_BEFORE_WITHIN = 30.0
_CUT_OFF = "asked to cancel, but the work was stopped or its time was over before an answer came"
# From more runs on, a cancel and a look for each would use up the default rate limit's burst of 750.
BULK_FROM = 300


def cancel_runs(client: TriggerDevClient, run_ids: Iterable[str]) -> list[CancelResult]:
    """
    Cancel runs and say of each what became of it, in the ids' order.

    :param client: for the environment that the runs belong to
    :param run_ids: exact run ids
    :raises AuthenticationError: the key was rejected
    """
    return Cancellation(client=client, run_ids=run_ids).run()


class Cancellation:
    """
    The canceling of many runs; :attr:`results` can be read at any time, also when it was cut short.

    A canceled run counts as terminated where it was seen held by no worker before its cancel. One that had
    been started before, and that a worker took up again in between (suspended, or between two attempts), shows no
    trace of that: it is told terminated while its worker is still being told.

    :param client: for the environment that the runs belong to
    :param run_ids: exact run ids; repeated ones count once
    :param max_concurrency: how many requests are on their way at a time
    :param time_limit: for all of it, in seconds; None for as long as it needs
    :param termination_timeout: how long to wait until the canceled runs are over, in seconds;
        None for not at all
    :param poll_interval: between two looks while waiting, in seconds
    :param is_stopped: asked some times a second; true ends the work within a second
    """

    def __init__(
        self,
        *,
        client: TriggerDevClient,
        run_ids: Iterable[str],
        max_concurrency: int = 32,
        time_limit: float | None = None,
        termination_timeout: float | None = None,
        poll_interval: float = 2.0,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._client = client
        self._run_ids = list(dict.fromkeys(run_ids))
        self._workers = Workers(
            count=max_concurrency, seconds=time_limit, is_stopped=is_stopped, trouble=lambda: client.trouble
        )
        self._termination_timeout = termination_timeout
        self._poll_interval = poll_interval
        self._held_before: dict[str, datetime | None] = {}
        self._asked: dict[str, TriggerDevError | None] = {}
        # Of the runs that only a bulk action was asked for, whether it left out some.
        self._only_in_bulk: dict[str, bool] = {}
        self._results: dict[str, CancelResult] = {}
        self._rejected: AuthenticationError | None = None
        self._silence = Silence(client)

    @property
    def results(self) -> list[CancelResult]:
        """What is known of each run, in the ids' order; a run that was not reached is ``failed``."""
        return [self._results.get(run_id) or self._unreached(run_id) for run_id in self._run_ids]

    @property
    def stopped(self) -> bool:
        """Whether it was stopped from outside before its end."""
        return self._workers.interrupted

    def run(self) -> list[CancelResult]:
        """
        Do it.

        :raises AuthenticationError: the key was rejected, which ends the work at once
        """
        if self._termination_timeout is not None:
            # After the cancel a suspended run and one that executes look the same (measured).
            with self._workers.within(LOOK_BEFORE_WITHIN):
                self._each("Looked beforehand at", self._look_before, self._run_ids)
        if len(self._run_ids) > BULK_FROM:
            self._each("Bulk actions", self._ask_in_bulk, bulk.parts(self._run_ids))
        self._each("Asked to cancel", self._ask, [one for one in self._run_ids if one not in self._asked])
        self._make_up_for_bulk()
        self._look_until_final()
        if self._termination_timeout is not None:
            with self._workers.within(self._termination_timeout):
                self._wait_for_termination()
        if self._rejected:
            raise self._rejected
        return self.results

    def _look_before(self, run_id: str) -> None:
        try:
            run = self._client.retrieve_run(run_id, budget=self._workers.budget)
        except NotFoundError:
            return  # the cancel decides
        if run.is_held:
            self._held_before[run_id] = run.started_at

    def _ask_in_bulk(self, run_ids: tuple[str, ...]) -> None:
        action = bulk.run_cancel_action(self._client, run_ids, budget=self._workers.budget)
        if action.total:
            self._asked.update(dict.fromkeys(run_ids))
            left_out = len(run_ids) - action.success - action.failure
            self._only_in_bulk.update(dict.fromkeys(run_ids, left_out > 0))

    def _make_up_for_bulk(self) -> None:
        # What it missed is sought where it left out some, and was triggered last, so is named last as a rule.
        order = sorted(reversed(self._only_in_bulk), key=lambda run_id: not self._only_in_bulk[run_id])
        self._each("Looked once at", self._look_or_ask, order)
        unseen = [run_id for run_id in self._only_in_bulk if run_id not in self._results]
        self._each("Asked to cancel", self._ask, unseen)

    def _look_or_ask(self, run_id: str) -> None:
        run = self._call(endpoints.retrieve_run(run_id), once=True)
        if run.is_final:
            self._results[run_id] = self._result(run)
        else:
            self._ask(run_id)

    def _ask(self, run_id: str) -> None:
        asked_in_bulk = self._only_in_bulk.pop(run_id, None) is not None
        self._asked[run_id] = None
        try:
            self._call(endpoints.cancel_run(run_id), once=self._silence.is_likely)
        except NotFoundError:
            self._results[run_id] = CancelResult(run_id=run_id, outcome=CancelOutcome.NOT_FOUND)
        except NotSentError as error:
            if not asked_in_bulk:
                del self._asked[run_id]
            if not error.retryable:
                self._results[run_id] = CancelResult(
                    run_id=run_id, outcome=CancelOutcome.FAILED, error=error.message
                )
            raise
        except TriggerDevError as error:
            # One reason for all that were on their way when time ran out, so that they are told together.
            cut_off = isinstance(error, TransportError) and not self._workers.budget.remaining()
            self._asked[run_id] = TransportError(_CUT_OFF) if cut_off else error
            raise

    def _look_until_final(self) -> None:
        # A cancel that failed may have been heard all the same: only the look tells.
        to_look_at = [run_id for run_id in self._asked if run_id not in self._results]
        self._each("Looked at", self._look, to_look_at)
        for pause in LOOK_AGAIN_AFTER:
            unsure = [
                run_id
                for run_id in to_look_at
                if not self._asked[run_id]
                and (result := self._results.get(run_id))
                and self._is_alive(result)
            ]
            if not unsure or not self._workers.sleep(pause):
                return
            self._each("Looked again at", self._look, unsure)

    @staticmethod
    def _is_alive(result: CancelResult) -> bool:
        return result.outcome is CancelOutcome.FAILED and result.status is not None

    def _look(self, run_id: str) -> None:
        asked = self._asked[run_id]
        # Where trying again was in vain for the cancel, it is not worth as long once more.
        in_vain = self._silence.lasts or bool(asked and asked.retryable)
        try:
            run = self._call(endpoints.retrieve_run(run_id), once=in_vain)
        except TriggerDevError as error:
            if isinstance(error, NotSentError) or not self._workers.budget.remaining():
                raise  # there was no time for a true answer
            self._results[run_id] = CancelResult(
                run_id=run_id,
                outcome=CancelOutcome.FAILED,
                error=f"canceling: {asked}; looking: {error}"
                if asked
                else f"unreadable after the cancel: {error}",
                retryable=error.retryable or isinstance(error, NotFoundError),
            )
            raise
        self._results[run_id] = self._result(run)

    def _result(self, run: Run) -> CancelResult:
        asked = self._asked[run.id]
        # One that was started in between was held no longer when the cancel came.
        was_held = run.id in self._held_before and self._held_before[run.id] == run.started_at
        result = CancelResult(
            run_id=run.id,
            outcome=CancelOutcome.CANCELED if run.is_canceled else CancelOutcome.ALREADY_COMPLETED,
            status=run.status,
            task_identifier=run.task_identifier,
            terminated=run.is_terminated(was_held=was_held),
        )
        if run.is_final:
            return result
        return replace(
            result,
            outcome=CancelOutcome.FAILED,
            error=str(asked) if asked else f"still {run.status} although the server took the cancel",
            retryable=asked.retryable if asked else True,
        )

    def _wait_for_termination(self) -> None:
        """Look again and again until each canceled run can no longer change."""
        while unterminated := [
            result.run_id
            for result in self._results.values()
            if result.outcome is CancelOutcome.CANCELED and not result.terminated
        ]:
            if not self._workers.sleep(self._poll_interval):
                return
            self._each("Looked again at", self._check_termination, unterminated)

    def _check_termination(self, run_id: str) -> None:
        # A failed look takes nothing back: the run was seen CANCELED.
        run = self._client.retrieve_run(run_id, budget=self._workers.budget)
        if run.is_final:
            self._results[run_id] = self._result(run)

    def _unreached(self, run_id: str) -> CancelResult:
        doing = "Looked at" if run_id in self._asked else "Asked to cancel"
        silence = None if self._rejected else self._silence.error(doing)
        reason = self._rejected or "the work was stopped or its time was over"
        if silence:
            reason = f"given up, as this was met again and again: {silence}"
        if run_id not in self._asked:
            error = f"not sent: {reason}"
        else:
            error = str(self._asked[run_id] or f"asked to cancel, but not looked at afterwards: {reason}")
        retryable = silence.retryable if silence else not self._rejected
        return CancelResult(run_id=run_id, outcome=CancelOutcome.FAILED, error=error, retryable=retryable)

    def _call(self, call: Call[T], *, once: bool) -> T:
        if once:
            call = replace(call, request=replace(call.request, repeatable=False))
        return self._client.call(call, budget=self._workers.budget)

    def _each(self, doing: str, call: Callable[[T], None], items: Sequence[T]) -> None:
        def work(item: T) -> bool:
            try:
                call(item)
            except TriggerDevError as error:
                log.debug("%s: %s", doing, error)
                return self._note_failure(doing, error)
            return True

        self._silence.begin()
        self._workers.each(doing, work, items)

    def _note_failure(self, doing: str, error: TriggerDevError) -> bool:
        """Tell whether to go on."""
        if isinstance(error, AuthenticationError):
            self._rejected = self._rejected or error
            self._workers.stop()
        return not self._silence.ends_work(doing, error)
