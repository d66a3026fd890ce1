"""The steps of a wait for several runs, and of one that a watch answers only when something is new."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from fake_clock import Clock
from fake_log import Log

from airflow_provider_trigger.api.errors import TransportError
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.run.steps import Cancel, Check
from airflow_provider_trigger.run.wait import wait_for_runs
from airflow_provider_trigger.run.wait_settings import WaitSettings
from airflow_provider_trigger.run.waited import Waited, WaitEnd

IDS = ("run_1", "run_2", "run_3")
LOST = TransportError("lost")


def seen(run_id: str, status: str = "EXECUTING", **shown: Any) -> Run:
    return Run.from_answer({"id": run_id, "status": status} | shown)


def all_seen(run_ids: Iterable[str] = IDS, status: str = "EXECUTING") -> dict[str, Any]:
    return {run_id: seen(run_id, status) for run_id in run_ids}


def canceled(*run_ids: str, outcome: CancelOutcome = CancelOutcome.CANCELED, **shown: Any) -> dict[str, Any]:
    """What became of runs, by a cancel."""
    given = {"status": "CANCELED"} | shown
    return {run_id: CancelResult(run_id=run_id, outcome=outcome, **given) for run_id in run_ids}


class Wait:
    """A wait whose steps a test takes; pauses move its clock."""

    def __init__(self, *run_ids: str, **settings: Any) -> None:
        self.clock, self.log = Clock(), Log()
        self.result: dict[str, Waited] | None = None
        given = WaitSettings(**{"patience": 10.0} | settings)
        self._steps = wait_for_runs(run_ids or IDS, given, log=self.log, now=self.clock.time)
        self.step: Any = next(self._steps)

    def reply(self, reply: Any = None, *, after: float = 0.0) -> Any:
        """Answer the last step after some seconds; return the next one, None at the end."""
        self.clock.sleep(after)
        try:
            self.step = self._steps.send(reply)
        except StopIteration as end:
            self.result, self.step = end.value, None
        return self.step


def test_all_runs_are_in_one_check_and_each_only_once() -> None:
    wait = Wait("run_2", "run_1", "run_2", poll_interval=7)
    assert wait.step == Check(run_ids=("run_2", "run_1"), poll_interval=7)
    assert wait.log.lines == ["Waiting for 2 runs"]
    step = wait.reply(all_seen(("run_1",), "COMPLETED") | all_seen(("run_2",)))
    assert (step.run_ids, step.at) == (("run_2",), wait.clock.time() + 7)
    assert wait.reply(all_seen(("run_2",), "FAILED")) is None
    assert wait.result is not None
    assert [(run_id, waited.end) for run_id, waited in wait.result.items()] == [
        ("run_2", WaitEnd.FINAL),
        ("run_1", WaitEnd.FINAL),
    ]


def test_the_youngest_run_says_when_the_next_check_is_due() -> None:
    wait = Wait("run_1", "run_2")
    wait.reply(all_seen(("run_1", "run_2")))
    assert wait.step.at == wait.clock.time() + 2
    wait.reply({}, after=100)
    assert wait.step.at == wait.clock.time() + 10


def test_a_run_that_ends_otherwise_makes_the_wait_useless() -> None:
    wait = Wait(success_statuses=["COMPLETED"])
    wait.reply(all_seen(("run_2",), "COMPLETED"))
    assert wait.reply(all_seen(("run_3",), "FAILED")) is None
    assert wait.result is not None
    assert list(wait.result) == ["run_2", "run_3"]


def test_a_useless_wait_cancels_nothing_at_its_deadline() -> None:
    wait = Wait(success_statuses=["COMPLETED"], deadline=Clock().time() + 60)
    assert wait.reply(all_seen(("run_1",), "FAILED"), after=60) is None


# The deadline


def test_at_the_deadline_all_runs_are_canceled_together_without_another_check() -> None:
    wait = Wait(deadline=Clock().time() + 60)
    wait.reply(all_seen())
    assert wait.step.until == wait.clock.time() + 60
    assert wait.reply({}, after=60) == Cancel(run_ids=IDS)
    assert wait.reply(canceled(*IDS)) is None
    assert wait.result is not None
    assert {(one.end, one.is_canceled, one.error) for one in wait.result.values()} == {
        (WaitEnd.TIMED_OUT, True, "")
    }
    assert {one.run and one.run.status for one in wait.result.values()} == {"CANCELED"}


ENDED_FIRST: dict[str, Any] = {"outcome": CancelOutcome.ALREADY_COMPLETED, "status": "COMPLETED"}


def test_each_run_has_an_outcome_of_its_own_after_the_cancel() -> None:
    wait = Wait(*(f"run_{number}" for number in range(1, 8)), deadline=Clock().time() - 1)
    wait.reply(all_seen(("run_2",)))
    late = ("run_4", "run_5", "run_6", "run_7")
    step = wait.reply(
        canceled("run_1", task_identifier="resize")
        | canceled("run_2", outcome=CancelOutcome.FAILED, status=None, request="cancel failed")
        | canceled("run_3", outcome=CancelOutcome.NOT_FOUND, status=None)
        | canceled(*late, **ENDED_FIRST)
    )
    assert step == Check(run_ids=late, is_fresh=True)  # for the output
    news = {"run_4": seen("run_4", "COMPLETED", output=1), "run_7": seen("run_7", "CANCELED")}
    assert wait.reply({**news, "run_5": LOST, "run_6": seen("run_6")}) is None
    assert wait.result is not None
    timed_out, final = WaitEnd.TIMED_OUT, WaitEnd.FINAL
    assert wait.result == {
        "run_1": Waited(
            end=timed_out, run=seen("run_1", "CANCELED", taskIdentifier="resize"), is_canceled=True
        ),
        "run_2": Waited(end=timed_out, run=seen("run_2"), error="cancel failed"),
        "run_3": Waited(end=timed_out, run=None, error="this key's environment has no such run"),
        "run_4": Waited(end=final, run=seen("run_4", "COMPLETED", output=1)),
        "run_5": Waited(end=final, run=wait.result["run_5"].run, error="lost"),
        "run_6": Waited(end=final, run=wait.result["run_6"].run, error="its check shows it as EXECUTING"),
        "run_7": Waited(end=timed_out, run=seen("run_7", "CANCELED"), is_canceled=True),
    }
    assert [one and one.status for one in (wait.result["run_5"].run, wait.result["run_6"].run)] == [
        "COMPLETED"
    ] * 2


def test_a_deadline_that_passed_before_the_wait_cancels_at_once() -> None:
    wait = Wait(deadline=Clock().time() - 1)
    assert not wait.step.is_fresh
    assert wait.reply({}) == Cancel(run_ids=IDS)


def test_a_wait_that_cancels_nothing_checks_its_runs_once_more_at_the_deadline() -> None:
    wait = Wait(deadline=Clock().time() + 60, cancels=False)
    wait.reply(all_seen())
    assert wait.reply({}, after=60) == Check(run_ids=IDS, is_fresh=True)
    assert wait.reply(all_seen(("run_1",), "COMPLETED") | all_seen(("run_2", "run_3"))) is None
    assert wait.result is not None
    assert [waited.end for waited in wait.result.values()] == [
        WaitEnd.FINAL,
        WaitEnd.TIMED_OUT,
        WaitEnd.TIMED_OUT,
    ]
    assert wait.result["run_2"].run == seen("run_2")


def test_what_is_new_just_then_takes_the_place_of_that_check() -> None:
    wait = Wait("run_1", deadline=Clock().time() + 60, cancels=False)
    wait.reply(all_seen(("run_1",)))
    assert wait.reply(all_seen(("run_1",), "WAITING"), after=60) is None
    assert wait.result == {"run_1": Waited(end=WaitEnd.TIMED_OUT, run=seen("run_1", "WAITING"))}


# No version


def test_before_a_run_is_canceled_that_has_no_version_it_is_checked_once_more() -> None:
    wait = Wait(pending_version_timeout=300)
    wait.reply(all_seen(("run_1", "run_2"), "PENDING_VERSION") | all_seen(("run_3",)))
    assert wait.step.until == wait.clock.time() + 300
    step = wait.reply({}, after=300)
    assert step == Check(run_ids=("run_1", "run_2"), is_fresh=True)
    news = all_seen(("run_2",)) | all_seen(("run_1",), "PENDING_VERSION")
    assert wait.reply(news) == Cancel(run_ids=("run_1",))
    step = wait.reply(canceled("run_1"))
    assert (step.run_ids, step.is_fresh) == (("run_2", "run_3"), False)


def test_a_check_that_fails_then_puts_the_cancel_off_until_the_run_is_seen() -> None:
    wait = Wait("run_1", pending_version_timeout=300)
    wait.reply(all_seen(("run_1",), "PENDING_VERSION"))
    wait.reply({}, after=300)
    step = wait.reply({"run_1": LOST})
    assert (step.is_fresh, step.until) == (False, float("inf"))
    step = wait.reply(all_seen(("run_1",), "PENDING_VERSION"), after=30)
    assert step == Check(run_ids=("run_1",), is_fresh=True)
    assert wait.reply(all_seen(("run_1",), "PENDING_VERSION")) == Cancel(run_ids=("run_1",))


def test_what_is_new_just_then_may_be_a_querys_and_so_needs_another_check() -> None:
    wait = Wait("run_1", pending_version_timeout=300)
    wait.reply(all_seen(("run_1",), "PENDING_VERSION"))
    step = wait.reply(all_seen(("run_1",), "PENDING_VERSION"), after=300)
    assert step == Check(run_ids=("run_1",), is_fresh=True)
    assert not wait.reply(all_seen(("run_1",), "EXECUTING")).is_fresh


def test_a_run_that_is_due_during_the_check_of_another_one_needs_one_of_its_own() -> None:
    wait = Wait("run_1", "run_2", pending_version_timeout=300)
    wait.reply(all_seen(("run_1",), "PENDING_VERSION"))
    wait.reply(all_seen(("run_2",), "PENDING_VERSION"), after=10)
    assert wait.reply({}, after=290) == Check(run_ids=("run_1",), is_fresh=True)
    assert wait.reply(all_seen(("run_1",), "PENDING_VERSION"), after=10) == Cancel(run_ids=("run_1",))
    assert wait.reply(canceled("run_1")) == Check(run_ids=("run_2",), is_fresh=True)


def without_version(since: float, clock: Clock) -> dict[str, Any]:
    """Show a run as a check by itself does; the answer's date has no fractions of a second."""
    updated_at = datetime.fromtimestamp(since, UTC).isoformat()
    shown = {"id": "run_1", "status": "PENDING_VERSION", "updatedAt": updated_at}
    return {"run_1": Run.from_answer(shown, seen_at=datetime.fromtimestamp(int(clock.time()), UTC))}


