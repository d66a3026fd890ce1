from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from airflow_provider_trigger.api.endpoints.realtime import snapshot_run
from airflow_provider_trigger.api.http import Response

ROW = {
    "id": "1",
    "friendlyId": "run_1",
    "status": "COMPLETED_SUCCESSFULLY",
    "taskIdentifier": "resize",
    "createdAt": "2026-11-25T09:00:00.123",
    "updatedAt": "2026-11-25T09:05:02.000",
    "startedAt": "2026-11-25T09:00:01.000",
    "completedAt": "2026-11-25T09:05:00.000",
    "usageDurationMs": "0",
    "runTags": '{"a"}',
}

Answered = Callable[..., Response]


def test_a_row_is_a_run_without_contents(response: Answered) -> None:
    """The recordings show the other statuses, and messages of the feed that are no row."""
    message = {"key": '"public"."TaskRun"/"1"', "value": ROW, "headers": {"operation": "insert"}}
    answered = response(200, [message], {"date": "Wed, 25 Nov 2026 09:10:00 GMT"})
    run = snapshot_run("run_1").read(answered)
    assert (run.id, run.status, run.task_identifier, run.attempt_count) == ("run_1", "COMPLETED", "resize", 0)
    assert run.updated_at == datetime(2026, 11, 25, 9, 5, 2, tzinfo=UTC)
    assert run.finished_at == datetime(2026, 11, 25, 9, 5, tzinfo=UTC)
    assert run.seen_at == datetime(2026, 11, 25, 9, 10, tzinfo=UTC)
    assert run.attributes == {"createdAt": ROW["createdAt"]}
