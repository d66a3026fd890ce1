from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.endpoints.runs import (
    cancel_run,
    ended_run,
    list_newest_runs,
    list_runs_page,
    replay_run,
    reschedule_run,
    retrieve_run,
)
from airflow_provider_trigger.api.http import Call, Response
from airflow_provider_trigger.api.models.runs import ListedRun, RunPage

RUN = {"id": "run_1", "status": "QUEUED"}
LISTED = ListedRun(id="run_1", status="QUEUED", task_identifier="", attributes=RUN)
CALLS: tuple[Callable[[], Call[Any]], ...] = (
    lambda: cancel_run("run_1"),
    lambda: retrieve_run("run_1"),
    list_newest_runs,
    lambda: list_runs_page(created_from=None),
    lambda: replay_run("run_1"),
    lambda: reschedule_run("run_1", delay="1h"),
)


def failure(call: Call[Any], answered: Response) -> errors.TriggerDevError:
    with pytest.raises(errors.TriggerDevError) as raised:
        call.read(answered)
    return raised.value


def unexpected(call: Call[Any], answered: Response) -> str:
    error = failure(call, answered)
    assert type(error) is errors.UnexpectedAnswerError
    assert error.retryable
    return str(error)


# What is sent


def test_a_cancel_is_a_post_without_a_body_that_may_be_repeated() -> None:
    request = cancel_run("run_1").request
    assert (request.method, request.path) == ("POST", "/api/v2/runs/run_1/cancel")
    assert (dict(request.params), request.json, request.repeatable) == ({}, None, True)


def test_a_check_is_a_get_that_may_be_repeated() -> None:
    request = retrieve_run("run_1").request
    assert (request.method, request.path) == ("GET", "/api/v3/runs/run_1")
    assert (dict(request.params), request.json, request.repeatable) == ({}, None, True)


def test_a_list_to_try_the_server_is_a_get_that_may_be_repeated() -> None:
    request = list_newest_runs().request
    assert (request.method, request.path) == ("GET", "/api/v1/runs")
    assert (dict(request.params), request.json, request.repeatable) == ({"page[size]": "10"}, None, True)


@pytest.mark.parametrize(
    "call",
    [cancel_run, retrieve_run, replay_run, lambda run_id: reschedule_run(run_id, delay="1h")],
)
def test_an_id_is_one_segment_or_is_rejected(call: Callable[[str], Call[Any]]) -> None:
    assert "/runs/a%2F..%2Fb" in call("a/../b").request.path
    with pytest.raises(errors.NotSentError):
        call("..")


# Cancel


@pytest.mark.parametrize("status", [200, 202])
def test_a_cancel_is_acknowledged_by_the_runs_id(response, status: int) -> None:
    cancel_run("run_1").read(response(status, {"id": "run_1", "more": 1}))


@pytest.mark.parametrize("status", [200, 201, 204])
@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": "run_2"}, {"id": ["run_1"]}, {"ok": True}])
def test_another_object_does_not_acknowledge_a_cancel(response, status: int, body) -> None:
    text = unexpected(cancel_run("run_1"), response(status, body))
    assert text == f"POST /api/v2/runs/run_1/cancel answered {status} without the run's id"


@pytest.mark.parametrize("body", [b"", b"<html>Down for maintenance", b"[]", b'"run_1"', b"null"])
def test_a_page_does_not_acknowledge_a_cancel(response, body: bytes) -> None:
    assert "not a Trigger.dev server" in unexpected(cancel_run("run_1"), response(200, body))


def test_an_encoded_id_is_compared_as_it_was_given(response) -> None:
    cancel_run("run/1").read(response(200, {"id": "run/1"}))
    unexpected(cancel_run("run/1"), response(200, {"id": "run%2F1"}))


@pytest.mark.parametrize("status", [400, 409])
@pytest.mark.parametrize("text", ["Run is Already completed", "already canceled"])
def test_a_rejection_that_says_already_acknowledges_a_cancel(response, status: int, text: str) -> None:
    cancel_run("run_1").read(response(status, {"error": text}))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": "Invalid run id"}),
        (409, b"already"),
        (404, {"error": "already gone"}),
        (408, {"error": "already"}),
        (410, {"error": "already"}),
        (500, {"error": "already"}),
    ],
)
def test_no_other_rejection_acknowledges_a_cancel(response, status: int, body) -> None:
    assert isinstance(failure(cancel_run("run_1"), response(status, body)), errors.ResponseError)


