from __future__ import annotations

import logging
from typing import Any

import pytest
from fake_clock import Clock

from airflow_provider_trigger.api.deadline import NEVER, Deadline
from airflow_provider_trigger.api.errors import (
    NotSentError,
    ResponseError,
    ServerError,
    TransportError,
    TriggerDevError,
    UnexpectedAnswerError,
)
from airflow_provider_trigger.api.exchange import Exchange, Send, Wait
from airflow_provider_trigger.cancel.bulk import LONGEST, NO_PROGRESS_AFTER, SHARE, BulkParts, bulk_steps
from airflow_provider_trigger.cancel.record import BulkPart, RunRecord
from airflow_provider_trigger.defaults import BULK_FROM


class Action:
    """A bulk action that is driven by hand."""

    def __init__(self, exchange: Exchange, clock: Clock, deadline: Deadline, size: int) -> None:
        self.clock = clock
        self.part = BulkPart([RunRecord(f"run_{number}") for number in range(size)])
        self.steps = bulk_steps(exchange, self.part, name="the name", deadline=deadline)
        self.step: Send | Wait | None = next(self.steps)
        self.has_ended = False

    def reply(self, reply: Any) -> None:
        self._send(reply)

    def wait(self) -> float:
        """Wait as long as it wants, and return how long."""
        assert isinstance(self.step, Wait)
        seconds = self.step.seconds
        self.clock.now += seconds
        self._send(None)
        return seconds

    @property
    def request(self) -> Any:
        assert isinstance(self.step, Send)
        return self.step.request

    def _send(self, reply: Any) -> None:
        try:
            self.step = self.steps.send(reply)
        except StopIteration:
            self.step, self.has_ended = None, True


@pytest.fixture
def start(exchange, clock):
    def build(deadline: Deadline = NEVER, size: int = 10) -> Action:
        return Action(exchange, clock, deadline, size)

    return build


@pytest.fixture
def accepted(start, response):
    """Build a bulk action that the server has accepted."""

    def build(**options: Any) -> Action:
        action: Action = start(**options)
        action.reply(response(202, {"id": "bulk_1"}))
        return action

    return build


def test_the_constants_that_users_feel() -> None:
    assert BULK_FROM == 300
    assert SHARE == 0.25
    assert NO_PROGRESS_AFTER == 2.0
    assert LONGEST == 30.0


# Parts


def parts(records: list[RunRecord]) -> list[BulkPart]:
    made = BulkParts()
    made.add(records)
    [first] = made.begin()
    assert made.begin() == []
    first.id = "bulk_1"
    return [first, *made.begin()]


@pytest.mark.parametrize(
    ("runs", "sizes"), [(1, [1]), (500, [500]), (501, [500, 1]), (1200, [500, 500, 200])]
)
def test_a_bulk_action_takes_500_runs(runs: int, sizes: list[int]) -> None:
    records = [RunRecord(f"run_{number}") for number in range(runs)]
    made = parts(records)
    assert [len(part.records) for part in made] == sizes
    assert [record for part in made for record in part.records] == records


def test_each_run_knows_its_bulk_action() -> None:
    records = [RunRecord(f"run_{number}") for number in range(501)]
    first, second = parts(records)
    assert {id(record.bulk) for record in records[:500]} == {id(first)}
    assert records[500].bulk is second


# Requests


def test_it_names_the_runs_and_itself(start) -> None:
    request = start(size=2).request
    assert (request.method, request.path) == ("POST", "/api/v1/bulk-actions")
    assert request.json == {"action": "cancel", "runIds": ["run_0", "run_1"], "name": "the name"}


def test_its_acceptance_is_recorded_when_the_202_arrives(start, response) -> None:
    action = start()
    assert action.part.id is None
    action.reply(response(202, {"id": "bulk_7"}))
    assert action.part.id == "bulk_7"
    assert action.part.action is None
    assert (action.request.method, action.request.path) == ("GET", "/api/v1/bulk-actions/bulk_7")


