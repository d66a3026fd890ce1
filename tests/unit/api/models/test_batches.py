from __future__ import annotations

import pytest

from airflow_provider_trigger.api.models.batches import Batch

ANSWER = {"id": "batch_1", "status": "PENDING", "runCount": 3, "runs": ["run_1", "run_2"]}


def test_an_answer_is_read() -> None:
    assert Batch.from_answer(ANSWER) == Batch(
        id="batch_1", status="PENDING", run_count=3, run_ids=("run_1", "run_2")
    )


@pytest.mark.parametrize("name", list(ANSWER))
@pytest.mark.parametrize("value", [None, 4.5, {}, [7], ["run_1", ""]])
def test_without_each_part_it_is_not_a_batch(name: str, value: object) -> None:
    assert Batch.from_answer(ANSWER | {name: value}) is None
    assert Batch.from_answer({key: part for key, part in ANSWER.items() if key != name}) is None
