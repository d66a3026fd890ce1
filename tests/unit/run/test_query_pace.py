"""When runs are queried together, and what a failure of the query means."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api.errors import (
    AnswerTimeoutError,
    NotFoundError,
    NotSentError,
    RateLimitError,
    ResponseError,
    ServerError,
    TransportError,
    TriggerDevError,
    UnexpectedAnswerError,
)
from airflow_provider_trigger.run.status_watch import QueryPace

SENT: dict[str, Any] = {"method": "POST", "path": "/q", "detail": "no", "request_id": None, "retryable": True}
BUSY, MISSING = RateLimitError(status=429, **SENT), NotFoundError(status=404, **SENT)
FAILURES: list[TriggerDevError] = [
    ResponseError(status=400, **SENT),
    ServerError(status=503, **SENT),
    AnswerTimeoutError("no answer in 5 s"),
    UnexpectedAnswerError("a page"),
]
LOST = TransportError("reset")
NEVER = -float("inf")


@pytest.fixture
def pace() -> QueryPace:
    return QueryPace(now=100.0)


def succeed(pace: QueryPace, *, sent_at: float, took: float = 0.1, parts: int = 1) -> float:
    """Let a query succeed; return how long after it was sent the next one is due."""
    pace.succeeded(sent_at=sent_at, now=sent_at + took, parts=parts)
    return pace.due - sent_at


def fail(pace: QueryPace, error: TriggerDevError, *, now: float, times: int = 1) -> tuple[float, bool | None]:
    """Let queries fail; return how long after that the next one is due, and whether queries work."""
    for _ in range(times):
        pace.failed(error, now=now)
    return pace.due - now, pace.works


def test_waits_that_begin_together_are_in_the_first_query(pace: QueryPace) -> None:
    assert (pace.due, pace.works) == (100.25, None)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, 2.0),
        ({"took": 0.4}, 2.0),
        ({"took": 1.0}, 4.0),  # not more than a quarter of the server's time
        ({"took": 90.0}, 90.0),  # a server answers within 5 s: the rest was spent waiting for a turn
        ({"parts": 2}, 1.0),  # each run is still queried every 2 s
        ({"parts": 2, "took": 0.4}, 1.6),
    ],
)
def test_it_is_repeated_every_2_s_unless_that_costs_the_server_much(
    pace: QueryPace, given: dict[str, Any], seconds: float
) -> None:
    assert succeed(pace, sent_at=200.0, **given) == pytest.approx(seconds)
    assert (pace.works, pace.worked_again_at) == (True, NEVER)


@pytest.mark.parametrize(
    ("error", "rounds"), [*((error, 2) for error in [*FAILURES, MISSING, LOST]), (BUSY, 5)]
)
def test_queries_that_work_are_given_up_only_after_several_failures_in_a_row(
    pace: QueryPace, error: TriggerDevError, rounds: int
) -> None:
    for sent_at in (200.0, 300.0):
        succeed(pace, sent_at=sent_at)
        for _ in range(rounds):
            assert fail(pace, error, now=sent_at + 50) == (2.0, True)
    assert pace.worked_again_at == NEVER
    assert fail(pace, error, now=360.0) == (5.0, False)


@pytest.mark.parametrize("error", [*FAILURES, MISSING])
def test_a_failure_is_tried_again_later_and_later(pace: QueryPace, error: TriggerDevError) -> None:
    assert [fail(pace, error, now=200.0) for _ in range(6)] == [
        (pause, False) for pause in (5, 10, 20, 40, 60, 60)
    ]


@pytest.mark.parametrize(
    "error", [TransportError("refused", was_sent=False), NotSentError("stopped responding")]
)
def test_without_a_connection_the_next_query_comes_soon(pace: QueryPace, error: TriggerDevError) -> None:
    assert [fail(pace, error, now=200.0) for _ in range(3)] == [(5.0, False)] * 3


def test_it_works_again_since_the_first_answer_after_failures(pace: QueryPace) -> None:
    fail(pace, FAILURES[0], now=200.0)
    fail(pace, LOST, now=205.0)
    for sent_at in (210.0, 212.0):
        succeed(pace, sent_at=sent_at)
        assert pace.worked_again_at == 210.1
    assert fail(pace, FAILURES[0], now=220.0, times=3)[0] == 5.0  # it begins again
