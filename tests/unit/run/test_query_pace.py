"""When runs are queried together, and what a failure of the query means."""

from __future__ import annotations

from typing import Any

import pytest
from fake_log import Log

from airflow_provider_trigger.api.errors import (
    AnswerTimeoutError,
    NotFoundError,
    NotSentError,
    PermissionDeniedError,
    RateLimitError,
    ResponseError,
    ServerError,
    TransportError,
    TriggerDevError,
    UnexpectedAnswerError,
)
from airflow_provider_trigger.run.query_pace import QueryPace, QueryState


def response_error(kind: type[ResponseError], status: int) -> ResponseError:
    return kind(
        method="POST", path="/api/v1/query", status=status, detail="no", request_id=None, retryable=True
    )


BUSY = response_error(RateLimitError, 429)
MISSING = response_error(NotFoundError, 404)
FAILURES: list[TriggerDevError] = [
    response_error(ResponseError, 400),
    response_error(PermissionDeniedError, 403),
    response_error(ServerError, 503),
    AnswerTimeoutError("no answer in 5 s"),
    UnexpectedAnswerError("a page"),
]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def pace(log: Log) -> QueryPace:
    return QueryPace("mine", log, now=100.0)


def succeed(
    pace: QueryPace, *, sent_at: float, took: float = 0.1, parts: int = 1, limit: Any = None
) -> float:
    """Let a query succeed; return how long after it was sent the next one is due."""
    pace.succeeded(sent_at=sent_at, now=sent_at + took, parts=parts, limit=limit)
    return pace.due - sent_at


def fail(pace: QueryPace, error: TriggerDevError, *, now: float) -> None:
    """Let so many queries in a row fail that it counts, the last one now."""
    for _ in range(3):
        pace.failed(error, now=now)


def test_waits_that_begin_together_are_in_the_first_query(pace: QueryPace) -> None:
    assert (pace.due, pace.state) == (100.25, QueryState.UNKNOWN)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, 2.0),
        ({"took": 0.4}, 2.0),
        ({"took": 1.0}, 4.0),  # not more than a quarter of the server's time
        ({"took": 90.0}, 90.0),  # a server answers within 5 s: the rest was spent waiting for a turn
        ({"parts": 2}, 1.0),  # each run is still queried every 2 s
        ({"parts": 2, "took": 0.4}, 1.6),
        ({"limit": 750}, 2.0),
        ({"limit": 20}, 5.0),  # not more than a tenth of the bucket
    ],
)
def test_it_is_repeated_every_2_s_unless_that_costs_the_server_much(
    pace: QueryPace, given: dict[str, Any], seconds: float
) -> None:
    assert succeed(pace, sent_at=200.0, **given) == pytest.approx(seconds)
    assert pace.state is QueryState.WORKS


@pytest.mark.parametrize("error", [*FAILURES, TransportError("reset")])
def test_queries_that_work_are_given_up_only_after_three_failures_in_a_row(
    pace: QueryPace, log: Log, error: TriggerDevError
) -> None:
    for sent_at in (200.0, 300.0):
        succeed(pace, sent_at=sent_at)
        for _ in range(2):
            pace.failed(error, now=sent_at + 50)
            assert (pace.due, pace.state) == (sent_at + 52, QueryState.WORKS)
    assert (log.lines, pace.worked_again_at) == ([], -float("inf"))
    pace.failed(error, now=360.0)
    assert (pace.due, pace.state) == (365.0, _state_after(error))


def _state_after(error: TriggerDevError) -> QueryState:
    is_answer = isinstance(error, AnswerTimeoutError) or not isinstance(error, TransportError)
    return QueryState.FAILS if is_answer else QueryState.UNREACHABLE


@pytest.mark.parametrize("error", FAILURES)
def test_a_failure_is_tried_again_later_and_later(pace: QueryPace, log: Log, error: TriggerDevError) -> None:
    pauses = []
    for _ in range(6):
        pace.failed(error, now=200.0)
        pauses.append(pace.due - 200.0)
    assert pauses == [5, 10, 20, 40, 60, 60]
    assert pace.state is QueryState.FAILS
    assert log.of("warning") == [
        f"Connection 'mine': a status query failed; each run is checked by itself: {error}"
    ]


