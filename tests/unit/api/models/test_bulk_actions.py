from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api.models.bulk_actions import BulkAction

COUNTS = {"total": 10, "success": 4, "failure": 3}


def test_an_answer_is_read() -> None:
    action = BulkAction.from_answer({"id": "bulk_1", "status": "PENDING", "counts": COUNTS})
    assert action == BulkAction(status="PENDING", success=4, failure=3)
    assert action.done == 7


@pytest.mark.parametrize("name", ["success", "failure"])
@pytest.mark.parametrize("value", [None, "4", 4.5, [4]])
def test_without_each_count_it_is_not_a_bulk_action(name: str, value) -> None:
    answer = {"status": "PENDING", "counts": COUNTS | {name: value}}
    assert BulkAction.from_answer(answer) is None


@pytest.mark.parametrize("name", ["success", "failure"])
def test_a_missing_count_is_not_zero(name: str) -> None:
    counts = {key: value for key, value in COUNTS.items() if key != name}
    assert BulkAction.from_answer({"status": "PENDING", "counts": counts}) is None


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"status": "PENDING"},
        {"counts": COUNTS},
        {"status": None, "counts": COUNTS},
        {"status": "PENDING", "counts": None},
        {"status": "PENDING", "counts": [1, 2, 3]},
    ],
)
def test_without_status_or_counts_it_is_not_a_bulk_action(answer: dict[str, Any]) -> None:
    assert BulkAction.from_answer(answer) is None
