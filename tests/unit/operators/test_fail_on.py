"""From how many failed runs on a task fails, and what may be given for it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from run_operator import batch_in_worker

from airflow_provider_trigger.operators.fail_on import is_failure


@pytest.mark.parametrize(
    ("fail_on", "count", "fewest"),
    [
        ("any", 20, 1),
        ("all", 20, 20),
        ("never", 20, None),
        (1, 20, 1),
        (3, 20, 3),
        (3, 2, 2),  # as many as there are
        (3, 0, None),
        ("10%", 20, 3),
        ("10%", 19, 2),
        ("10 %", 30, 4),
        ("0.1%", 1000, 2),
        ("99.9%", 20, 20),
        ("50%", 1, 1),
    ],
)
def test_a_task_fails_from_so_many_failed_runs_on(fail_on: Any, count: int, fewest: int | None) -> None:
    failing = [failed for failed in range(count + 1) if is_failure(fail_on, failed=failed, count=count)]
    assert failing == ([] if fewest is None else list(range(fewest, count + 1)))


@pytest.mark.parametrize(
    "given",
    [
        0,
        True,
        1.5,
        math.nan,
        "3",
        "",
        "%",
        "0%",
        "100%",
        "-1%",
        "1e1%",
        None,
        ["any"],
    ],
)
def test_anything_else_is_an_error_when_the_dag_is_parsed(given: Any) -> None:
    with pytest.raises(
        ValueError, match=r"fail_on must be 'any', 'all', 'never', a whole number of runs, 1 or"
    ):
        batch_in_worker(fail_on=given)


@pytest.mark.parametrize("fail_on", [1, "10%"])
def test_a_threshold_and_a_cancel_of_the_others_exclude_each_other(fail_on: Any) -> None:
    with pytest.raises(ValueError, match=f"cancel_others=True does not go with fail_on={fail_on!r}"):
        batch_in_worker(fail_on=fail_on, cancel_others=True)