# Check


def test_a_run_is_read_with_the_servers_clock(response) -> None:
    run = retrieve_run("run_1").read(response(200, RUN, {"date": "Wed, 25 Nov 2026 09:32:29 GMT"}))
    assert (run.id, run.status, run.attributes) == ("run_1", "QUEUED", RUN)
    assert run.seen_at == datetime(2026, 11, 25, 9, 32, 29, tzinfo=UTC)


def test_of_a_run_that_has_ended_an_older_answer_is_an_error(response) -> None:
    call = ended_run(retrieve_run("run_1"))
    assert call.request == retrieve_run("run_1").request
    assert call.read(response(200, RUN | {"status": "FAILED"})).status == "FAILED"
    with pytest.raises(errors.OutdatedAnswerError) as raised:
        call.read(response(200, RUN))
    assert raised.value.retryable
    assert str(raised.value) == ("GET /api/v3/runs/run_1 shows the run as QUEUED, although it has ended")


def test_a_run_with_a_byte_order_mark_is_read(response) -> None:
    body = b'\xef\xbb\xbf{"id": "run_1", "status": "QUEUED"}'
    assert retrieve_run("run_1").read(response(200, body)).status == "QUEUED"


@pytest.mark.parametrize("value", [None, "", 7, ["QUEUED"], {"name": "QUEUED"}])
@pytest.mark.parametrize("field", ["id", "status"])
def test_a_run_without_an_id_or_a_status_is_unexpected(response, field: str, value: object) -> None:
    text = unexpected(retrieve_run("run_1"), response(200, RUN | {field: value}))
    assert text == f"GET /api/v3/runs/run_1 answered a run without '{field}'"


@pytest.mark.parametrize(
    ("body", "field"), [({}, "id"), ({"id": "run_1"}, "status"), ({"status": "QUEUED"}, "id")]
)
def test_of_missing_fields_the_first_is_named(response, body, field: str) -> None:
    assert unexpected(retrieve_run("run_1"), response(200, body)).endswith(f"a run without '{field}'")


@pytest.mark.parametrize("run_id", ["run_2", "r" * 999])
def test_another_run_is_unexpected(response, run_id: str) -> None:
    text = unexpected(retrieve_run("run_1"), response(200, RUN | {"id": run_id}))
    assert text == f"GET /api/v3/runs/run_1 answered another run: '{run_id[:50]}'"


@pytest.mark.parametrize("body", [b"<html>", b"", b"null", b"[]"])
def test_what_is_not_an_object_is_unexpected(response, body: bytes) -> None:
    unexpected(retrieve_run("run_1"), response(200, body))


# List


def test_a_list_is_read(response) -> None:
    for runs in ([RUN], []):
        list_newest_runs().read(response(200, {"data": runs, "pagination": {}}))


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": {"0": RUN}}, {"runs": []}])
def test_another_products_json_is_unexpected(response, body) -> None:
    text = unexpected(list_newest_runs(), response(200, body))
    assert text == "GET /api/v1/runs answered JSON without a list of runs in 'data'"


def params(**arguments: Any) -> dict[str, str]:
    return dict(list_runs_page(**{"created_from": None} | arguments).request.params)


def test_a_page_is_a_get_that_may_be_repeated() -> None:
    request = list_runs_page(created_from=None).request
    assert (request.method, request.path, request.json) == ("GET", "/api/v1/runs", None)
    assert request.repeatable
    assert params() == {"page[size]": "100"}


