from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.endpoints.realtime import snapshot_run
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.api.models.runs import Run

DATE = "Wed, 25 Nov 2026 09:10:00 GMT"
ROW = {
    "id": "1",
    "friendlyId": "run_1",
    "status": "EXECUTING",
    "taskIdentifier": "resize",
    "createdAt": "2026-11-25T09:00:00.123",
    "updatedAt": "2026-11-25T09:00:02.000",
    "startedAt": "2026-11-25T09:00:01.000",
    "completedAt": None,
    "usageDurationMs": "0",
    "runTags": '{"a"}',
}
UP_TO_DATE = {"headers": {"control": "up-to-date"}}

Answered = Callable[..., Response]


def snapshot(response: Answered, **columns: Any) -> Run:
    message = {"key": '"public"."TaskRun"/"1"', "value": ROW | columns, "headers": {"operation": "insert"}}
    return snapshot_run("run_1").read(response(200, [message, UP_TO_DATE], {"date": DATE}))


def test_a_snapshot_is_a_get_that_costs_no_token_and_may_be_repeated() -> None:
    request = snapshot_run("run/1").request
    assert (request.method, request.path, request.json) == ("GET", "/realtime/v1/runs/run%2F1", None)
    assert dict(request.params) == {"offset": "-1", "skipColumns": "payload,output,metadata,error"}
    assert (request.repeatable, request.run_id, request.costs_token) == (True, "run/1", False)


def test_an_id_that_leaves_the_path_is_not_sent() -> None:
    with pytest.raises(errors.NotSentError):
        snapshot_run("..")


def test_a_row_is_a_run_without_contents(response: Answered) -> None:
    run = snapshot(response)
    assert (run.id, run.status, run.task_identifier, run.attempt_count) == ("run_1", "EXECUTING", "resize", 0)
    assert run.created_at == datetime(2026, 11, 25, 9, 0, 0, 123_000, tzinfo=UTC)
    assert run.updated_at == datetime(2026, 11, 25, 9, 0, 2, tzinfo=UTC)
    assert run.started_at == datetime(2026, 11, 25, 9, 0, 1, tzinfo=UTC)
    assert (run.finished_at, run.seen_at) == (None, datetime(2026, 11, 25, 9, 10, tzinfo=UTC))
    assert run.attributes == {"createdAt": ROW["createdAt"]}


@pytest.mark.parametrize(
    ("word", "todays"),
    [
        ("PENDING", "QUEUED"),
        ("WAITING_TO_RESUME", "WAITING"),
        ("COMPLETED_WITH_ERRORS", "FAILED"),
        ("COMPLETED_SUCCESSFULLY", "COMPLETED"),
        ("CANCELED", "CANCELED"),
        ("DREAMING", "DREAMING"),
    ],
)
def test_the_feeds_words_become_todays(response: Answered, word: str, todays: str) -> None:
    assert snapshot(response, status=word).status == todays


def test_a_run_that_ended_has_its_end(response: Answered) -> None:
    run = snapshot(response, status="COMPLETED_SUCCESSFULLY", completedAt="2026-11-25T09:05:00.000")
    assert (run.is_success, run.finished_at) == (True, datetime(2026, 11, 25, 9, 5, tzinfo=UTC))


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        {},
        {"value": ROW},
        [],
        [UP_TO_DATE],
        [ROW],
        ["run_1"],
        [{"value": None}],
        [{"value": {"friendlyId": "run_2", "status": "EXECUTING"}}],
        [{"value": {"friendlyId": "run_1", "status": None}}],
        [{"value": {"friendlyId": "run_1"}}],
    ],
)
def test_an_answer_of_another_form_is_unexpected(response: Answered, body: Any) -> None:
    with pytest.raises(errors.UnexpectedAnswerError, match=r"^GET /realtime/v1/runs/run_1 answered no run"):
        snapshot_run("run_1").read(response(200, body))


def test_realtime_can_be_off(response: Answered) -> None:
    with pytest.raises(errors.ServerError, match="answered 503"):
        snapshot_run("run_1").read(response(503, b"Network error occurred"))


def test_a_run_can_be_unknown(response: Answered) -> None:
    with pytest.raises(errors.NotFoundError):
        snapshot_run("run_1").read(response(404, {"error": "Not found"}))
