"""What is logged of a wait for many runs: how many have ended, and which end is not as it should be."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import TransportError
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.run.wait import wait_for_runs
from airflow_provider_trigger.run.wait_settings import WaitSettings

ERROR = TransportError("no connection")


class Wait:
    """A wait whose checks a test answers."""

    def __init__(self, count: int, log: Any, clock: Any, **settings: Any) -> None:
        self.ids = [f"run_{number}" for number in range(count)]
        self.clock, self.log = clock, log
        self.steps = wait_for_runs(self.ids, WaitSettings(**settings), log=log, now=clock.time)
        next(self.steps)
        log.leveled.clear()

    def hear(self, run_ids: list[str], what: Any, *, after: float = 0.0) -> list[str]:
        """Answer a check of runs with a status, or an error; return what was logged."""
        self.clock.sleep(after)
        replies = {one: self._reply(one, what) for one in run_ids}
        with contextlib.suppress(StopIteration):
            self.steps.send(replies)
        lines, self.log.leveled = self.log.lines, []
        return lines

    @staticmethod
    def _reply(run_id: str, what: Any) -> Any:
        return what if what is ERROR else Run.from_answer({"id": run_id, "status": what})


def test_up_to_10_runs_are_each_named(log, clock) -> None:
    wait = Wait(10, log, clock)
    assert wait.hear(wait.ids, "COMPLETED") == [f"Run {one} is COMPLETED" for one in wait.ids]


def test_more_are_counted_now_and_then_and_when_all_have_ended(log, clock) -> None:
    wait = Wait(100, log, clock)
    assert wait.hear(wait.ids, "EXECUTING") == []
    assert wait.hear(wait.ids[:10], "COMPLETED") == []
    assert wait.hear(wait.ids[10:20], "COMPLETED", after=30) == ["20 of 100 runs have ended"]
    assert wait.hear(wait.ids[20:90], "COMPLETED", after=29) == []
    assert wait.hear(wait.ids[90:], "COMPLETED") == ["100 of 100 runs have ended"]


@pytest.mark.parametrize(
    ("statuses", "named"), [(None, "FAILED"), (["COMPLETED"], "FAILED"), (["FAILED"], "COMPLETED")]
)
def test_an_end_that_does_not_count_as_success_is_named(log, clock, statuses, named: str) -> None:
    wait = Wait(100, log, clock, success_statuses=statuses)
    other = {"FAILED": "COMPLETED", "COMPLETED": "FAILED"}[named]
    assert wait.hear(wait.ids[:50], other) == []
    assert wait.hear(["run_77"], named) == [f"Run run_77 is {named}"]


def test_an_outage_is_one_line_at_its_begin_each_five_minutes_and_at_its_end(log, clock) -> None:
    wait = Wait(100, log, clock)
    failed = "Status checks of 40 of 100 runs failed; still waiting: no connection"
    assert wait.hear(wait.ids[:40], ERROR) == [failed]
    assert wait.hear(wait.ids[40:], ERROR, after=10) == []
    assert wait.hear(wait.ids, ERROR, after=290) == [
        "100 of 100 runs have not ended yet",
        "100 of 100 runs could not be checked; still waiting: no connection",
    ]
    assert wait.hear(wait.ids[:99], "EXECUTING", after=10) == []
    assert wait.hear(wait.ids[99:], "EXECUTING") == ["All runs can be checked again"]
    assert wait.hear(wait.ids[:40], ERROR) == [failed]


def test_one_of_many_that_cannot_be_checked_is_a_warning_at_once_and_each_five_minutes(log, clock) -> None:
    wait = Wait(100, log, clock)
    failed = "Status checks of 1 of 100 runs failed; still waiting: no connection"
    assert wait.hear(["run_7"], ERROR) == [failed]
    assert wait.hear([], None, after=300) == [
        "100 of 100 runs have not ended yet",
        "1 of 100 runs could not be checked; still waiting: no connection",
    ]


@pytest.mark.parametrize(
    ("count", "line"),
    [
        (1, "Run run_0 is still EXECUTING after 5 minutes"),
        (2, "2 of 2 runs have not ended yet"),
        (100, "100 of 100 runs have not ended yet"),
    ],
)
def test_of_runs_that_go_on_there_is_one_line_each_five_minutes(log, clock, count: int, line: str) -> None:
    wait = Wait(count, log, clock)
    wait.hear(wait.ids, "EXECUTING")
    assert wait.hear([], None, after=299) == []
    assert wait.hear([], None, after=1) == [line]
    assert wait.hear([], None, after=299) == []


def test_of_many_that_wait_for_a_version_one_is_named(log, clock) -> None:
    wait = Wait(100, log, clock)
    [line] = wait.hear(wait.ids[5:], "PENDING_VERSION")
    assert line.startswith("Run run_5 is PENDING_VERSION, as are 94 others: no deployed version ")
    assert wait.hear(wait.ids, "PENDING_VERSION", after=5) == []


def test_the_progress_of_a_batch_is_logged_every_30_s_though_nothing_changes(log, clock) -> None:
    wait = Wait(3, log, clock, logs_progress=True)
    assert "3 runs" not in str(wait.hear(wait.ids[:2], "EXECUTING"))
    assert wait.hear([], None, after=29) == []
    assert wait.hear([], None, after=1) == ["0 of 3 runs have ended: 2 EXECUTING, 1 not checked yet"]
    assert wait.hear([], None, after=30) == ["0 of 3 runs have ended: 2 EXECUTING, 1 not checked yet"]
    wait.hear(wait.ids[:1], "COMPLETED")
    assert wait.hear(wait.ids[2:], "QUEUED", after=30)[-1] == (
        "1 of 3 runs have ended: 1 COMPLETED, 1 EXECUTING, 1 QUEUED"
    )
    assert wait.hear(wait.ids[1:], "FAILED", after=5)[-1] == "3 of 3 runs have ended: 1 COMPLETED, 2 FAILED"


def test_many_runs_of_a_batch_are_counted_once(log, clock) -> None:
    wait = Wait(100, log, clock, logs_progress=True)
    wait.hear(wait.ids, "EXECUTING")
    lines = wait.hear(wait.ids[:10], "COMPLETED", after=300)
    assert lines == ["10 of 100 runs have ended: 10 COMPLETED, 90 EXECUTING"]