def test_a_page_is_filtered() -> None:
    created_from = datetime(2026, 11, 25, 10, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=1)))
    assert params(
        tags=["a", " b:/%"],
        statuses=["QUEUED", "EXECUTING"],
        task_identifiers=["resize", "crop/x"],
        batch_id="batch_1",
        created_from=created_from,
        page_size=20,
        after="x=",
    ) == {
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


def test_a_time_without_a_zone_is_rejected() -> None:
    with pytest.raises(ValueError, match="created_from must have a time zone"):
        list_runs_page(created_from=datetime(2026, 11, 25))


@pytest.mark.parametrize(
    ("body", "page"),
    [
        ({"data": [], "pagination": {}}, RunPage(runs=[], next=None)),
        ({"data": [RUN], "pagination": {"next": "n"}}, RunPage(runs=[LISTED], next="n")),
        # It may be short or empty and still not be the last one.
        ({"data": [], "pagination": {"next": "n", "previous": "p"}}, RunPage(runs=[], next="n")),
        (
            {"data": [RUN, RUN | {"idempotencyKey": "a key"}], "pagination": {"next": ""}},
            RunPage(runs=[LISTED, replace(LISTED, attributes=RUN | {"idempotencyKey": "a key"})], next=None),
        ),
        ({"data": [RUN], "pagination": {"next": None}}, RunPage(runs=[LISTED], next=None)),
    ],
)
def test_a_page_is_read(response, body, page: RunPage) -> None:
    assert list_runs_page(created_from=None).read(response(200, body)) == page


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"pagination": {}}, "JSON without a list of runs in 'data'"),
        ({"data": {}, "pagination": {}}, "JSON without a list of runs in 'data'"),
        ({"data": [{}], "pagination": {}}, "a run without 'id'"),
        ({"data": ["run_1"], "pagination": {}}, "a run without 'id'"),
        ({"data": [{"id": ""}], "pagination": {}}, "a run without 'id'"),
        ({"data": [{"id": "run_1"}], "pagination": {}}, "a run without 'status'"),
        # Without it, more pages could be missed.
        ({"data": []}, "a list of runs without 'pagination'"),
        ({"data": [], "pagination": []}, "a list of runs without 'pagination'"),
    ],
)
def test_what_is_not_a_page_is_unexpected(response, body, what: str) -> None:
    text = unexpected(list_runs_page(created_from=None), response(200, body))
    assert text == f"GET /api/v1/runs answered {what}"


# Replay and reschedule


def test_a_replay_is_a_post_that_may_not_be_repeated() -> None:
    request = replay_run("run_1").request
    assert (request.method, request.path) == ("POST", "/api/v1/runs/run_1/replay")
    assert (request.json, request.repeatable) == (None, False)


def test_a_replay_returns_the_new_runs_id(response) -> None:
    assert replay_run("run_1").read(response(200, {"id": "run_2"})) == "run_2"


@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": ""}, {"id": 2}])
def test_a_replay_without_an_id_is_unexpected(response, body) -> None:
    text = unexpected(replay_run("run_1"), response(200, body))
    assert text == "POST /api/v1/runs/run_1/replay answered a run without an id"


def test_a_reschedule_is_a_post_of_the_delay_that_may_be_repeated() -> None:
    request = reschedule_run("run_1", delay="2h").request
    assert (request.method, request.path) == ("POST", "/api/v1/runs/run_1/reschedule")
    assert (request.json, request.repeatable) == ({"delay": "2h"}, True)


def test_a_rescheduled_run_is_read(response) -> None:
    call = reschedule_run("run_1", delay="2h")
    assert call.read(response(200, RUN | {"status": "DELAYED"})).status == "DELAYED"
    assert "answered another run: 'run_2'" in unexpected(call, response(200, RUN | {"id": "run_2"}))
    assert "answered a run without 'status'" in unexpected(call, response(200, {"id": "run_1"}))


# All of them


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, errors.RedirectError),
        (401, errors.AuthenticationError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (429, errors.RateLimitError),
        (503, errors.ServerError),
    ],
)
def test_an_error_status_is_an_error_that_names_the_request(
    response, call: Callable[[], Call[Any]], status: int, kind: type[errors.ResponseError]
) -> None:
    error = failure(call(), response(status, {"error": "Not found"}))
    assert type(error) is kind
    assert str(error).startswith(f"{call().request} answered {status}: ")


HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "date", "location", "x-request-id", "x-should-retry"]),
    st.sampled_from(["true", "false", "nan", "Wed, 25 Nov 2026 09:32:29 -0000"]) | st.text(max_size=20),
)
BODIES = [b'{"error": 1}', b'{"data": []}', b'{"id": "run_1", "status": "X"}', b'{"id": "run_1"}']
BODIES += [b'{"id": "run_1", "status": "CANCELED", "startedAt": "x"}']


@given(
    st.integers(100, 599),
    HEADERS,
    st.sampled_from(BODIES) | st.binary(max_size=50),
    st.sampled_from(CALLS),
)
def test_whatever_comes_back_is_read_or_is_one_of_our_errors(
    status: int, headers: dict[str, str], body: bytes, call: Callable[[], Call[Any]]
) -> None:
    try:
        result = call().read(Response(status=status, headers=headers, body=body))
    except errors.TriggerDevError as error:
        text = str(error)
    else:
        text = "a result"
        assert 200 <= status < 300 or result is None
    assert 0 < len(text) < 1000
