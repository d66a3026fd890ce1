from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.runs import can_be_queried, query_runs

DATE = "Wed, 25 Nov 2026 09:10:00 GMT"
ROW = {
    "run_id": "run_1",
    "status": "Executing",
    "task_identifier": "resize",
    "attempt_count": 2,
    "triggered_at": "2026-11-25 09:00:00.123",
    "dequeued_at": "2026-11-25 09:00:01.000",
    "executed_at": "2026-11-25 09:00:02.000",
    "completed_at": None,
}

Answered = Callable[..., Response]


def one(response: Answered, **columns: Any) -> Run:
    answered = response(200, {"format": "json", "results": [ROW | columns]}, {"date": DATE})
    (run,) = query_runs(["run_1", "run_2"]).read(answered)
    return run


ODD = ["", " ", "'", "run_1'", "') OR (1=1", "run_1\\", '"', "`", "run_1\n", "\nrun_1", "run 1", "run_1;"]
ODD += ["run_1\0", "run_ä", "run_\uff11", "run_1/x", "run_1%27", "{run_1}", "-- ", "\ud800"]


def test_only_plain_ids_are_queried() -> None:
    assert all(map(can_be_queried, ["run_cmwxuvetb01e7l77dnmd08ou5", "RUN-1", "7", "_"]))
    assert not any(map(can_be_queried, ODD))
    for run_ids in ([], *(["run_1", run_id] for run_id in ODD)):
        with pytest.raises(ValueError, match="can be queried"):
            query_runs(run_ids)


# The query's words; the recordings show others.
WORDS = {
    "Pending version": "PENDING_VERSION",
    "Timed out": "TIMED_OUT",
    "INTERRUPTED": "INTERRUPTED",  # it has no other word
    "FROZEN": "WAITING",
    "Fast asleep": "Fast asleep",
}


@pytest.mark.parametrize("word", WORDS)
def test_each_word_of_the_query_is_put_into_todays(response: Answered, word: str) -> None:
    status = one(response, status=word).status
    assert (status, type(status)) == (WORDS[word], str)


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        # Before its first attempt, the query says that it has one.
        (
            {"status": "Queued", "attempt_count": 1, "dequeued_at": None, "executed_at": None},
            {"attempt_count": 0, "started_at": None},
        ),
        (
            {"status": "Completed", "completed_at": "2026-11-25 09:05:00"},
            {"is_success": True, "finished_at": datetime(2026, 11, 25, 9, 5, tzinfo=UTC)},
        ),
        # It may have been in its queue for long before it lacked a version.
        (
            {"status": "Pending version", "queued_at": "2026-11-25 09:00:00.120", "executed_at": None},
            {"waits_for_version": True, "updated_at": None},
        ),
        # Dequeued, but its attempt had not begun.
        ({"status": "Canceled", "executed_at": None}, {"is_terminated": False}),
        # Only the id and the status are needed.
        (
            dict.fromkeys(set(ROW) - {"run_id", "status"}),
            {"task_identifier": "", "attempt_count": 0, "created_at": None, "age": 0},
        ),
    ],
)
def test_what_a_row_shows(response: Answered, columns: dict[str, Any], shown: dict[str, object]) -> None:
    run = one(response, **columns)
    assert {name: getattr(run, name) for name in shown} == shown
