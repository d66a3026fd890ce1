"""Which failures are worth repeating, and how often."""

from __future__ import annotations

import math

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.http import Request, Response
from airflow_provider_trigger.api.retry import (
    Failure,
    may_pass,
    shows_that_server_works,
    tries_allowed,
)
from airflow_provider_trigger.api.runs import retrieve_run
from airflow_provider_trigger.api.server_advice import should_retry

GET = retrieve_run("run_1").request
ONCE = Request(method="POST", path="/api/v1/tasks/t/trigger", repeatable=False)


def error_of(answered: Response) -> errors.TriggerDevError:
    with pytest.raises(errors.TriggerDevError) as raised:
        retrieve_run("run_1").read(answered)
    return raised.value


def tries(
    answered: Response | errors.TriggerDevError, *, request: Request = GET, has_worked: bool = False
) -> float:
    if isinstance(answered, Response):
        failure = Failure(
            request, error_of(answered), should_retry=should_retry(answered), has_worked=has_worked
        )
    else:
        failure = Failure(request, answered, should_retry=None, has_worked=has_worked)
    return tries_allowed(failure)


TRIES: dict[float, tuple[int, ...]] = {
    1: (301, 400, 403, 404, 405, 410, 422, 499),
    2: (401,),
    6: (500,),
    math.inf: (408, 409, 425, 429, 501, 502, 503, 504, 599),
}


@pytest.mark.parametrize(
    ("status", "allowed"), [(status, tries) for tries, statuses in TRIES.items() for status in statuses]
)
def test_how_often_each_status_is_tried(response, status: int, allowed: float) -> None:
    assert may_pass(status) is (allowed > 1 and status != 401)
    answered = response(status, {"error": "Not found"})
    assert tries(answered) == allowed
    # After the server has worked, a redirect is one of a gateway in front of it.
    assert tries(answered, has_worked=True) == (math.inf if status == 301 else allowed)


@pytest.mark.parametrize(
    ("status", "body", "at_first", "after_success"),
    [
        (200, b"<html>", 6, math.inf),
        (200, {"id": "run_2", "status": "QUEUED"}, 6, math.inf),
        (300, b"", 1, math.inf),
        (302, b"", 1, math.inf),
        (399, b"", 1, math.inf),
        (400, b"<html>", 1, 1),
        (404, b"<html>", 1, math.inf),
        (409, b"<html>", 1, math.inf),
        (501, b"<html>", 1, math.inf),
    ],
)
def test_an_answer_that_is_not_trigger_devs_is_an_outage_if_the_server_has_worked(
    response, status: int, body, at_first: float, after_success: float
) -> None:
    answered = response(status, body)
    assert tries(answered) == at_first
    assert tries(answered, has_worked=True) == after_success


@pytest.mark.parametrize(
    ("status", "body", "allowed"),
    [
        (200, b"<html>", 6),
        (302, b"", 4),
        (401, {"error": "no"}, 4),
        (404, {"error": "Not found"}, 4),
        (404, b"<html>", 4),
        (500, {"error": "no"}, 6),
        (503, {"error": "no"}, math.inf),
    ],
)
def test_after_a_should_retry_of_the_server_there_are_at_least_four_tries(
    response, status: int, body, allowed: float
) -> None:
    assert tries(response(status, body, {"x-should-retry": "TRUE"})) == allowed


@pytest.mark.parametrize("has_worked", [True, False])
@pytest.mark.parametrize("status", [200, 302, 404, 408, 429, 500, 503])
def test_a_server_that_forbids_another_try_gets_none(response, status: int, has_worked: bool) -> None:
    answered = response(status, b"<html>", {"x-should-retry": "false"})
    assert tries(answered, has_worked=has_worked) == 1


@pytest.mark.parametrize("has_worked", [True, False])
@pytest.mark.parametrize(
    ("error", "allowed"),
    [
        (errors.TransportError("refused"), math.inf),
        (errors.TransportError("the URL is not valid", retryable=False), 1),
        (errors.TLSError("handshake"), math.inf),
        (errors.TLSError("expired", retryable=False), 1),
        (errors.UnexpectedAnswerError("too large", retryable=False), 1),
        (errors.OutdatedAnswerError("shows the run as QUEUED"), 6),
        (errors.NotSentError("stopped", retryable=True), 1),
        (errors.TriggerDevError("something else", retryable=True), 1),
    ],
)
def test_how_often_a_request_without_an_answer_is_tried(
    error: errors.TriggerDevError, allowed: float, has_worked: bool
) -> None:
    assert tries(error, has_worked=has_worked) == allowed


@pytest.mark.parametrize("has_worked", [True, False])
@pytest.mark.parametrize("status", [200, 302, 400, 402, 404, 408, 409, 428, 430, 500, 503])
def test_a_request_that_must_not_be_sent_twice_is_not(response, status: int, has_worked: bool) -> None:
    asked_to = response(status, b"<html>", {"x-should-retry": "true"})
    assert tries(asked_to, request=ONCE, has_worked=has_worked) == 1
    assert tries(errors.TransportError("lost"), request=ONCE, has_worked=has_worked) == 1


def test_a_request_rejected_with_401_or_429_had_no_effect_so_any_may_follow_it(response) -> None:
    rejected = response(401, {"error": "Invalid API key"})
    for has_worked in (True, False):
        assert tries(rejected, request=ONCE, has_worked=has_worked) == 2
    # Another call got it twice.
    assert tries_allowed(Failure(request=GET, error=error_of(rejected), is_confirmed=True)) == 1
    assert tries(response(429, {"error": "no"}), request=ONCE) == math.inf
    assert tries(response(429, {"error": "no"}, {"x-should-retry": "false"}), request=ONCE) == 1


WORKS = {400: True, 401: None, 403: None, 404: True, 408: False, 409: True, 422: True, 425: False}
WORKS |= {429: None, 499: True, 500: False, 503: False}


def test_what_a_request_ended_with_shows_of_the_server(response) -> None:
    shown = {
        status: shows_that_server_works(error_of(response(status, {"error": "Not found"})))
        for status in WORKS
    }
    assert shown == WORKS
    for page in (response(200, b"<html>"), response(302), response(404, b"<html>")):
        assert shows_that_server_works(error_of(page)) is False
    assert shows_that_server_works(errors.TransportError("lost")) is False
    assert shows_that_server_works(errors.OutdatedAnswerError("shows the run as QUEUED")) is True
    assert shows_that_server_works(None) is True
