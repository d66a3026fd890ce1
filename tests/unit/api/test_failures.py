"""Which failures are worth repeating, how often, and what they show of the server."""

from __future__ import annotations

import math

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.answers import should_retry
from airflow_provider_trigger.api.http import Request, Response
from airflow_provider_trigger.api.limits import shows_that_server_works, tries_allowed
from airflow_provider_trigger.api.runs import retrieve_run

GET = retrieve_run("run_1").request
ONCE = Request(method="POST", path="/api/v1/tasks/t/trigger", repeatable=False)
ANSWERED = {"error": "Not found"}


def error_of(answered: Response) -> errors.TriggerDevError:
    with pytest.raises(errors.TriggerDevError) as raised:
        retrieve_run("run_1").read(answered)
    return raised.value


def tries(answered: Response, *, request: Request = GET, has_worked: bool = False) -> float:
    error = error_of(answered)
    return tries_allowed(request, error, should_retry=should_retry(answered), has_worked=has_worked)


# How often a call is sent that gets this answer; the same once the server has worked, as a page is one of a
# gateway in front of it; and whether it shows that the server works, None for neither.
FAILURES = [
    *((status, ANSWERED, 1, 1, True) for status in (400, 404, 405, 410, 422, 499)),
    (401, ANSWERED, 2, 2, None),
    (403, ANSWERED, 1, 1, None),
    (429, ANSWERED, math.inf, math.inf, None),
    (409, ANSWERED, math.inf, math.inf, True),
    *((status, ANSWERED, math.inf, math.inf, False) for status in (408, 425, 501, 502, 503, 599)),
    (500, ANSWERED, 6, 6, False),
    (200, b"<html>", 6, math.inf, False),
    (200, {"id": "run_2", "status": "QUEUED"}, 6, math.inf, False),
    *((status, b"<html>", 1, math.inf, False) for status in (300, 301, 399, 404, 409, 501)),
    (400, b"<html>", 1, 1, False),
]


@pytest.mark.parametrize(("status", "body", "at_first", "later", "works"), FAILURES)
def test_how_often_an_answer_is_tried_and_what_it_shows_of_the_server(
    response, status: int, body, at_first: float, later: float, works: bool | None
) -> None:
    answered = response(status, body)
    assert tries(answered) == at_first
    assert tries(answered, has_worked=True) == later
    assert shows_that_server_works(error_of(answered)) is works
    is_rejected = status in (401, 429)  # then it had no effect
    assert tries(answered, request=ONCE) == (at_first if is_rejected else 1)
    forbidden = response(status, body, {"x-should-retry": "false"})
    assert tries(forbidden, has_worked=True) == (2 if status == 401 else 1)
    advised = response(status, body, {"x-should-retry": "TRUE"})
    assert tries(advised) == max(4, at_first)
    assert tries(advised, request=ONCE) == (max(4, at_first) if is_rejected else 1)


@pytest.mark.parametrize(
    ("error", "allowed", "works"),
    [
        (errors.TransportError("refused"), math.inf, False),
        (errors.TLSError("expired", retryable=False), 1, False),
        (errors.UnreadableAnswerError("too large", retryable=False), 1, False),
        (errors.OutdatedAnswerError("shows the run as QUEUED"), 6, True),
    ],
)
def test_how_often_a_request_without_an_answer_is_tried(
    error: errors.TriggerDevError, allowed: float, works: bool
) -> None:
    for has_worked in (True, False):
        assert tries_allowed(GET, error, has_worked=has_worked) == allowed
        assert tries_allowed(ONCE, error, has_worked=has_worked) == 1
    assert shows_that_server_works(error) is works


def test_a_401_that_another_call_has_confirmed_is_not_tried_again(response) -> None:
    assert tries_allowed(GET, error_of(response(401, ANSWERED)), is_confirmed=True) == 1
