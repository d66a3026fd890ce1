from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.endpoints.tasks import NO_PAYLOAD, reset_idempotency_key, trigger_task
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models.runs import TriggeredRun

TRIGGER = trigger_task("resize", payload=1, options={})
RESET = reset_idempotency_key("key-1", task_identifier="resize")
UNKNOWN = "No runs found with idempotency key: key-1 and task: resize"


def unexpected(call: Call[Any], answered: Any) -> str:
    with pytest.raises(errors.UnexpectedAnswerError) as raised:
        call.read(answered)
    assert raised.value.retryable
    return str(raised.value)


# Trigger


def test_a_trigger_is_a_post_of_payload_and_options() -> None:
    options = {"tags": ["a"], "machine": "micro"}
    request = trigger_task("resize", payload={"n": 1}, options=options).request
    assert (request.method, request.path) == ("POST", "/api/v1/tasks/resize/trigger")
    assert request.json == {"payload": {"n": 1}, "options": options}
    assert (dict(request.params), request.url) == ({}, None)


@pytest.mark.parametrize("payload", [None, False, 0, "", [], {}])
def test_a_payload_that_is_empty_is_sent(payload: object) -> None:
    assert trigger_task("resize", payload=payload, options={}).request.json == {
        "payload": payload,
        "options": {},
    }


def test_no_payload_is_not_sent() -> None:
    assert trigger_task("resize", options={}).request.json == {"options": {}}
    assert trigger_task("resize", payload=NO_PAYLOAD, options={}).request.json == {"options": {}}


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_no_payload_stays_itself_when_it_is_copied(copied) -> None:
    assert copied(NO_PAYLOAD) is NO_PAYLOAD


def test_later_changes_of_the_options_are_not_sent() -> None:
    options = {"ttl": 1}
    call = trigger_task("resize", options=options)
    options["ttl"] = 2
    assert call.request.json == {"options": {"ttl": 1}}


@pytest.mark.parametrize(
    ("options", "repeatable"),
    [
        ({}, False),
        ({"idempotencyKey": "key-1"}, True),
        ({"idempotencyKey": ""}, False),
        ({"idempotencyKey": None}, False),
        ({"idempotency_key": "key-1"}, False),
    ],
)
def test_only_a_trigger_with_an_idempotency_key_may_be_repeated(options, repeatable: bool) -> None:
    assert trigger_task("resize", options=options).request.repeatable is repeatable


def test_a_task_identifier_is_one_segment_or_is_rejected() -> None:
    assert trigger_task("a/../b", options={}).request.path == "/api/v1/tasks/a%2F..%2Fb/trigger"
    with pytest.raises(errors.NotSentError, match=r"^'\.\.' cannot be the id of a task$"):
        trigger_task("..", options={})


@pytest.mark.parametrize(
    ("answer", "is_cached"),
    [
        ({"isCached": True}, True),
        ({"isCached": False}, False),
        ({}, False),
        ({"isCached": None}, False),
        ({"isCached": "true"}, False),
    ],
)
def test_a_triggered_run_is_read(response, answer: dict[str, Any], is_cached: bool) -> None:
    triggered = TRIGGER.read(response(200, {"id": "run_1"} | answer))
    assert triggered == TriggeredRun(id="run_1", is_cached=is_cached)


@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": ""}, {"id": 7}, {"isCached": True}])
def test_a_triggered_run_without_an_id_is_unexpected(response, body) -> None:
    text = unexpected(TRIGGER, response(200, body))
    assert text == "POST /api/v1/tasks/resize/trigger answered a run without an id"


# Reset of an idempotency key


def test_a_reset_is_a_post_of_the_task_that_may_be_repeated() -> None:
    request = RESET.request
    assert (request.method, request.path) == ("POST", "/api/v1/idempotencyKeys/key-1/reset")
    assert (request.json, request.repeatable) == ({"taskIdentifier": "resize"}, True)


def test_a_key_is_one_segment_or_is_rejected() -> None:
    call = reset_idempotency_key("a/b %\n", task_identifier="resize")
    assert call.request.path == "/api/v1/idempotencyKeys/a%2Fb%20%25%0A/reset"
    for key in ("..", ""):
        with pytest.raises(errors.NotSentError, match=r"cannot be an idempotency key$"):
            reset_idempotency_key(key, task_identifier="resize")


def test_a_reset_is_acknowledged_by_the_key(response) -> None:
    RESET.read(response(200, {"id": "key-1"}))


@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": "key-2"}])
def test_another_answer_does_not_acknowledge_a_reset(response, body) -> None:
    text = unexpected(RESET, response(200, body))
    assert text == "POST /api/v1/idempotencyKeys/key-1/reset answered 200 without the idempotency key"


def test_a_key_that_no_run_has_is_no_error(response) -> None:
    RESET.read(response(404, {"error": UNKNOWN}))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b"<html>Not Found", errors.NotTriggerDevError),
        (404, {"error": "Not Found"}, errors.NotTriggerDevError),
        (404, {"error": "Not found"}, errors.NotFoundError),
        (404, {"error": None}, errors.NotTriggerDevError),
        (404, {"error": [UNKNOWN]}, errors.NotTriggerDevError),
        (404, {"message": UNKNOWN}, errors.NotTriggerDevError),
        (404, UNKNOWN.encode(), errors.NotTriggerDevError),
        (400, {"error": UNKNOWN}, errors.ResponseError),
        (500, {"error": UNKNOWN}, errors.ServerError),
    ],
)
def test_any_other_rejection_of_a_reset_is_an_error(
    response, status: int, body, kind: type[errors.ResponseError]
) -> None:
    with pytest.raises(errors.ResponseError) as raised:
        RESET.read(response(status, body))
    assert type(raised.value) is kind
    assert str(raised.value).startswith(f"POST /api/v1/idempotencyKeys/key-1/reset answered {status}: ")
