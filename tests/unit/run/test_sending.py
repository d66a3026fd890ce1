"""How items are divided into requests."""

from __future__ import annotations

import pytest

from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.sending import divide


@pytest.mark.parametrize(
    ("sizes", "divided"),
    [
        ([], []),
        ([50] * 41, [tuple(range(20)), tuple(range(20, 40)), (40,)]),
        ([250_000, 250_000], [(0, 1)]),
        ([250_000, 250_001], [(0,), (1,)]),
        ([250_000] * 4, [(0, 1), (2, 3)]),
        ([50, 600_000, 50, 50], [(0,), (1,), (2, 3)]),
    ],
)
def test_a_request_has_20_items_and_500_kb_at_most(sizes: list[int], divided: list[tuple[int, ...]]) -> None:
    empty = len('{"task":"t","payload":"","options":{}},')
    requests = {
        index: TaskRequest(task_identifier="t", payload="x" * (size - empty), options={})
        for index, size in enumerate(sizes)
    }
    assert [tuple(part) for part in divide(requests)] == divided