@pytest.mark.parametrize("since", [-250.25, 40.25])
def test_a_check_of_a_run_by_itself_says_since_when_it_waits_for_a_version(since: float) -> None:
    wait = Wait("run_1", pending_version_timeout=300)
    began = wait.clock.time()
    wait.reply(all_seen(("run_1",), "PENDING_VERSION"))  # as a query shows it
    assert wait.step.until == began + 300
    wait.clock.sleep(45)
    wait.reply(without_version(began + since, wait.clock))
    assert wait.step.until == pytest.approx(began + 300 + since, abs=1.01)
    wait.reply(all_seen(("run_1",), "PENDING_VERSION"), after=1)
    assert wait.step.until == pytest.approx(began + 300 + since, abs=1.01)


def test_a_run_that_has_waited_for_another_version_since_is_not_canceled_for_it() -> None:
    wait = Wait("run_1", pending_version_timeout=300)
    began = wait.clock.time()
    wait.reply(without_version(began, wait.clock))
    assert wait.reply({}, after=300).is_fresh
    step = wait.reply(without_version(began + 200, wait.clock))
    assert (step.is_fresh, step.until) == (False, began + 500)
    assert wait.reply({}, after=200).is_fresh
    assert wait.reply(without_version(began + 200, wait.clock)) == Cancel(run_ids=("run_1",))


