from __future__ import annotations

import math

import pytest

from airflow_provider_trigger.cancel.jobs import Queue


@pytest.fixture
def queue() -> Queue[str]:
    return Queue()


def test_the_most_urgent_comes_first_and_of_one_urgency_the_oldest(queue: Queue[str]) -> None:
    for item, urgency in (("c", 2), ("a", 1), ("d", 2), ("b", 1)):
        queue.put(item, urgency=urgency)
    assert [queue.take(0.0) for _ in range(5)] == ["a", "b", "c", "d", None]


def test_items_need_no_order_of_their_own() -> None:
    queue: Queue[object] = Queue()
    items = [object(), object(), object(), object()]
    for number, item in enumerate(items):
        queue.put(item, urgency=1, at=5.0 if number > 1 else -math.inf)
    assert [queue.take(5.0) for _ in items] == items


def test_an_item_is_not_ready_before_its_time(queue: Queue[str]) -> None:
    queue.put("a", urgency=1, at=10.0)
    assert queue.take(9.9) is None
    assert queue.next_at() == 10.0
    assert queue.take(10.0) == "a"
    assert queue.take(10.0) is None


def test_a_ready_item_does_not_wait_for_a_more_urgent_one_that_is_not_ready(queue: Queue[str]) -> None:
    queue.put("later", urgency=0, at=10.0)
    queue.put("now", urgency=5)
    assert queue.take(9.0) == "now"
    assert queue.take(9.0) is None


def test_once_ready_only_urgency_and_order_count(queue: Queue[str]) -> None:
    queue.put("b", urgency=1, at=20.0)
    queue.put("c", urgency=1, at=10.0)
    queue.put("a", urgency=0, at=20.0)
    queue.put("d", urgency=1)
    assert [queue.take(20.0) for _ in range(5)] == ["a", "b", "c", "d", None]


def test_the_next_time_is_the_earliest_of_those_that_wait(queue: Queue[str]) -> None:
    assert queue.next_at() == math.inf
    queue.put("ready", urgency=0)
    queue.put("ready too", urgency=0)
    queue.take(0.0)
    assert queue.next_at() == math.inf
    queue.put("b", urgency=0, at=20.0)
    queue.put("a", urgency=1, at=10.0)
    assert queue.next_at() == 10.0
    queue.take(10.0)
    assert queue.next_at() == 20.0


def test_an_item_for_a_time_that_has_passed_is_ready(queue: Queue[str]) -> None:
    queue.put("a", urgency=0, at=1.0)
    assert queue.take(2.0) == "a"
    assert queue.next_at() == math.inf


# One item that the others wait for


def test_the_others_wait_for_an_item_until_they_are_released(queue: Queue[str]) -> None:
    queue.put("other", urgency=0)
    queue.hold_for("first", urgency=1, at=10.0, until=999.0)
    assert queue.is_held_for("first")
    assert not queue.is_held_for("other")
    assert queue.take(9.9) is None
    assert queue.next_at() == 10.0
    assert queue.take(10.0) == "first"
    assert queue.take(99.0) is None
    assert queue.next_at() == 999.0
    queue.release()
    assert [queue.take(99.0) for _ in range(2)] == ["other", None]


def test_an_item_that_was_not_taken_is_put_back(queue: Queue[str]) -> None:
    queue.hold_for("first", urgency=1, at=10.0, until=999.0)
    queue.put("other", urgency=0)
    queue.release()
    assert queue.take(9.0) == "other"
    assert queue.take(9.0) is None
    assert queue.take(10.0) == "first"
    queue.release()
    assert queue.take(99.0) is None


def test_of_several_items_the_first_one_counts_and_may_come_again(queue: Queue[str]) -> None:
    queue.hold_for("first", urgency=1, at=10.0, until=999.0)
    queue.hold_for("second", urgency=1, at=5.0, until=999.0)
    assert queue.take(10.0) == "first"
    queue.hold_for("first", urgency=1, at=20.0, until=999.0)
    assert queue.take(19.0) is None
    assert queue.take(20.0) == "first"
    queue.release()
    assert queue.take(20.0) == "second"


def test_a_further_item_comes_at_its_own_time(queue: Queue[str]) -> None:
    queue.hold_for("first", urgency=1, at=10.0, until=999.0)
    queue.hold_for("second", urgency=1, at=30.0, until=999.0)
    assert queue.take(10.0) == "first"
    queue.release()
    assert queue.take(29.0) is None
    assert queue.take(30.0) == "second"


@pytest.mark.parametrize("taken_at", [10.0, 10.75, 99.0])
def test_the_others_do_not_wait_for_long(queue: Queue[str], taken_at: float) -> None:
    queue.hold_for("first", urgency=1, at=10.0, until=11.0)
    queue.put("other", urgency=0)
    assert queue.take(taken_at) == "first"  # before the others, also where it is late
    assert queue.take(taken_at + 0.9) is None
    assert queue.next_at() == taken_at + 1
    assert queue.take(taken_at + 1) == "other"
    assert not queue.is_held_for("first")
