from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger.api import errors, retry
from airflow_provider_trigger.api.endpoints.runs import retrieve_run
from airflow_provider_trigger.api.http import Request, Response

NOW = 1_795_599_150.0
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
        return retry.tries_allowed(request, error_of(answered), answered, has_worked=has_worked)
    return retry.tries_allowed(request, answered, None, has_worked=has_worked)


def test_its_limits() -> None:
    assert math.inf == retry.UNLIMITED
    assert (retry.TRIES_AT_500, retry.TRIES_AT_UNEXPECTED) == (6, 6)
    assert (retry.TRIES_AT_SHOULD_RETRY, retry.TRIES_AT_401_AFTER_SUCCESS) == (4, 2)
    assert retry.MAX_WAIT == 60


STATUSES = [
    (301, 1),
    (400, 1),
    (401, 1),
    (403, 1),
    (404, 1),
    (405, 1),
    (408, math.inf),
    (409, math.inf),
    (410, 1),
    (422, 1),
    (425, math.inf),
    (429, math.inf),
    (499, 1),
    (500, 6),
    (501, math.inf),
    (502, math.inf),
    (503, math.inf),
    (504, math.inf),
    (599, math.inf),
]


@pytest.mark.parametrize(("status", "allowed"), STATUSES)
def test_how_often_each_status_is_tried(response: Any, status: int, allowed: float) -> None:
    assert retry.tries_by_status(status) == allowed
    assert tries(response(status, {"error": "Not found"})) == allowed


@pytest.mark.parametrize(("status", "allowed"), STATUSES)
def test_after_the_server_has_worked_only_what_a_gateway_may_send_is_tried_more_often(
    response: Any, status: int, allowed: float
) -> None:
    more_often = {301: math.inf, 401: 2}
    answered = response(status, {"error": "Not found"})
    assert tries(answered, has_worked=True) == more_often.get(status, allowed)


@pytest.mark.parametrize(
    ("status", "body", "at_first", "after_success"),
    [
        (200, b"<html>", 6, math.inf),
        (200, {"id": "run_2", "status": "QUEUED"}, 6, math.inf),
        (302, b"", 1, math.inf),
        (404, b"<html>", 1, math.inf),
        (404, {"error": "Resource not found"}, 1, 1),
        (401, {"error": "Invalid API key"}, 1, 2),
        (403, {"error": "no"}, 1, 1),
    ],
)
def test_an_answer_that_is_not_trigger_devs_is_an_outage_if_the_server_has_worked(
    response: Any, status: int, body: Any, at_first: float, after_success: float
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
    response: Any, status: int, body: Any, allowed: float
) -> None:
    assert tries(response(status, body, {"x-should-retry": "TRUE"})) == allowed


@pytest.mark.parametrize("has_worked", [True, False])
@pytest.mark.parametrize("status", [200, 302, 401, 404, 408, 429, 500, 503])
def test_a_server_that_forbids_another_try_gets_none(response: Any, status: int, has_worked: bool) -> None:
    answered = response(status, b"<html>", {"x-should-retry": "false"})
    assert tries(answered, has_worked=has_worked) == 1


@pytest.mark.parametrize(
    ("header", "says"),
    [("true", True), ("True", True), ("false", False), ("FALSE", False), ("", None), ("1", None)],
)
def test_what_the_server_says_of_another_try(response: Any, header: str, says: bool | None) -> None:
    assert retry.should_retry(response(503, b"", {"x-should-retry": header})) is says


def test_without_a_header_or_an_answer_the_server_says_nothing_of_another_try(response: Any) -> None:
    assert retry.should_retry(response(503)) is None
    assert retry.should_retry(None) is None


