"""The steps of a wait, taken by hand: what is checked and canceled when, and what is logged meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from fake_clock import START, Clock
from fake_log import Log

from airflow_provider_trigger.api.errors import NotSentError, PermissionDeniedError, TransportError
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.run.wait import wait_for_runs
from airflow_provider_trigger.run.wait_settings import WaitSettings
from airflow_provider_trigger.run.waited import Cancel, Check, Waited, WaitEnd

IDS = ("run_1", "run_2", "run_3")
HUNDRED = [f"run_{number}" for number in range(100)]
LOST = TransportError("no connection")
NOT_SENT = NotSentError("the server stopped responding", retryable=True)
REJECTED = PermissionDeniedError(
    method="GET", path="/api", request_id=None, status=403, detail="no", retryable=False
)
DATE = datetime.fromtimestamp(START, UTC)


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
        self.ends: dict[str, Waited] = {}
        given = WaitSettings(**{"patience": 10.0} | settings)
        self._steps = wait_for_runs(run_ids or IDS, given, log=self.log, now=self.clock.time)
        self.step: Any = next(self._steps)

    def reply(self, reply: Any = None, *, after: float = 0.0) -> Any:
        """Answer the last step after some seconds; return the next one, None at the end."""
        self.clock.sleep(after)
        try:
            self.step = self._steps.send(reply)
        except StopIteration as end:
            self.ends, self.step = end.value, None
        return self.step

    def hear(self, run_ids: Iterable[str] = (), what: Any = None, *, after: float = 0.0) -> list[str]:
        """Answer a check of runs with a status, or an error; return what is logged."""
        self.log.leveled.clear()
        self.reply({one: what if what is LOST else seen(one, what) for one in run_ids}, after=after)
        return self.log.lines


def test_all_runs_are_in_one_check_and_each_only_once() -> None:
    wait = Wait("run_2", "run_1", "run_2", poll_interval=7)
    assert wait.step == Check(run_ids=("run_2", "run_1"), poll_interval=7)
    assert wait.log.lines == ["Waiting for 2 runs"]
    step = wait.reply(all_seen(("run_1",), "COMPLETED") | all_seen(("run_2",)))
    assert step.run_ids == ("run_2",)
    assert wait.reply(all_seen(("run_2",), "FAILED")) is None
    assert [(one, waited.end) for one, waited in wait.ends.items()] == [
        ("run_2", WaitEnd.FINAL),
        ("run_1", WaitEnd.FINAL),
    ]


# The deadline


def test_at_the_deadline_all_runs_are_canceled_together_without_another_check() -> None:
    wait = Wait(deadline=START + 60)
    assert wait.reply(all_seen()).until == START + 60
    assert wait.reply({}, after=60) == Cancel(run_ids=IDS)
    assert wait.log.of("warning") == [f"Canceling run {one}: it did not end in time" for one in IDS]
    assert wait.reply(canceled(*IDS)) is None
    for waited in wait.ends.values():
        assert (waited.end, waited.is_canceled, waited.error) == (WaitEnd.TIMED_OUT, True, "")
        assert waited.run is not None
        assert waited.run.status == "CANCELED"


ENDED_FIRST: dict[str, Any] = {"outcome": CancelOutcome.ALREADY_COMPLETED, "status": "COMPLETED"}


def test_each_run_has_an_outcome_of_its_own_after_the_cancel() -> None:
    wait = Wait(*(f"run_{number}" for number in range(1, 8)), deadline=START - 1)
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
    unseen = [wait.ends[one].run for one in ("run_5", "run_6")]
    assert [run and run.status for run in unseen] == ["COMPLETED"] * 2
    timed_out, final = WaitEnd.TIMED_OUT, WaitEnd.FINAL
    of_first = seen("run_1", "CANCELED", taskIdentifier="resize")
    assert wait.ends == {
        "run_1": Waited(end=timed_out, run=of_first, is_canceled=True),
        "run_2": Waited(end=timed_out, run=seen("run_2"), error="cancel failed"),
        "run_3": Waited(end=timed_out, run=None, error="this key's environment has no such run"),
        "run_4": Waited(end=final, run=seen("run_4", "COMPLETED", output=1)),
        "run_5": Waited(end=final, run=unseen[0], error="no connection"),
        "run_6": Waited(end=final, run=unseen[1], error="its check shows it as EXECUTING"),
        "run_7": Waited(end=timed_out, run=seen("run_7", "CANCELED"), is_canceled=True),
    }


def test_a_wait_that_cancels_nothing_checks_its_runs_once_more_at_the_deadline() -> None:
    wait = Wait(deadline=START + 60, cancels=False)
    wait.reply(all_seen())
    assert wait.reply({}, after=60) == Check(run_ids=IDS, is_fresh=True)
    assert wait.reply(all_seen(("run_1",), "COMPLETED") | all_seen(("run_2", "run_3"))) is None
    assert [waited.end for waited in wait.ends.values()] == [
        WaitEnd.FINAL,
        WaitEnd.TIMED_OUT,
        WaitEnd.TIMED_OUT,
    ]
    assert wait.ends["run_2"].run == seen("run_2")


# No version


def without_version() -> dict[str, Any]:
    return all_seen(("run_1",), "PENDING_VERSION")


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
    wait.reply(without_version())
    wait.reply({}, after=300)
    step = wait.reply({"run_1": LOST})
    assert (step.is_fresh, step.until) == (False, wait.clock.time() + 60)
    step = wait.reply(without_version(), after=30)  # it may be a query's
    assert step == Check(run_ids=("run_1",), is_fresh=True)
    assert wait.reply(without_version()) == Cancel(run_ids=("run_1",))


def test_a_run_that_is_due_during_the_check_of_another_one_needs_one_of_its_own() -> None:
    wait = Wait("run_1", "run_2", pending_version_timeout=300)
    wait.reply(without_version())
    wait.reply(all_seen(("run_2",), "PENDING_VERSION"), after=10)
    assert wait.reply({}, after=290) == Check(run_ids=("run_1",), is_fresh=True)
    assert wait.reply(without_version(), after=10) == Cancel(run_ids=("run_1",))
    assert wait.reply(canceled("run_1")) == Check(run_ids=("run_2",), is_fresh=True)


def test_how_long_a_run_has_waited_for_a_version_counts_from_when_it_was_first_seen_so() -> None:
    wait = Wait("run_1", pending_version_timeout=300)
    assert wait.reply(without_version()).until == START + 300
    assert wait.reply(without_version(), after=45).until == START + 300
    wait.reply(all_seen(("run_1",), "QUEUED"), after=5)
    assert wait.reply(without_version(), after=1).until == START + 51 + 300
    assert Wait("run_1", pending_version_timeout=None).reply(without_version()).until == float("inf")


@pytest.mark.parametrize(
    ("settings", "end"),
    [
        (
            {"pending_version_timeout": 60},
            "of the secret key. After 60 s (pending_version_timeout) the run is canceled",
        ),
        (
            {"cancels": False, "pending_version_timeout": 60},
            "of the secret key. After 60 s (pending_version_timeout) the wait ends",
        ),
        ({"pending_version_timeout": None}, "and the environment of the secret key"),
    ],
)
def test_a_run_without_a_version_is_a_warning_each_time_that_says_what_to_do(
    settings: dict[str, Any], end: str
) -> None:
    wait = Wait("run_1", **settings)
    for _ in range(2):
        [warning] = wait.hear(["run_1"], "PENDING_VERSION")
        assert warning.startswith(
            "Run run_1 is PENDING_VERSION: no deployed version in this environment has "
        )
        assert warning.endswith(end)
        assert wait.hear(["run_1"], "PENDING_VERSION") == []
        wait.hear(["run_1"], "QUEUED")


def test_of_many_that_wait_for_a_version_one_is_named() -> None:
    wait = Wait(*HUNDRED)
    [line] = wait.hear(HUNDRED[5:], "PENDING_VERSION")
    assert line.startswith("Run run_5 is PENDING_VERSION, as are 94 others: no deployed version ")
    assert wait.hear(HUNDRED, "PENDING_VERSION", after=5) == []


# One run that ends the wait for all


def test_a_run_that_ends_otherwise_makes_the_wait_useless() -> None:
    wait = Wait(success_statuses=["COMPLETED"], deadline=START + 60)
    wait.reply(all_seen(("run_2",), "COMPLETED"))
    assert wait.reply(all_seen(("run_3",), "FAILED"), after=60) is None, "nothing is canceled"
    assert list(wait.ends) == ["run_2", "run_3"]


def test_the_others_are_canceled_if_that_is_wanted() -> None:
    wait = Wait(success_statuses=["COMPLETED"], cancels_others=True, cancels=False)
    assert wait.reply(all_seen(("run_1",), "FAILED")) == Cancel(run_ids=("run_2", "run_3"))
    step = wait.reply(canceled("run_2") | canceled("run_3", **ENDED_FIRST))
    assert step == Check(run_ids=("run_3",), is_fresh=True)
    assert wait.reply(all_seen(("run_3",), "COMPLETED")) is None
    assert {one: (waited.end, waited.is_canceled) for one, waited in wait.ends.items()} == {
        "run_1": (WaitEnd.FINAL, False),
        "run_2": (WaitEnd.NOT_NEEDED, True),
        "run_3": (WaitEnd.FINAL, False),
    }


def test_up_to_10_cancels_are_each_named_and_more_are_one_line() -> None:
    of_eleven, of_hundred = (
        Wait(*ids, success_statuses=["COMPLETED"], cancels_others=True) for ids in (HUNDRED[:11], HUNDRED)
    )
    assert of_eleven.hear(["run_0"], "FAILED")[1:] == [
        f"Canceling run {one}: another run has failed" for one in HUNDRED[1:11]
    ]
    assert of_hundred.hear(["run_0"], "FAILED")[1:] == ["Canceling 99 runs: another run has failed"]


# What is logged


@pytest.mark.parametrize(
    ("statuses", "named"), [(None, "FAILED"), (["COMPLETED"], "FAILED"), (["FAILED"], "COMPLETED")]
)
def test_of_more_than_10_runs_an_end_that_does_not_count_as_success_is_named(statuses, named: str) -> None:
    assert Wait(*HUNDRED[:10]).hear(HUNDRED[:10], "COMPLETED") == [
        f"Run {one} is COMPLETED" for one in HUNDRED[:10]
    ]
    wait = Wait(*HUNDRED, success_statuses=statuses)
    other = {"FAILED": "COMPLETED", "COMPLETED": "FAILED"}[named]
    assert wait.hear(HUNDRED[:50], other) == []
    assert wait.hear(["run_77"], named) == [f"Run run_77 is {named}"]


def test_checks_that_fail_are_one_line_at_the_begin_one_a_minute_and_one_at_the_end() -> None:
    wait = Wait(*HUNDRED)
    failed = "Status checks of 40 of 100 runs failed; still waiting: no connection"
    assert wait.hear(HUNDRED[:40], LOST) == [failed]
    assert wait.hear(HUNDRED[40:], "EXECUTING", after=10) == []
    for seconds in (60, 120):
        assert wait.step.until == START + seconds
        assert wait.hear(HUNDRED[:40], LOST, after=START + seconds - wait.clock.time()) == [
            f"Status checks of 40 of 100 runs have failed for {seconds} s; still waiting: no connection"
        ]
    assert wait.hear(HUNDRED[:39], "EXECUTING", after=10) == []
    assert wait.hear(HUNDRED[39:40], "EXECUTING") == ["40 runs can be checked again after 130 s"]
    assert wait.hear(HUNDRED[:1], LOST) == [failed.replace("40", "1").replace("failed", "failed (run_0)")]


def test_what_was_seen_before_an_outage_is_not_said_as_if_it_was_seen_now() -> None:
    wait = Wait(logs_progress=True)
    wait.hear(IDS, "EXECUTING")
    wait.hear(IDS[:1], LOST, after=20)
    assert wait.hear(after=20) == []
    assert wait.hear(IDS[:1], "EXECUTING", after=10) == ["1 run can be checked again after 30 s"]
    assert wait.hear(after=20) == ["0 of 3 runs have ended: 3 EXECUTING"]


@pytest.mark.parametrize("outage", [LOST, NOT_SENT])
def test_a_rejection_before_an_outage_and_one_after_it_do_not_end_the_wait(outage: Any) -> None:
    wait = Wait("run_1")
    for reply in (REJECTED, outage, REJECTED):
        assert wait.reply({"run_1": reply}, after=100) is not None
    assert wait.reply({"run_1": REJECTED}, after=30) is None
    assert wait.ends["run_1"].end is WaitEnd.REJECTED


def test_runs_that_are_no_longer_waited_for_are_not_said_to_be_checked_again() -> None:
    wait = Wait(patience=30.0)
    wait.reply({"run_1": REJECTED, "run_2": REJECTED} | all_seen(IDS[2:]))
    wait.log.leveled.clear()
    wait.reply({"run_1": REJECTED} | all_seen(IDS[1:2]), after=40)
    assert wait.log.lines == ["1 run can be checked again after 40 s"]


@pytest.mark.parametrize(
    ("count", "line"),
    [
        (1, "Run run_0 is still EXECUTING after 5 minutes"),
        (2, "2 of 2 runs have not ended yet"),
        (100, "100 of 100 runs have not ended yet"),
    ],
)
def test_of_runs_that_go_on_there_is_one_line_each_five_minutes(count: int, line: str) -> None:
    wait = Wait(*HUNDRED[:count])
    wait.hear(HUNDRED[:count], "EXECUTING")
    assert [wait.hear(after=seconds) for seconds in (299, 1, 299)] == [[], [line], []]


def test_the_progress_of_a_batch_is_logged_every_30_s_though_nothing_changes() -> None:
    wait = Wait(logs_progress=True)
    assert wait.step.until == START + 30
    assert wait.hear(IDS[:2], "EXECUTING") == []
    assert wait.hear(after=29) == []
    for seconds in (1, 30):
        assert wait.hear(after=seconds) == ["0 of 3 runs have ended: 2 EXECUTING, 1 not checked yet"]
    wait.hear(IDS[:1], "COMPLETED")
    assert wait.hear(IDS[2:], "QUEUED", after=30) == [
        "1 of 3 runs have ended: 1 COMPLETED, 1 EXECUTING, 1 QUEUED"
    ]
    assert wait.hear(IDS[1:], "FAILED", after=5)[-1] == "3 of 3 runs have ended: 1 COMPLETED, 2 FAILED"
    many = Wait(*HUNDRED, logs_progress=True)
    many.hear(HUNDRED, "EXECUTING")
    assert many.hear(HUNDRED[:10], "COMPLETED", after=300) == [
        "10 of 100 runs have ended: 10 COMPLETED, 90 EXECUTING"
    ]
