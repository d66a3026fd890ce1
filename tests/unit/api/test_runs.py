from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.models import ListedRun
from airflow_provider_trigger.api.runs import cancel_run, ended_run, list_runs_page, retrieve_run

RUN = {"id": "run_1", "status": "QUEUED"}
LISTED = ListedRun(id="run_1", status="QUEUED", task_identifier="", attributes=RUN)


@pytest.mark.parametrize(
    ("run_id", "status", "body"),
    [
        ("run_1", 202, {"id": "run_1", "more": 1}),
        ("run/1", 200, {"id": "run/1"}),
        ("run_1", 400, {"error": "Run is Already completed"}),
        ("run_1", 409, {"error": "already canceled"}),
    ],
)
def test_a_cancel_is_acknowledged_by_the_runs_id_or_that_it_was_already_over(
    response, run_id: str, status: int, body: dict[str, Any]
) -> None:
    cancel_run(run_id).read(response(status, body))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": "Invalid run id"}),
        (409, b"already"),
        (404, {"error": "already gone"}),
        (500, {"error": "already"}),
    ],
)
def test_no_other_rejection_acknowledges_a_cancel(response, status: int, body) -> None:
    with pytest.raises(errors.ResponseError):
        cancel_run("run_1").read(response(status, body))


def test_of_a_run_that_has_ended_an_older_answer_is_an_error(response) -> None:
    call = ended_run(retrieve_run("run_1"))
    assert call.request == retrieve_run("run_1").request
    assert call.read(response(200, RUN | {"status": "FAILED"})).status == "FAILED"
    with pytest.raises(errors.OutdatedAnswerError) as raised:
        call.read(response(200, RUN))
    assert raised.value.retryable
    assert str(raised.value) == ("GET /api/v3/runs/run_1 shows the run as QUEUED, although it has ended")


def test_a_page_is_filtered() -> None:
    created_from = datetime(2026, 11, 25, 10, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=1)))
    call = list_runs_page(
        tags=["a", " b:/%"],
        statuses=["QUEUED", "EXECUTING"],
        task_identifiers=["resize", "crop/x"],
        batch_id="batch_1",
        created_from=created_from,
        page_size=20,
        after="x=",
    )
    assert call.request.params == {
        "page[size]": "20",
        "filter[tag]": "a, b:/%",
        "filter[status]": "QUEUED,EXECUTING",
        "filter[taskIdentifier]": "resize,crop/x",
        "filter[batch]": "batch_1",
        "filter[createdAt][from]": "1795597200250",
        "page[after]": "x=",
    }


@pytest.mark.parametrize(
    ("what", "arguments"),
    [
        ("tag", {"tags": [""]}),
        ("tag", {"tags": ["a,b"]}),
        ("tag", {"tags": ["a", ","]}),
        ("task", {"task_identifiers": [""]}),
        ("batch", {"batch_id": ""}),
        ("batch", {"batch_id": "batch_1,batch_2"}),
    ],
)
def test_what_would_find_others_or_nothing_is_rejected(what: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"cannot be found by a {what} that is empty or has a comma"):
        list_runs_page(created_from=None, **arguments)
