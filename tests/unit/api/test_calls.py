"""What no recording shows of what calls send, and which answers are not Trigger.dev's."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.runs import (
    Cursor,
    RunEvent,
    batch_item,
    cancel_run,
    cancel_runs_in_bulk,
    ended_run,
    list_events,
    list_newest_runs,
    list_runs_page,
    query_runs,
    replay_run,
    reschedule_run,
    reset_idempotency_key,
    retrieve_batch,
    retrieve_run,
    trigger_batch,
    trigger_task,
)
from airflow_provider_trigger.api.tokens import complete_token, create_token, retrieve_token

RUN = {"id": "run_1", "status": "QUEUED"}
BATCH: dict[str, Any] = {"id": "batch_1", "status": "PENDING", "runCount": 3, "runs": ["run_1", "run_2"]}
KEY = {"idempotencyKey": "k"}
ITEM = batch_item("resize", payload=1, options=KEY)


# What calls send that no recording shows, and whether they may be sent twice.
SENT: list[tuple[Call[Any], str, Any, bool]] = [
    (cancel_run("run/1"), "POST /api/v2/runs/run%2F1/cancel", None, True),
    (retrieve_run("run/1"), "GET /api/v3/runs/run%2F1", None, True),
    (replay_run("run/1"), "POST /api/v1/runs/run%2F1/replay", None, False),
    (list_newest_runs(), "GET /api/v1/runs", None, True),
    (
        trigger_batch([ITEM, batch_item("t", options={})]),
        "POST /api/v2/tasks/batch",
        {"items": [ITEM, {"task": "t", "options": {}}]},
        False,
    ),
    (
        cancel_runs_in_bulk(tag="a:b", name="n"),
        "POST /api/v1/bulk-actions",
        {"action": "cancel", "filter": {"tag": "a:b"}, "name": "n"},
        False,
    ),
]


def test_what_a_call_sends_and_whether_it_may_be_sent_twice() -> None:
    for call, target, json, repeatable in SENT:
        request = call.request
        assert (str(request), request.json, request.repeatable) == (target, json, repeatable)
        assert request.run_id == ("run/1" if "run%2F1" in target else None)


@pytest.mark.parametrize("key", ["", None])
def test_a_key_that_is_empty_is_none(key: str | None) -> None:
    options = {"idempotencyKey": key}
    assert not trigger_task("t", options=options).request.repeatable
    assert not trigger_batch([ITEM, batch_item("t", options=options)]).request.repeatable


# What comes back


@pytest.mark.parametrize("start", ["", "9" * 40, "9" * 5000, "soon", None])
def test_a_line_of_a_log_of_which_little_is_valid_is_no_failure(response, start: str | None) -> None:
    odd: dict[str, Any] = {"message": 1, "level": None, "startTime": start}
    [event] = list_events("run_1").read(response(200, {"events": [odd]}))
    assert event == RunEvent(message="", level="", started_at=None)


def without(answer: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != name}


LIST = list_runs_page(created_from=None)
NO_IDS: list[Any] = [{}, {"id": None}, {"id": ""}, {"id": 7}]
# Of each call, answers with a success status, and what is said of them.
UNEXPECTED: list[tuple[Call[Any], list[Any], str]] = [
    (cancel_run("run_1"), [*NO_IDS, {"id": "run_2"}, {"ok": True}], "200 without the run's id"),
    (cancel_run("run_1"), [b"<html>"], "200 without valid JSON"),
    (retrieve_run("run_1"), [{}, RUN | {"id": 7}], "a run without 'id'"),
    (retrieve_run("run_1"), [RUN | {"status": it} for it in (None, "", ["QUEUED"])], "a run without 'status"),
    (retrieve_run("run_1"), [RUN | {"id": "r" * 999}], f"another run: '{'r' * 50}'"),
    (reschedule_run("run_1", delay="1h"), [RUN | {"id": "run_2"}], "another run: 'run_2'"),
    (replay_run("run_1"), NO_IDS, "a run without an id"),
    (trigger_task("t", options={}), [*NO_IDS, {"isCached": True}], "a run without an id"),
    (reset_idempotency_key("k", task_identifier="t"), [{}, {"id": "l"}], "200 without the idempotency key"),
    (LIST, [{}, {"data": None}, {"data": {"0": RUN}}], "JSON without a list of runs in 'data'"),
    (LIST, [{"data": [it], "pagination": {}} for it in ({}, "run_1", {"id": ""})], "a run without 'id'"),
    # Without it, more pages could be missed.
    (LIST, [{"data": []}, {"data": [], "pagination": []}], "a list of runs without 'pagination'"),
    (query_runs(["run_1"]), [{}, {"results": None}, {"results": {}}], "JSON without a list of 'results'"),
    (query_runs(["run_1"]), [{"results": [None]}, {"results": [{}]}], "a run without 'run_id' or 'status'"),
    (query_runs(["run_1"]), [{"results": [{"run_id": "run_3", "status": "Queued"}]}], "other runs"),
    (trigger_batch([ITEM]), NO_IDS, "a batch without an id"),
    (
        retrieve_batch("batch_1"),
        [{}, BATCH | {"id": "batch_2"}, *(BATCH | {name: it} for name in BATCH for it in (None, [7], 4.5))],
        "something that is not this batch",
    ),
    (cancel_runs_in_bulk(["run_1"], name="n"), NO_IDS, "a bulk action without an id"),
    (create_token({}), [{"id": "waitpoint_1"}], "a token without its 'url'"),
    (
        retrieve_token("waitpoint_1"),
        [{"id": "waitpoint_1"}, {"id": "waitpoint_2", "status": "WAITING"}],
        "something that is not this token",
    ),
    (complete_token("waitpoint_1", 1), [{}], "no success"),
]


@pytest.mark.parametrize(
    ("call", "bodies", "text"), UNEXPECTED, ids=[f"{call.request}: {text}" for call, _, text in UNEXPECTED]
)
def test_a_foreign_success_is_unexpected(response, call: Call[Any], bodies: list[Any], text: str) -> None:
    for body in bodies:
        with pytest.raises(errors.UnexpectedAnswerError) as raised:
            call.read(response(200, body))
        assert str(raised.value).startswith(f"{call.request} answered {text}"), body
        assert raised.value.retryable


BODIES = [b'{"error": 1}', b'{"data": []}', b'{"id": "run_1", "status": "X"}', b'{"id": "run_1"}']
BODIES += [b'{"id": "run_1", "status": "CANCELED", "startedAt": "x"}']


# Runs


@pytest.mark.parametrize(
    ("run_id", "status", "body"),
    [
        ("run_1", 202, {"id": "run_1", "more": 1}),
        ("run/1", 200, {"id": "run/1"}),
        ("run_1", 400, {"error": "Run is Already completed"}),
        ("run_1", 409, {"error": "already canceled"}),
    ],
)
def test_what_acknowledges_a_cancel(response, run_id: str, status: int, body: dict[str, Any]) -> None:
    cancel_run(run_id).read(response(status, body))


def test_of_a_run_that_has_ended_an_older_answer_is_an_error(response) -> None:
    call = ended_run(retrieve_run("run_1"))
    assert call.request == retrieve_run("run_1").request
    assert call.read(response(200, RUN | {"status": "FAILED"})).status == "FAILED"
    with pytest.raises(errors.OutdatedAnswerError) as raised:
        call.read(response(200, RUN))
    assert raised.value.retryable
    assert str(raised.value) == ("GET /api/v3/runs/run_1 shows the run as QUEUED, although it has ended")


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


# Keys


RESET = reset_idempotency_key("key-1", task_identifier="resize")
UNKNOWN = "No runs found with idempotency key: key-1 and task: resize"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b"<html>Not Found", errors.NotTriggerDevError),
        (404, {"error": "Not Found"}, errors.NotTriggerDevError),
        (404, {"error": "Not found"}, errors.NotFoundError),
        (400, {"error": UNKNOWN}, errors.ResponseError),
        (500, {"error": UNKNOWN}, errors.ServerError),
    ],
)
def test_only_trigger_devs_404_of_a_key_that_no_run_has_is_no_error(
    response, status: int, body, kind: type[errors.ResponseError]
) -> None:
    RESET.read(response(404, {"error": UNKNOWN}))
    with pytest.raises(errors.ResponseError) as raised:
        RESET.read(response(status, body))
    assert type(raised.value) is kind
    assert str(raised.value).startswith(f"POST /api/v1/idempotencyKeys/key-1/reset answered {status}: ")


PAGES_WITHOUT_END = {
    "loop": lambda number: {"data": [RUN], "pagination": {"next": "AB"[number % 2]}},
    "empty": lambda number: {"data": [], "pagination": {"next": f"{number}"}},
    "same": lambda number: {"data": [RUN], "pagination": {"next": f"{number}"}},
    "others": lambda number: {"data": [RUN | {"id": f"run_{number}"}], "pagination": {"next": f"{number}"}},
}


@pytest.mark.parametrize("kind", PAGES_WITHOUT_END)
def test_a_list_without_an_end_is_an_error(kind: str, response) -> None:
    cursor, call = Cursor(), list_runs_page(created_from=None)
    pages = (call.read(response(200, PAGES_WITHOUT_END[kind](number))) for number in range(2000))
    with pytest.raises(errors.UnexpectedAnswerError, match="no last page"):
        all(cursor.advance(page, shows_new=kind != "others") for page in pages)


# Tokens


TOKEN_ID = "waitpoint_1"
URL = f"https://trigger.test/api/v1/waitpoints/tokens/{TOKEN_ID}/callback/5ec7e7"
CREATED = {"id": TOKEN_ID, "isCached": False, "url": URL}
SHOWN = {
    "id": TOKEN_ID,
    "url": URL,
    "status": "COMPLETED",
    "tags": [],
    "outputType": "application/super+json",
}


def test_neither_the_address_nor_the_data_is_shown(response) -> None:
    created = create_token({}).read(response(200, CREATED))
    token = retrieve_token(TOKEN_ID).read(
        response(200, SHOWN | {"output": '{"json":{"password":"hunter2"}}'})
    )
    assert (created.url, token.url, token.output) == (URL, URL, {"password": "hunter2"})
    for text in (repr(created), repr(token)):
        assert "5ec7e7" not in text
        assert "hunter2" not in text
