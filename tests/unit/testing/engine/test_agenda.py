"""What happens on the local server later, by a clock that the test sets."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from fake_clock import START, Clock

from airflow_provider_trigger.testing.engine.agenda import Agenda
from airflow_provider_trigger.testing.engine.server_time import ServerTime


@pytest.fixture
def time(clock: Clock) -> ServerTime:
    return ServerTime(clock=clock.time)


@pytest.fixture
def agenda(time: ServerTime) -> Agenda:
    return Agenda(time, lock=threading.RLock())


def test_each_action_is_done_once_in_order_and_at_its_time(
    agenda: Agenda, time: ServerTime, clock: Clock
) -> None:
    done: list[tuple[str, float]] = []

    def act(name: str) -> None:
        done.append((name, time.now() - START))

    for name, after in (("c", 3), ("a", 1), ("b", 1), ("d", 9)):
        agenda.add(START + after, partial(act, name))
    agenda.catch_up()
    assert done == []
    clock.now += 5
    for _ in range(2):
        agenda.catch_up()
        assert done == [("a", 1), ("b", 1), ("c", 3)]
    assert time.now() == START + 5


def test_what_an_action_adds_is_done_too_but_after_it(agenda: Agenda, time: ServerTime, clock: Clock) -> None:
    done: list[str] = []

    def act(name: str) -> None:
        if name == "first":
            agenda.add(START + 2, partial(act, "second"))
            agenda.catch_up()
        done.append(name)

    agenda.add(START + 1, partial(act, "first"))
    clock.now += 3
    agenda.catch_up()
    assert done == ["first", "second"]


def test_it_can_be_used_after_an_action_that_fails(agenda: Agenda, time: ServerTime, clock: Clock) -> None:
    def fail() -> None:
        raise ValueError("no")

    done: list[float] = []
    agenda.add(START, fail)
    agenda.add(START, lambda: done.append(time.now()))
    clock.now += 1
    with pytest.raises(ValueError, match="no"):
        agenda.catch_up()
    assert time.now() == START + 1
    agenda.catch_up()
    assert done == [START]