@pytest.mark.parametrize("has_worked", [True, False])
@pytest.mark.parametrize(
    ("error", "allowed"),
    [
        (errors.TransportError("refused"), math.inf),
        (errors.TransportError("the URL is not valid", retryable=False), 1),
        (errors.TLSError("handshake"), math.inf),
        (errors.TLSError("expired", retryable=False), 1),
        (errors.UnexpectedAnswerError("too large", retryable=False), 1),
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
def test_a_request_that_must_not_be_sent_twice_is_not(response: Any, status: int, has_worked: bool) -> None:
    asked_to = response(status, b"<html>", {"x-should-retry": "true"})
    assert tries(asked_to, request=ONCE, has_worked=has_worked) == 1
    assert tries(errors.TransportError("lost"), request=ONCE, has_worked=has_worked) == 1


def test_a_request_rejected_with_401_had_no_effect_so_it_may_follow_once_where_the_key_has_worked(
    response: Any,
) -> None:
    rejected = response(401, {"error": "Invalid API key"})
    assert tries(rejected, request=ONCE, has_worked=True) == 2
    assert tries(rejected, request=ONCE, has_worked=False) == 1


def test_a_request_rejected_with_429_had_no_effect_so_any_may_follow_it(response: Any) -> None:
    assert tries(response(429, {"error": "no"}), request=ONCE) == math.inf
    assert tries(response(429, {"error": "no"}, {"x-should-retry": "false"}), request=ONCE) == 1


# How long to wait


@pytest.mark.parametrize(
    ("attempt", "longest"),
    [(1, 0.5), (2, 1), (3, 2), (4, 4), (5, 8), (6, 16), (7, 30), (8, 30), (99, 30), (10**6, 30)],
)
def test_waits_double_up_to_half_a_minute(attempt: int, longest: float) -> None:
    assert retry.backoff(attempt, jitter=1) == longest
    assert retry.backoff(attempt, jitter=0.5) == longest * 0.75
    assert retry.backoff(attempt, jitter=0) == longest / 2


DATE = "Wed, 25 Nov 2026 09:32:30 GMT"  # NOW
LATER = "Wed, 25 Nov 2026 09:32:37 GMT"
RESET = {"x-ratelimit-reset": str(int(NOW * 1000) + 4000)}


@pytest.mark.parametrize(
    ("status", "headers", "body", "wait"),
    [
        (503, {}, {}, None),
        (503, {"retry-after": "3"}, {}, 3),
        (503, {"retry-after": "0.5"}, {}, 0.5),
        (503, {"retry-after": LATER}, {}, 7),
        (503, {"retry-after": LATER.replace("GMT", "-0000")}, {}, 7),
        # Four hours ahead of us: what it says is to be read by its own clock.
        (503, {"retry-after": "Wed, 25 Nov 2026 13:32:33 GMT", "date": DATE.replace("09", "13")}, {}, 3),
        (503, {"retry-after": DATE}, {}, None),
        (503, {"retry-after": "0"}, {}, None),
        (503, {"retry-after": "-3"}, {}, None),
        (503, {"retry-after": "soon"}, {}, None),
        (503, {"retry-after": "nan"}, {}, None),
        (503, {"retry-after": "inf"}, {}, None),
        (503, {"retry-after": "1 Jan 99999999999999999999 00:00 GMT"}, {}, None),
        (503, {"retry-after": "59.5"}, {}, 59.5),
        (503, {"retry-after": "61"}, {}, 60),
        (503, {"retry-after": "86400"}, {}, 60),
        (429, {"retry-after": "3"} | RESET, {"secondsUntilReset": 9}, 3),
        (429, {"retry-after": "soon"} | RESET, {"secondsUntilReset": 9}, 4),
        (429, RESET, {"secondsUntilReset": 9}, 4),
        (429, {"x-ratelimit-reset": str(int(NOW) + 5)}, {}, 5),
        (429, {"x-ratelimit-reset": str(int(NOW * 1000))}, {"secondsUntilReset": 9}, 9),
        (429, {"x-ratelimit-reset": str(int(NOW * 1000) - 1)}, {"secondsUntilReset": 9}, 9),
        (429, {"x-ratelimit-reset": "never"}, {"secondsUntilReset": "9"}, 9),
        (429, {}, {"secondsUntilReset": 9.5}, 9.5),
        (429, {}, {"secondsUntilReset": 99}, 60),
        (429, {}, {"secondsUntilReset": 0}, None),
        (429, {}, {"secondsUntilReset": -1}, None),
        (429, {}, {"secondsUntilReset": "soon"}, None),
        (429, {}, {"secondsUntilReset": None}, None),
        (429, {}, {"secondsUntilReset": 10**400}, None),
        (429, {}, {}, None),
        (429, {}, b"<html>", None),
        (429, {"x-ratelimit-reset": str(int(NOW * 1000) + 10**9)}, {}, 60),
        # Only a 429 says that it was the bucket.
        (428, RESET, {"secondsUntilReset": 9}, None),
        (503, RESET, {"secondsUntilReset": 9}, None),
    ],
)
def test_how_long_the_server_wants_us_to_wait(
    response: Any, status: int, headers: dict[str, str], body: Any, wait: float | None
) -> None:
    assert retry.server_wait(response(status, body, headers), now=NOW) == pytest.approx(wait)


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        # The largest number that is read as seconds, and the smallest one that is read as milliseconds.
        ("100000000000", 1e11 - 1e8 + 7),
        ("100000000001", 0.001 + 7),
        ("100000007001", 0.001 + 14),
        ("100000006999", 0.0 + 13.999),
        (None, None),
        ("", None),
        ("nan", None),
    ],
)
def test_a_reset_is_in_milliseconds_or_where_the_number_is_small_in_seconds(
    response: Any, reset: str | None, seconds: float | None
) -> None:
    headers = {} if reset is None else {"x-ratelimit-reset": reset}
    answered = response(200, b"", headers)
    assert retry.seconds_until_reset(answered, now=1e8 - 7) == pytest.approx(seconds)