def test_the_date_without_fractions_of_a_second_puts_no_cancel_off() -> None:
    wait = Wait("run_1", pending_version_timeout=300)
    wait.clock.sleep(0.9)
    since = wait.clock.time()
    wait.reply(without_version(since, wait.clock))
    assert wait.reply({}, after=300).is_fresh
    assert wait.reply(without_version(since, wait.clock)) == Cancel(run_ids=("run_1",))


# One run that ends the wait for all


def test_the_others_are_canceled_if_that_is_wanted() -> None:
    wait = Wait(success_statuses=["COMPLETED"], cancels_others=True, cancels=False)
    assert wait.reply(all_seen(("run_1",), "FAILED")) == Cancel(run_ids=("run_2", "run_3"))
    step = wait.reply(canceled("run_2") | canceled("run_3", **ENDED_FIRST))
    assert step == Check(run_ids=("run_3",), is_fresh=True)
    assert wait.reply(all_seen(("run_3",), "COMPLETED")) is None
    assert wait.result is not None
    ends = {run_id: (waited.end, waited.is_canceled) for run_id, waited in wait.result.items()}
    assert ends == {
        "run_1": (WaitEnd.FINAL, False),
        "run_2": (WaitEnd.NOT_NEEDED, True),
        "run_3": (WaitEnd.FINAL, False),
    }
    assert "Canceling run run_2: another run has failed" in wait.log.lines


def test_up_to_10_cancels_are_each_named() -> None:
    ids = [f"run_{number}" for number in range(11)]
    wait = Wait(*ids, success_statuses=["COMPLETED"], cancels_others=True)
    wait.reply(all_seen(("run_0",), "FAILED"))
    assert wait.log.of("warning") == [f"Canceling run {one}: another run has failed" for one in ids[1:]]


def test_many_cancels_are_one_line() -> None:
    ids = [f"run_{number}" for number in range(30)]
    wait = Wait(*ids, success_statuses=["COMPLETED"], cancels_others=True)
    assert len(wait.reply(all_seen(("run_0",), "FAILED")).run_ids) == 29
    assert wait.log.of("warning") == ["Canceling 29 runs: another run has failed"]


def test_a_check_is_answered_when_the_next_line_on_the_progress_is_due() -> None:
    wait = Wait(logs_progress=True)
    assert wait.step.until == wait.clock.time() + 30
