from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.endpoints.query import (
    MAX_QUERIED_RUNS,
    can_be_queried,
    query_descendants,
    query_runs,
)
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.api.models.related_runs import ChildRun
from airflow_provider_trigger.api.models.runs import Run

DATE = "Wed, 25 Nov 2026 09:10:00 GMT"
SEEN_AT = datetime(2026, 11, 25, 9, 10, tzinfo=UTC)
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


def answer(response: Answered, *rows: Any) -> list[Run]:
    answered = response(200, {"format": "json", "results": list(rows)}, {"date": DATE})
    return query_runs(["run_1", "run_2"]).read(answered)


def one(response: Answered, **columns: Any) -> Run:
    (run,) = answer(response, ROW | columns)
    return run


# What is sent


def test_a_query_names_each_run_once_for_all() -> None:
    request = query_runs(("run_1", "run_2")).request
    assert (request.method, request.path, dict(request.params)) == ("POST", "/api/v1/query", {})
    assert request.json == {
        "query": "SELECT run_id, status, task_identifier, attempt_count, triggered_at, dequeued_at, "
        "executed_at, completed_at FROM runs WHERE run_id IN ('run_1','run_2')",
        "scope": "environment",
        "period": "365d",
    }
    assert (request.repeatable, request.run_id) == (True, None)


def test_a_full_query_is_as_large_as_measured() -> None:
    body = query_runs([f"run_{number:025}" for number in range(MAX_QUERIED_RUNS)]).request.body()
    assert body is not None
    assert 150_000 < len(body) < 170_000


@pytest.mark.parametrize("run_id", ["run_cmwxuvetb01e7l77dnmd08ou5", "RUN-1", "7", "_"])
def test_a_plain_id_can_be_queried(run_id: str) -> None:
    assert can_be_queried(run_id)


ODD = ["", " ", "'", "run_1'", "') OR (1=1", "run_1\\", '"', "`", "run_1\n", "\nrun_1", "run 1", "run_1;"]
ODD += ["run_1\0", "run_ä", "run_\uff11", "run_1/x", "run_1%27", "{run_1}", "-- ", "\ud800"]


@pytest.mark.parametrize("run_id", ODD)
def test_any_other_id_is_never_queried(run_id: str) -> None:
    assert not can_be_queried(run_id)
    with pytest.raises(ValueError, match="can be queried"):
        query_runs(["run_1", run_id])


def test_no_run_cannot_be_queried() -> None:
    with pytest.raises(ValueError, match="can be queried"):
        query_runs([])


# What is read


def test_a_row_is_a_run_without_contents(response: Answered) -> None:
    run = one(response)
    assert (run.id, run.status, run.task_identifier, run.attempt_count) == ("run_1", "EXECUTING", "resize", 2)
    assert run.created_at == datetime(2026, 11, 25, 9, 0, 0, 123_000, tzinfo=UTC)
    assert run.started_at == datetime(2026, 11, 25, 9, 0, 1, tzinfo=UTC)
    assert (run.updated_at, run.finished_at, run.seen_at) == (None, None, SEEN_AT)
    assert run.age == pytest.approx(599.877)
    assert run.attributes == {"createdAt": ROW["triggered_at"]}


def test_each_row_is_read_and_a_run_that_is_not_found_is_missing(response: Answered) -> None:
    runs = answer(response, ROW | {"run_id": "run_2", "status": "Timed out"}, ROW)
    assert [(run.id, run.status) for run in runs] == [("run_2", "TIMED_OUT"), ("run_1", "EXECUTING")]
    assert answer(response) == []


def test_before_its_first_attempt_a_run_has_none(response: Answered) -> None:
    run = one(response, status="Queued", attempt_count=1, dequeued_at=None, executed_at=None)
    assert (run.attempt_count, run.started_at) == (0, None)


def test_a_run_that_ended_has_its_end(response: Answered) -> None:
    run = one(response, status="Completed", completed_at="2026-11-25 09:05:00")
    assert (run.is_success, run.finished_at) == (True, datetime(2026, 11, 25, 9, 5, tzinfo=UTC))


def test_a_run_without_a_version_does_not_show_since_when(response: Answered) -> None:
    queued_at = "2026-11-25 09:00:00.120"  # it may have been in its queue for long before
    run = one(response, status="Pending version", queued_at=queued_at, dequeued_at=None, executed_at=None)
    assert run.waits_for_version
    assert run.updated_at is None