@pytest.mark.parametrize("milliseconds", [0, -1, -10_000])
def test_a_reset_that_has_passed_is_none(response: Any, milliseconds: int) -> None:
    answered = response(200, b"", {"x-ratelimit-reset": str(int(NOW * 1000) + milliseconds)})
    assert retry.seconds_until_reset(answered, now=NOW) is None


def test_a_reset_may_be_further_away_than_any_wait(response: Any) -> None:
    answered = response(200, b"", {"x-ratelimit-reset": str(int(NOW * 1000) + 10**9)})
    assert retry.seconds_until_reset(answered, now=NOW) == pytest.approx(10**6)


@pytest.mark.parametrize("now", [NOW + 3600, NOW - 3600, NOW + 5.5, NOW - 5.5])
def test_a_reset_is_read_by_the_servers_clock_where_it_differs_from_ours(response: Any, now: float) -> None:
    answered = response(200, b"", RESET | {"date": DATE})
    assert retry.seconds_until_reset(answered, now=now) == pytest.approx(4)


@pytest.mark.parametrize("difference", [0.75, -0.75, 3.75, -5])
def test_a_reset_is_read_by_our_finer_clock_where_both_agree(response: Any, difference: float) -> None:
    answered = response(200, b"", RESET | {"date": DATE})
    assert retry.seconds_until_reset(answered, now=NOW + difference) == pytest.approx(4 - difference)


HEADERS = st.dictionaries(
    st.sampled_from(["date", "retry-after", "x-ratelimit-reset", "x-should-retry"]),
    st.sampled_from(["true", "false", "0", "nan", "inf", "1e999", "-1", "1795599159334"])
    | st.sampled_from(["Wed, 25 Nov 2026 09:32:29 -0000", "1 Jan 99999999999 00:00 +9999999999"])
    | st.text(max_size=20),
)
BODIES = [
    b"",
    b"<html>",
    b"{}",
    b'{"secondsUntilReset": 1e999}',
    b'{"secondsUntilReset": 1%s}' % (b"0" * 400),
]


@given(st.integers(100, 599), HEADERS, st.sampled_from(BODIES), st.booleans())
def test_no_answer_breaks_the_decision(
    status: int, headers: dict[str, str], body: bytes, has_worked: bool
) -> None:
    answered = Response(status=status, headers=headers, body=body)
    assert tries(answered, has_worked=has_worked) >= 1
    wait = retry.server_wait(answered, now=NOW)
    assert wait is None or 0 < wait <= retry.MAX_WAIT


SHOWN = {400: True, 401: None, 403: None, 404: True, 408: False, 409: True, 422: True, 425: False}
SHOWN |= {429: None, 499: True, 500: False, 503: False}


@pytest.mark.parametrize(("status", "works"), SHOWN.items())
def test_what_an_answer_shows_of_the_server(response: Any, status: int, works: bool | None) -> None:
    error = error_of(response(status, {"error": "Not found"}))
    assert retry.shows_that_server_works(error) is works