def test_a_server_without_the_query_is_asked_again_after_ten_minutes(pace: QueryPace, log: Log) -> None:
    pace.failed(MISSING, now=200.0)
    assert (pace.due, pace.state) == (800.0, QueryState.FAILS)
    assert log.leveled == [
        ("info", "Connection 'mine': the server has no status queries; each run is checked by itself")
    ]


def test_a_404_of_a_server_that_has_answered_queries_is_a_failure_like_others(
    pace: QueryPace, log: Log
) -> None:
    succeed(pace, sent_at=200.0)
    fail(pace, MISSING, now=300.0)
    assert (pace.due, pace.state) == (305.0, QueryState.FAILS)
    for pause in (10.0, 20.0):
        pace.failed(MISSING, now=300.0)
        assert (pace.due, pace.state) == (300.0 + pause, QueryState.FAILS)
    assert log.lines == [
        f"Connection 'mine': a status query failed; each run is checked by itself: {MISSING}"
    ]


@pytest.mark.parametrize(
    "error", [TransportError("refused", was_sent=False), NotSentError("stopped responding")]
)
def test_without_a_connection_there_is_nothing_to_fall_back_to(
    pace: QueryPace, log: Log, error: TriggerDevError
) -> None:
    for _ in range(3):
        pace.failed(error, now=200.0)
        assert (pace.due, pace.state) == (205.0, QueryState.UNREACHABLE)
    assert log.of("warning") == [
        f"Connection 'mine': the server cannot be reached; waiting continues: {error}"
    ]


def test_a_server_that_answers_other_requests_can_be_reached(pace: QueryPace, log: Log) -> None:
    lost = TransportError("reset")
    pace.failed(lost, now=200.0)
    pace.reached_server(sent_at=201.0)
    assert (pace.due, pace.state) == (205.0, QueryState.FAILS)
    assert log.of("info") == [
        "Connection 'mine': only status queries cannot be sent; each run is checked by itself"
    ]
    pace.reached_server(sent_at=204.0)
    pace.failed(lost, now=205.0)
    assert (pace.due, pace.state) == (210.0, QueryState.FAILS)
    pace.failed(lost, now=210.0)
    assert (pace.due, pace.state) == (215.0, QueryState.UNREACHABLE)  # nothing was answered since


def test_what_was_answered_before_queries_worked_again_does_not_count(pace: QueryPace) -> None:
    pace.failed(FAILURES[0], now=200.0)
    pace.reached_server(sent_at=201.0)
    succeed(pace, sent_at=205.0)
    pace.reached_server(sent_at=206.0)
    fail(pace, TransportError("refused"), now=207.0)
    assert pace.state is QueryState.UNREACHABLE


def test_when_it_works_again_that_is_logged_with_the_time_that_it_took(pace: QueryPace, log: Log) -> None:
    pace.failed(FAILURES[0], now=200.0)
    pace.failed(TransportError("refused"), now=205.0)
    succeed(pace, sent_at=210.0)
    assert pace.worked_again_at == 210.1
    assert log.of("info") == [
        "Connection 'mine': status queries work again after 10 s; each run is also checked by itself"
    ]
    succeed(pace, sent_at=212.0)
    assert pace.worked_again_at == 210.1
    fail(pace, FAILURES[0], now=220.0)
    assert pace.due == 225.0  # it begins again


def test_the_first_answer_is_no_recovery(pace: QueryPace, log: Log) -> None:
    succeed(pace, sent_at=200.0)
    assert (pace.worked_again_at, log.lines) == (-float("inf"), [])


def test_a_busy_server_skips_a_round_and_is_a_failure_only_for_long(pace: QueryPace, log: Log) -> None:
    succeed(pace, sent_at=200.0)
    for _ in range(5):
        pace.failed(BUSY, now=202.0)
        assert (pace.due, pace.state, log.lines) == (204.0, QueryState.WORKS, [])
    pace.failed(BUSY, now=212.0)
    assert (pace.due, pace.state) == (217.0, QueryState.FAILS)


def test_an_answer_ends_a_series_of_busy_rounds(pace: QueryPace) -> None:
    for _ in range(3):
        for _ in range(5):
            pace.failed(BUSY, now=202.0)
            assert pace.state is not QueryState.FAILS
        succeed(pace, sent_at=204.0)
    assert pace.state is QueryState.WORKS
