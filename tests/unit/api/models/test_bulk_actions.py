from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api.models.bulk_actions import BulkAction

COUNTS = {"total": 10, "success": 4, "failure": 3}


def test_an_answer_is_read() -> None:
    action = BulkAction.from_answer({"status": "PENDING", "counts": COUNTS}, bulk_id="bulk_1")
    assert action == BulkAction(id="bulk_1", status="PENDING", total=10, success=4, failure=3)
    assert action.done == 7


def test_the_id_is_the_one_that_was_requested() -> None:
    action = BulkAction.from_answer({"id": "x", "status": "PENDING", "counts": COUNTS}, bulk_id="bulk_1")
    assert action is not None
    assert action.id == "bulk_1"


def test_more_runs_may_be_handled_than_were_found() -> None:
    action = BulkAction(id="bulk_1", status="COMPLETED", total=0, success=2, failure=1)
    assert action.done == 3


@pytest.mark.parametrize("name", ["total", "success", "failure"])
@pytest.mark.parametrize("value", [None, "4", 4.5, [4]])
def test_without_each_count_it_is_not_a_bulk_action(name: str, value: Any) -> None:
    answer = {"status": "PENDING", "counts": COUNTS | {name: value}}
    assert BulkAction.from_answer(answer, bulk_id="bulk_1") is None


@pytest.mark.parametrize("name", ["total", "success", "failure", None])
def test_a_missing_count_is_not_zero(name: str | None) -> None:
    counts = {key: value for key, value in COUNTS.items() if key != name}
    action = BulkAction.from_answer({"status": "PENDING", "counts": counts}, bulk_id="bulk_1")
    assert (action is None) is (name is not None)


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
    assert BulkAction.from_answer(answer, bulk_id="bulk_1") is None