def test_it_ends_with_its_last_counts(accepted, shown_bulk, caplog) -> None:
    caplog.set_level(logging.INFO)
    action = accepted()
    action.reply(shown_bulk("COMPLETED", success=7, failure=2))
    assert action.has_ended
    assert (action.part.action.success, action.part.action.failure) == (7, 2)
    assert caplog.messages == [
        "Bulk action bulk_1 is COMPLETED: 7 of 10 runs canceled; each run is checked next"
    ]


@pytest.mark.parametrize("status", ["COMPLETED", "ABORTED", "SOMETHING_NEW"])
def test_it_ends_with_any_status_but_pending(accepted, shown_bulk, status: str) -> None:
    action = accepted()
    action.reply(shown_bulk(status))
    assert action.has_ended
    assert not action.part.has_progress


def test_polls_become_rarer(accepted, shown_bulk) -> None:
    action, waits = accepted(), []
    for success in range(8):
        action.reply(shown_bulk(success=success))
        assert action.step.for_turn is False
        waits.append(action.wait())
    assert waits == pytest.approx([0.5, 0.75, 1.125, 1.6875, 2.53125, 3.0, 3.0, 3.0])


# Progress and time


def test_without_progress_it_is_stalled_after_some_seconds_and_checked_until_all_its_runs_are_canceled_alone(
    accepted, shown_bulk, clock
) -> None:
    action = accepted()
    started_at = clock.now
    for _ in range(4):
        action.reply(shown_bulk())
        stalled_at = clock.now - started_at
        action.wait()
    assert action.part.is_stalled
    assert NO_PROGRESS_AFTER <= stalled_at < NO_PROGRESS_AFTER + 1
    first, *others = action.part.records
    for record in others:
        record.note_sent()
    action.reply(shown_bulk())
    assert not action.has_ended
    first.note_sent()
    action.wait()
    action.reply(shown_bulk())
    assert action.has_ended


def test_progress_after_a_stall_ends_it(accepted, shown_bulk, clock) -> None:
    action = accepted()
    clock.now += NO_PROGRESS_AFTER
    action.reply(shown_bulk())
    assert action.part.is_stalled
    action.wait()
    action.reply(shown_bulk(success=1))
    assert (action.part.is_stalled, action.part.has_progress, action.has_ended) == (False, True, True)


def test_counts_beyond_its_runs_are_no_progress(accepted, shown_bulk) -> None:
    action, success = accepted(size=3), 0
    while not action.has_ended:
        success += 1
        action.reply(shown_bulk(success=success))
        if not action.has_ended:
            action.wait()
    assert success < 8
    assert (action.part.done, action.part.left_out_some) == (3, False)


def test_it_is_not_waited_for_as_long_as_its_counts_grow(accepted, shown_bulk, clock) -> None:
    action, started_at, success = accepted(size=500), clock.now, 0
    while not action.has_ended:
        success += 1
        action.reply(shown_bulk(success=success))
        if not action.has_ended:
            action.wait()
    assert LONGEST - 3 <= clock.now - started_at <= LONGEST
    assert action.part.has_progress


def test_no_progress_is_counted_from_the_acceptance(accepted, shown_bulk, clock) -> None:
    action = accepted()
    clock.now += NO_PROGRESS_AFTER - 0.6
    action.reply(shown_bulk())
    assert action.wait() == 0.5
    action.reply(shown_bulk())
    assert not action.part.is_stalled
    clock.now += 0.1 - 0.75
    action.wait()
    action.reply(shown_bulk())
    assert action.part.is_stalled


def test_a_first_check_that_is_late_shows_progress_too(accepted, shown_bulk, clock) -> None:
    action = accepted()
    clock.now += NO_PROGRESS_AFTER
    action.reply(shown_bulk(failure=1))
    assert not action.has_ended


def test_the_last_check_is_kept_whatever_it_shows(accepted, shown_bulk) -> None:
    action = accepted()
    action.reply(shown_bulk(success=3))
    action.wait()
    action.reply(shown_bulk("ABORTED", success=2, failure=1))
    assert action.has_ended
    assert (action.part.action.status, action.part.action.failure) == ("ABORTED", 1)


