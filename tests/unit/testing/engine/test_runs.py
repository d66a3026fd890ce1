"""A run's life, by a clock that the test sets."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from fake_clock import START, Clock
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.engine.states import ALIVE


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(START + seconds, UTC)


@pytest.mark.parametrize("status", ["EXECUTING", "DEQUEUED"])
def test_a_worker_acknowledges_after_its_delay(server: TriggerDevServer, clock: Clock, status: str) -> None:
    run = server.add_run(status, acknowledge_after=5)
    clock.now += 1
    run.cancel()
    assert (run.status, run.finished_at, run.updated_at) == ("CANCELED", None, at(1))
    assert not run.terminated
    clock.now += 4.999
    assert run.state.finished_at is None
    clock.now += 10
    assert (run.status, run.finished_at, run.updated_at) == ("CANCELED", at(6), at(6))
    assert run.terminated
    assert run.error == {"message": "Canceled by user"}


@pytest.mark.parametrize("acknowledge_after", [None, 61])
@pytest.mark.parametrize("completes", [True, False])
def test_a_cancel_is_enforced_if_no_worker_acknowledges_it(
    server: TriggerDevServer, clock: Clock, acknowledge_after: float | None, completes: bool
) -> None:
    run = server.add_run(acknowledge_after=acknowledge_after, completes_despite_cancel=completes)
    run.cancel()
    clock.now += 59
    assert not run.terminated
    clock.now += 2
    assert (run.status, run.finished_at, run.terminated) == ("CANCELED", at(60), True)


def test_a_run_completes_in_spite_of_the_cancel(server: TriggerDevServer, clock: Clock) -> None:
    parent = server.add_run(acknowledge_after=2, completes_despite_cancel=True)
    child = server.add_run("QUEUED", parent=parent)
    parent.cancel()
    assert parent.status == "CANCELED"
    clock.now += 3
    assert (parent.status, parent.finished_at, parent.output) == ("COMPLETED", at(2), {"done": True})
    assert parent.error == {"message": "Canceled by user"}
    assert child.status == "QUEUED"


def test_a_canceled_child_is_left_alone_by_its_parents_end(server: TriggerDevServer, clock: Clock) -> None:
    parent = server.add_run(acknowledge_after=1)
    child = server.add_run(parent=parent, acknowledge_after=3)
    parent.cancel()
    child.cancel()
    clock.now += 2
    assert (child.status, child.finished_at, child.terminated) == ("CANCELED", None, False)
    clock.now += 2
    assert (child.finished_at, child.terminated) == (at(3), True)


@pytest.mark.parametrize(
    ("status", "started", "steps", "attempts"),
    [
        ("QUEUED", None, ["EXECUTING"], [0, 1]),
        ("QUEUED", None, ["DEQUEUED", "EXECUTING", "FAILED"], [0, 0, 1, 1]),
        # The second attempt comes soon (it stays EXECUTING until then), or late (it is QUEUED until then).
        ("EXECUTING", None, ["EXECUTING", "COMPLETED"], [1, 2, 2]),
        ("EXECUTING", None, ["QUEUED", "EXECUTING", "FAILED"], [1, 1, 2, 2]),
        ("QUEUED", True, ["DEQUEUED", "EXECUTING", "WAITING", "EXECUTING"], [1, 1, 2, 2, 2]),
        ("WAITING", None, ["EXECUTING", "QUEUED", "EXECUTING"], [1, 1, 1, 2]),
    ],
)
def test_attempts_are_counted_from_their_start(
    server: TriggerDevServer,
    clock: Clock,
    status: str,
    started: bool | None,
    steps: list[str],
    attempts: list[int],
) -> None:
    run = server.add_run(status, started=started, then=list(enumerate(steps, start=1)))
    counted = [run.attempt_count]
    for _ in steps:
        clock.now += 1
        counted.append(run.attempt_count)
    assert counted == attempts


def test_a_child_that_completed_before_its_parent_is_not_canceled(
    server: TriggerDevServer, clock: Clock
) -> None:
    parent = server.add_run(acknowledge_after=5)
    child = server.add_run("EXECUTING", parent=parent, then=[(4, "COMPLETED")])
    late = server.add_run("EXECUTING", parent=parent, then=[(6, "COMPLETED")])
    parent.cancel()
    clock.now += 100
    assert parent.finished_at == at(5)
    assert (child.status, child.finished_at) == ("COMPLETED", at(4))
    assert late.status == "CANCELED"


def test_a_run_may_be_set(server: TriggerDevServer, clock: Clock) -> None:
    run = server.add_run(acknowledge_after=5)
    run.cancel()
    run.status = "FAILED"
    clock.now += 10
    assert (run.status, run.finished_at, run.terminated) == ("FAILED", at(0), True)
    run.finished_at = None
    assert (run.status, run.finished_at) == ("FAILED", None)


@pytest.mark.parametrize(
    ("status", "started", "shows"),
    [
        ("QUEUED", None, (False, False, 0)),
        ("QUEUED", True, (True, False, 1)),
        ("DEQUEUED", None, (True, False, 0)),
        ("EXECUTING", None, (True, False, 1)),
        ("COMPLETED", None, (True, True, 1)),
        ("EXPIRED", None, (False, True, 0)),
        ("CANCELED", None, (False, False, 0)),
        ("CANCELED", True, (True, True, 1)),
        ("SOMETHING_NEW", None, (True, False, 1)),
    ],
)
def test_new_runs_show_what_their_status_implies(
    server: TriggerDevServer, clock: Clock, status: str, started: bool | None, shows: tuple[bool, bool, int]
) -> None:
    state = server.add_run(status, started=started).state
    assert (state.started_at is not None, state.finished_at is not None, state.attempt_count) == shows


@given(
    status=st.sampled_from(ALIVE),
    acknowledge_after=st.one_of(st.none(), st.floats(0, 100)),
    completes=st.booleans(),
    reads=st.lists(st.floats(0, 40), max_size=8),
)
def test_reading_changes_nothing(
    status: str, acknowledge_after: float | None, completes: bool, reads: list[float]
) -> None:
    """However often it is read, a run ends as one that was not read."""
    ends = []
    for steps in (reads, [sum(reads)]):
        clock = Clock()
        begun = clock.now
        server = TriggerDevServer(clock=clock.time)
        parent = server.add_run(
            status, acknowledge_after=acknowledge_after, completes_despite_cancel=completes
        )
        child = server.add_run("QUEUED", parent=parent)
        parent.cancel()
        for step in steps:
            clock.now += step
            assert child.status in ("QUEUED", "CANCELED")
        clock.now = begun + sum(reads)
        ends.append((parent.state, child.state))
    assert ends[0] == ends[1]
