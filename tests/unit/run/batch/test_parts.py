"""How the items of a batch are divided into requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger.api.http import encode_json
from airflow_provider_trigger.run.batch.parts import Part, divide
from airflow_provider_trigger.run.request import TaskRequest


def requests(*sizes: int) -> dict[int, TaskRequest]:
    return {
        index: TaskRequest(task_identifier="t", payload="x" * size, options={})
        for index, size in enumerate(sizes)
    }


def indexes(*sizes: int) -> list[tuple[int, ...]]:
    return [part.indexes for part in divide(requests(*sizes))]


def test_a_request_has_20_items_and_500_kb_at_most() -> None:
    assert indexes() == []
    assert indexes(*[1] * 20) == [tuple(range(20))]
    assert indexes(*[1] * 41) == [tuple(range(20)), tuple(range(20, 40)), (40,)]
    assert indexes(200_000, 200_000, 200_000, 1) == [(0, 1), (2, 3)]


def of_size(*sizes: int) -> list[Part]:
    """Divide items of so many bytes of JSON, each with the comma after it."""
    [empty] = divide(requests(0))
    return list(divide(requests(*(size - len(encode_json(empty.items[0])) - 1 for size in sizes))))


@pytest.mark.parametrize(
    ("sizes", "divided"),
    [
        ([250_000, 250_000], [(0, 1)]),
        ([250_000, 250_001], [(0,), (1,)]),
        ([250_000] * 4, [(0, 1), (2, 3)]),
    ],
)
def test_a_request_is_filled_to_its_last_byte(sizes: list[int], divided: list[tuple[int, ...]]) -> None:
    assert [part.indexes for part in of_size(*sizes)] == divided


@pytest.mark.parametrize(("size", "is_alone"), [(500_000, False), (500_001, True)])
def test_an_item_of_a_whole_request_is_not_too_large_yet(size: int, is_alone: bool) -> None:
    [part] = of_size(size)
    assert part.is_alone == is_alone


def test_an_item_that_is_too_large_goes_alone() -> None:
    small, large, last = divide(requests(1, 500_000, 2))
    assert [part.is_alone for part in (small, large, last)] == [False, True, False]
    assert [part.indexes for part in (small, large, last)] == [(0,), (1,), (2,)]


@given(st.lists(st.sampled_from([0, 10, 30_000, 240_000, 499_900, 600_000]), max_size=60))
def test_each_item_is_in_one_part(sizes: list[int]) -> None:
    parts = list(divide(requests(*sizes)))
    assert sorted(index for part in parts for index in part.indexes) == list(range(len(sizes)))
    for part in parts:
        assert len(part.items) == len(part.indexes) <= 20
        size = len(encode_json({"items": part.items}))
        assert part.is_alone == (size > 500_100)
        assert not part.is_alone or len(part.items) == 1


def test_a_part_is_named_by_its_items() -> None:
    [part] = divide(requests(1, 1, 1))
    assert str(part) == "items 0 to 2"
    assert str(Part(indexes=(7,), requests=(next(iter(requests(1).values())),))) == "item 7"
    assert part.items[0] == {"task": "t", "payload": "x", "options": {}}
    [without] = divide({0: TaskRequest(task_identifier="t", payload=None, options={})})
    assert without.items == [{"task": "t", "options": {}}]