def test_a_run_that_a_worker_had_may_still_change_after_its_cancel(response: Answered) -> None:
    # Dequeued, but its attempt had not begun.
    assert not one(response, status="Canceled", executed_at=None).is_terminated
    assert one(response, status="Canceled", dequeued_at=None, executed_at=None).is_terminated


def test_an_unknown_word_means_an_alive_run(response: Answered) -> None:
    run = one(response, status="Fast asleep")
    assert (run.status, run.is_final) == ("Fast asleep", False)


@pytest.mark.parametrize("time", ["soon", "", 7, None, {}])
def test_times_that_cannot_be_read_are_unknown(response: Answered, time: Any) -> None:
    times = ("triggered_at", "dequeued_at", "executed_at", "completed_at")
    run = one(response, status="Pending version", **dict.fromkeys(times, time))
    assert {run.created_at, run.updated_at, run.started_at, run.finished_at} == {None}
    assert run.age == 0


def test_only_id_and_status_are_needed(response: Answered) -> None:
    (run,) = answer(response, {"run_id": "run_1", "status": "Delayed"})
    assert (run.status, run.task_identifier, run.attempt_count, run.created_at) == ("DELAYED", "", 0, None)


# Anything else


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        [],
        {},
        {"results": None},
        {"results": {"run_id": "run_1", "status": "Queued"}},
        {"results": ["run_1"]},
        {"results": [{"status": "Queued"}]},
        {"results": [{"run_id": "run_1"}]},
        {"results": [{"run_id": "run_1", "status": None}]},
        {"results": [{"run_id": "", "status": "Queued"}]},
        {"results": [{"run_id": "run_3", "status": "Queued"}]},
    ],
)
def test_an_answer_of_another_form_is_unexpected(response: Answered, body: Any) -> None:
    with pytest.raises(errors.UnexpectedAnswerError, match=r"^POST /api/v1/query answered"):
        query_runs(["run_1", "run_2"]).read(response(200, body))


@pytest.mark.parametrize(
    ("status", "message"),
    [(400, "connect ECONNREFUSED 127.0.0.1:58123"), (429, "You've exceeded your query concurrency of 3")],
)
def test_an_error_is_the_servers(response: Answered, status: int, message: str) -> None:
    with pytest.raises(errors.ResponseError, match=message) as raised:
        query_runs(["run_1"]).read(response(status, {"error": message}))
    assert raised.value.status == status


# Descendants


def found(response: Answered, *rows: Any) -> list[ChildRun]:
    return query_descendants(["run_1"]).read(response(200, {"format": "json", "results": list(rows)}))


def test_descendants_are_queried_by_their_roots() -> None:
    request = query_descendants(["run_1", "run_2"]).request
    assert (request.method, request.path, request.repeatable) == ("POST", "/api/v1/query", True)
    assert request.json == {
        "query": "SELECT run_id, status, parent_run_id FROM runs WHERE root_run_id IN ('run_1','run_2')",
        "scope": "environment",
        "period": "365d",
    }


def test_descendants_have_a_parent_and_todays_word(response: Answered) -> None:
    rows = [
        {"run_id": "run_2", "status": "Pending version", "parent_run_id": "run_1"},
        {"run_id": "run_3", "status": "Canceled", "parent_run_id": "run_2"},
    ]
    assert found(response, *rows) == [
        ChildRun("run_2", "PENDING_VERSION", "run_1"),
        ChildRun("run_3", "CANCELED", "run_2"),
    ]
    assert found(response) == []


def test_a_row_without_a_parent_is_no_descendant(response: Answered) -> None:
    assert found(response, {"run_id": "run_2", "status": "Queued", "parent_run_id": None}) == []


@pytest.mark.parametrize("row", [None, {}, {"run_id": "run_2"}, {"status": "Queued"}])
def test_an_answer_without_ids_of_descendants_is_not_trigger_devs(response: Answered, row: Any) -> None:
    with pytest.raises(errors.UnexpectedAnswerError, match="without 'run_id' or 'status'"):
        found(response, row)


@pytest.mark.parametrize("roots", [[], ["run_1'"]])
def test_roots_that_cannot_be_queried_are_never_sent(roots: list[str]) -> None:
    with pytest.raises(ValueError, match="can be queried"):
        query_descendants(roots)