def test_progress_that_has_stopped_is_no_progress(accepted, shown_bulk, clock) -> None:
    action = accepted()
    action.reply(shown_bulk(success=1))
    clock.now += NO_PROGRESS_AFTER - 0.5
    action.wait()
    action.reply(shown_bulk(success=1))
    assert action.has_ended
    assert action.part.has_progress


def test_each_progress_starts_the_count_again(accepted, shown_bulk, clock) -> None:
    action, started_at = accepted(size=500), clock.now
    for success in range(7):
        action.reply(shown_bulk(success=success))
        assert not action.has_ended
        action.wait()
    assert clock.now - started_at > 4 * NO_PROGRESS_AFTER
    action.reply(shown_bulk("COMPLETED", success=20))
    assert action.part.action.success == 20


def test_it_takes_a_share_of_the_remaining_time_although_it_makes_progress(
    accepted, shown_bulk, clock
) -> None:
    deadline = Deadline(clock.now + 40)
    started_at, action, success = clock.now, accepted(deadline=deadline), 0
    while not action.has_ended:
        success += 1
        action.reply(shown_bulk(success=success))
        if not action.has_ended:
            action.wait()
    assert 10 - 3 <= clock.now - started_at <= 10
    assert action.part.has_progress


@pytest.mark.parametrize(("left", "has_ended"), [(0.5, True), (0.6, False)])
def test_it_does_not_wait_where_no_poll_could_follow(
    accepted, shown_bulk, clock, left: float, has_ended: bool
) -> None:
    action = accepted(deadline=Deadline(clock.now + 40))
    clock.now += 10 - left
    action.reply(shown_bulk(success=1))
    assert action.has_ended is has_ended


def test_a_request_that_is_not_answered_takes_a_part_of_the_share(start, clock) -> None:
    action = start(deadline=Deadline(clock.now + 36))
    assert action.step.timeout == pytest.approx(3.0)


# Failures


def test_a_request_that_was_rejected_with_429_is_repeated(start, response) -> None:
    action = start()
    action.reply(response(429, {}, retry_after="2"))
    assert action.part.id is None
    assert action.wait() == 2.0
    while isinstance(action.step, Wait):  # for its turn under the rate limit
        action.wait()
    assert action.request.method == "POST"
    action.reply(response(202, {"id": "bulk_1"}))
    assert action.part.id == "bulk_1"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, b"<html>", ResponseError),
        (400, {"error": "no"}, ResponseError),
        (503, {"error": "busy"}, ServerError),
        (200, b"<html>", UnexpectedAnswerError),
    ],
)
def test_a_request_that_failed_otherwise_is_not_repeated(
    start, response, status: int, body, expected: type[TriggerDevError]
) -> None:
    action = start()
    with pytest.raises(expected):
        action.reply(response(status, body))
    assert action.part.id is None


def test_a_request_that_was_not_answered_is_not_repeated(start) -> None:
    action = start()
    with pytest.raises(TransportError):
        action.reply(TransportError("connection lost"))
    assert action.part.id is None


def test_a_poll_that_fails_is_repeated(accepted, response, shown_bulk) -> None:
    action = accepted()
    action.reply(response(503, {"error": "busy"}))
    assert action.wait() == 0.5
    action.reply(shown_bulk("COMPLETED", success=3))
    assert action.has_ended
    assert action.part.action.success == 3


def test_polls_that_go_on_failing_end_it_and_take_nothing_back(accepted, response, shown_bulk, clock) -> None:
    action = accepted()
    action.reply(shown_bulk(success=3))
    action.wait()
    started_at = clock.now

    def fail_for_ever() -> None:
        while True:
            action.reply(response(503, {"error": "busy"}))
            action.wait()

    with pytest.raises(ServerError):
        fail_for_ever()
    assert clock.now - started_at <= 5
    assert (action.part.id, action.part.has_progress) == ("bulk_1", True)


def test_an_acceptance_that_comes_late_is_recorded_although_no_poll_can_follow(
    start, response, clock
) -> None:
    action = start(deadline=Deadline(clock.now + 40))
    clock.now += 10
    with pytest.raises(NotSentError):
        action.reply(response(202, {"id": "bulk_1"}))
    assert action.part.id == "bulk_1"
