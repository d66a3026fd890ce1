"""A run's life, by a clock that the test sets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_clock import START, Clock

from airflow_provider_trigger.testing.environments import Environment
from airflow_provider_trigger.testing.runs import Run, new_run_id
from airflow_provider_trigger.testing.states import ALIVE, FINAL, new_state

ENVIRONMENT = Environment(name="prod", secret_key="tr_prod_local")


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(START + seconds, UTC)


def make_run(
    clock: Clock, status: str = "EXECUTING", *, started: bool | None = None, **arguments: Any
) -> Run:
    initial = new_state(status, at(clock.now - START), started=started)
    return Run(id=new_run_id(), environment=ENVIRONMENT, initial=initial, clock=clock, **arguments)


@pytest.mark.parametrize("status", ["EXECUTING", "DEQUEUED"])
def test_a_worker_acknowledges_after_its_delay(clock: Clock, status: str) -> None:
    run = make_run(clock, status, acknowledge_after=5)
    clock.now += 1
    run.cancel()
    assert (run.status, run.finished_at, run.updated_at, run.settled) == ("CANCELED", None, at(1), False)
    clock.now += 4.999
    assert run.finished_at is None
    clock.now += 10
    assert (run.status, run.finished_at, run.updated_at, run.settled) == ("CANCELED", at(6), at(6), True)
    assert run.error == {"message": "Canceled by user"}


@pytest.mark.parametrize("acknowledge_after", [None, 61])
@pytest.mark.parametrize("completes", [True, False])
def test_a_silent_worker_is_overruled(clock: Clock, acknowledge_after: float | None, completes: bool) -> None:
    run = make_run(clock, acknowledge_after=acknowledge_after, completes_despite_cancel=completes)
    run.cancel()
    clock.now += 59
    assert not run.settled
    clock.now += 2
    assert (run.status, run.finished_at, run.settled) == ("CANCELED", at(60), True)


def test_a_run_completes_in_spite_of_the_cancel(clock: Clock) -> None:
    parent = make_run(clock, acknowledge_after=2, completes_despite_cancel=True)
    child = make_run(clock, "QUEUED", parent=parent)
    parent.cancel()
    assert parent.status == "CANCELED"
    clock.now += 3
    assert (parent.status, parent.finished_at, parent.output) == ("COMPLETED", at(2), {"done": True})
    assert parent.error == {"message": "Canceled by user"}
    assert child.status == "QUEUED"


@pytest.mark.parametrize("status", ["QUEUED", "DELAYED", "PENDING_VERSION", "WAITING"])
def test_what_no_worker_holds_is_over_at_once_and_never_finished(clock: Clock, status: str) -> None:
    run = make_run(clock, status)
    had_started = run.started_at
    run.cancel()
    assert run.settled
    clock.now += 1000
    assert (run.status, run.finished_at, run.started_at) == ("CANCELED", None, had_started)


@pytest.mark.parametrize("status", FINAL)
def test_a_run_that_is_over_stays_as_it_is(clock: Clock, status: str) -> None:
    run = make_run(clock, status)
    before = run.state
    clock.now += 1
    run.cancel()
    clock.now += 100
    assert run.state is before
    assert run.settled
    assert run.cancel_requests == 1


@pytest.mark.parametrize("status", ALIVE)
def test_cancels_may_be_repeated(clock: Clock, status: str) -> None:
    run = make_run(clock, status, acknowledge_after=5)
    run.cancel()
    first = run.state
    clock.now += 3
    run.cancel()
    assert run.state is first
    clock.now += 3
    run.cancel()
    assert run.updated_at == (at(5) if status in ("EXECUTING", "DEQUEUED") else at(0))
    assert run.cancel_requests == 3


def test_children_follow_when_the_worker_has_acknowledged(clock: Clock) -> None:
    parent = make_run(clock, acknowledge_after=5)
    queued = make_run(clock, "QUEUED", parent=parent)
    over = make_run(clock, "COMPLETED", parent=parent)
    executing = make_run(clock, "EXECUTING", parent=parent, acknowledge_after=2)
    grandchild = make_run(clock, "QUEUED", parent=executing)
    parent.cancel()
    clock.now += 4
    assert (queued.status, executing.status) == ("QUEUED", "EXECUTING")
    clock.now += 2
    assert (queued.status, queued.finished_at) == ("CANCELED", at(5))
    assert (executing.status, executing.finished_at, executing.settled) == ("CANCELED", at(5), False)
    assert (over.status, grandchild.status) == ("COMPLETED", "QUEUED")
    clock.now += 2
    assert (grandchild.status, grandchild.finished_at) == ("CANCELED", at(7))
    assert (grandchild.depth, grandchild.root, queued.root) == (2, parent, parent)


def test_children_of_a_suspended_run_follow_at_once(clock: Clock) -> None:
    parent = make_run(clock, "WAITING")
    child = make_run(clock, "QUEUED", parent=parent)
    parent.cancel()
    assert (parent.finished_at, child.status, child.finished_at) == (None, "CANCELED", at(0))


def test_a_run_moves_on_by_itself_until_it_is_canceled(clock: Clock) -> None:
    run = make_run(clock, "QUEUED", acknowledge_after=1)
    run.schedule([(1, "EXECUTING"), (9, "COMPLETED")])
    assert run.status == "QUEUED"
    clock.now += 3
    assert (run.status, run.started_at) == ("EXECUTING", at(1))
    run.cancel()
    clock.now += 20
    assert (run.status, run.finished_at) == ("CANCELED", at(4))


def test_a_child_that_was_done_before_its_parent_is_not_canceled(clock: Clock) -> None:
    parent = make_run(clock, acknowledge_after=5)
    child = make_run(clock, "EXECUTING", parent=parent)
    child.schedule([(4, "COMPLETED")])
    late = make_run(clock, "EXECUTING", parent=parent)
    late.schedule([(6, "COMPLETED")])
    parent.cancel()
    clock.now += 100
    assert parent.finished_at == at(5)
    assert (child.status, child.finished_at) == ("COMPLETED", at(4))
    assert late.status == "CANCELED"


def test_a_run_may_be_set(clock: Clock) -> None:
    run = make_run(clock, acknowledge_after=5)
    run.cancel()
    run.status = "FAILED"
    clock.now += 10
    assert (run.status, run.finished_at, run.settled) == ("FAILED", at(0), True)
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
    clock: Clock, status: str, started: bool | None, shows: tuple[bool, bool, int]
) -> None:
    state = make_run(clock, status, started=started).state
    assert (state.started_at is not None, state.finished_at is not None, state.attempt_count) == shows


@given(
    status=st.sampled_from(ALIVE),
    acknowledge_after=st.one_of(st.none(), st.floats(0, 100)),
    completes=st.booleans(),
    looks=st.lists(st.floats(0, 40), max_size=8),
)
def test_looking_changes_nothing(
    status: str, acknowledge_after: float | None, completes: bool, looks: list[float]
) -> None:
    """However often somebody looks, a run ends as one that nobody looked at."""
    ends = []
    for steps in (looks, [sum(looks)]):
        clock = Clock()
        arguments = {"acknowledge_after": acknowledge_after, "completes_despite_cancel": completes}
        parent = make_run(clock, status, **arguments)
        child = make_run(clock, "QUEUED", parent=parent)
        parent.cancel()
        for step in steps:
            clock.now += step
            assert child.status in ("QUEUED", "CANCELED")
        clock.now = START + sum(looks)
        ends.append((parent.state, child.state))
    assert ends[0] == ends[1]


def test_ids_are_formed_like_the_real_ones_and_in_order() -> None:
    ids = [new_run_id() for _ in range(50)]
    assert ids == sorted(ids)
    assert {len(run_id) for run_id in ids} == {len("run_cmwvx3sob001kvu7dzqopahlk")}
