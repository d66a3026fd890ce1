from __future__ import annotations

import math

import pytest

from airflow_provider_trigger.cancel.jobs import Queue


@pytest.fixture
def queue() -> Queue[str]:
    return Queue()


@pytest.mark.parametrize(
    ("items", "taken"),
    [
        # The most urgent comes first, and of one urgency the one that was put first.
        ([("c", 2, -math.inf), ("a", 1, -math.inf), ("d", 2, -math.inf), ("b", 1, -math.inf)], "abcd"),
        # Once ready, it does not matter since when.
        ([("b", 1, 20.0), ("c", 1, 10.0), ("a", 0, 20.0), ("d", 1, -math.inf)], "abcd"),
        # What is not ready holds up nothing that is less urgent.
        ([("later", 0, 20.1), ("a", 5, 19.0)], "a"),
    ],
)
def test_urgency_and_order_decide_among_what_is_ready(
    queue: Queue[str], items: list[tuple[str, int, float]], taken: str
) -> None:
    for item, urgency, at in items:
        queue.put(item, urgency=urgency, at=at)
    assert [queue.take(20.0) for _ in range(len(taken) + 1)] == [*taken, None]


def test_items_need_no_order_of_their_own() -> None:
    queue: Queue[object] = Queue()
    items = [object(), object(), object(), object()]
    for number, item in enumerate(items):
        queue.put(item, urgency=1, at=5.0 if number > 1 else -math.inf)
    assert [queue.take(5.0) for _ in items] == items


def test_the_next_time_is_the_earliest_of_what_is_not_ready(queue: Queue[str]) -> None:
    assert queue.next_at() == math.inf
    queue.put("b", urgency=0, at=20.0)
    queue.put("a", urgency=1, at=10.0)
    assert (queue.take(9.9), queue.next_at()) == (None, 10.0)
    assert (queue.take(10.0), queue.next_at()) == ("a", 20.0)
    assert (queue.take(20.0), queue.next_at()) == ("b", math.inf)


def test_less_urgent_items_than_wanted_stay(queue: Queue[str]) -> None:
    queue.put("a", urgency=3)
    assert queue.take(0.0, before=3) is None
    assert queue.take(0.0, before=4) == "a"


# One item that the others wait for


def test_the_others_wait_for_an_item_until_they_are_released(queue: Queue[str]) -> None:
    queue.put("other", urgency=0)
    queue.hold_for("first", urgency=1, at=10.0, until=999.0)
    assert (queue.is_held_for("first"), queue.is_held_for("other")) == (True, False)
    assert (queue.take(9.9), queue.next_at()) == (None, 10.0)
    assert queue.take(10.0) == "first"
    assert (queue.take(99.0), queue.next_at()) == (None, 999.0)
    queue.release()
    assert [queue.take(99.0) for _ in range(2)] == ["other", None]


def test_of_several_items_the_first_one_counts_and_may_come_again(queue: Queue[str]) -> None:
    queue.hold_for("first", urgency=1, at=10.0, until=999.0)
    queue.hold_for("second", urgency=1, at=5.0, until=999.0)
    queue.hold_for("third", urgency=1, at=30.0, until=999.0)
    assert queue.take(10.0) == "first"
    queue.hold_for("first", urgency=1, at=20.0, until=999.0)
    assert [queue.take(19.0), queue.take(20.0)] == [None, "first"]
    queue.release()
    assert [queue.take(20.0), queue.take(29.0), queue.take(30.0)] == ["second", None, "third"]


@pytest.mark.parametrize("taken_at", [10.0, 10.75, 99.0])
def test_the_others_do_not_wait_for_long(queue: Queue[str], taken_at: float) -> None:
    queue.hold_for("first", urgency=1, at=10.0, until=11.0)
    queue.put("other", urgency=0)
    assert queue.take(taken_at) == "first"  # before the others, also where it is late
    assert (queue.take(taken_at + 0.9), queue.next_at()) == (None, taken_at + 1)
    assert queue.take(taken_at + 1) == "other"
    assert not queue.is_held_for("first")
