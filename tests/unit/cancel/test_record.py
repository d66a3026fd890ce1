"""What is noted of a run, and what it needs next."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_trigger.api.endpoints.bulk_actions import BulkAction
from airflow_provider_trigger.cancel.record import (
    FRESH_FOR,
    MAX_CANCELS,
    RECHECK_AFTER,
    Action,
    Before,
    BulkPart,
    RunRecord,
    Seen,
    next_action,
)
from airflow_provider_trigger.cancel.settings import CancelSettings

NOW = 1000.0
WAITING = CancelSettings(termination_timeout=90.0, poll_interval=2.0)
ALIVE = Seen("EXECUTING", is_final=False, is_canceled=False, is_terminated=False)
COMPLETED = Seen("COMPLETED", is_final=True, is_canceled=False, is_terminated=True)
CANCELED = Seen("CANCELED", is_final=True, is_canceled=True, is_terminated=False)
TERMINATED = Seen("CANCELED", is_final=True, is_canceled=True, is_terminated=True)
STARTED = "2026-11-25T09:00:00Z"


def bulk(*, success: int = 0, failure: int = 0, runs: int = 10) -> BulkPart:
    shown = BulkAction(status="PENDING", success=success, failure=failure)
    return BulkPart([RunRecord(f"run_{number}") for number in range(runs)], True, "bulk_1", shown)


def record(**state: Any) -> RunRecord:
    return RunRecord("run_1", **state)


def canceled(**state: Any) -> RunRecord:
    """A run whose cancel was acknowledged just now, by default."""
    return record(**{"cancels": 1, "acknowledged_at": NOW, "checks": 1} | state)


def test_the_constants_that_users_feel() -> None:
    assert RECHECK_AFTER == (0.5, 1.0, 2.0, 4.0)
    assert MAX_CANCELS == 2
    assert FRESH_FOR == 3.0


# A check before the cancel


@pytest.mark.parametrize("status", ["QUEUED", "DELAYED", "WAITING", "PENDING_VERSION"])
def test_a_check_before_the_cancel_proves_something_where_no_worker_has_the_run(run, status: str) -> None:
    shown = run(status, startedAt=STARTED, attemptCount=2)
    state = record()
    state.note_check_before(shown, sent_at=NOW)
    assert state.is_checked_before
    assert state.before == Before(NOW, shown.started_at, 2)
    assert state.seen is None


@pytest.mark.parametrize("status", ["EXECUTING", "DEQUEUED", "COMPLETED"])
def test_a_check_before_the_cancel_proves_nothing_of_other_runs(run, status: str) -> None:
    state = record()
    state.note_check_before(run(status), sent_at=NOW)
    assert state.is_checked_before
    assert state.before is None


def test_a_check_before_the_cancel_that_failed_proves_nothing_and_is_not_repeated() -> None:
    state = record()
    state.note_check_before(None, sent_at=NOW)
    assert state.is_checked_before
    assert state.before is None


def seen_after(
    run: Any,
    *,
    cancel_error: Exception | None = None,
    after: float = 1.0,
    before: tuple[str, dict[str, Any]] = ("WAITING", {"startedAt": STARTED, "attemptCount": 1}),
    shown: tuple[str, dict[str, Any]] = ("CANCELED", {"startedAt": STARTED, "attemptCount": 1}),
) -> Seen:
    state = record(cancels=1)
    state.note_check_before(run(before[0], **before[1]), sent_at=NOW)
    state.note_cancel(cancel_error, now=NOW + after)  # type: ignore[arg-type]  # any error will do
    state.note_check(run(shown[0], **shown[1]), now=NOW + after + 1)
    assert state.seen
    return state.seen


def test_a_run_that_no_worker_had_just_before_its_cancel_is_terminated_by_it(run) -> None:
    assert seen_after(run) == TERMINATED


def test_a_run_that_a_worker_had_just_before_its_cancel_is_not(run) -> None:
    assert seen_after(run, before=("EXECUTING", {"startedAt": STARTED, "attemptCount": 1})) == CANCELED


@pytest.mark.parametrize(("after", "is_terminated"), [(FRESH_FOR, True), (FRESH_FOR + 0.01, False)])
def test_a_check_older_than_a_few_seconds_when_the_cancel_is_acknowledged_proves_nothing(
    run, after: float, is_terminated: bool
) -> None:
    assert seen_after(run, after=after).is_terminated is is_terminated


def test_an_attempt_that_began_since_the_check_means_that_a_worker_had_the_run(run) -> None:
    shown = ("CANCELED", {"startedAt": STARTED, "attemptCount": 2})
    assert seen_after(run, shown=shown) == CANCELED


def test_a_start_since_the_check_means_that_a_worker_had_the_run(run) -> None:
    shown = ("CANCELED", {"startedAt": STARTED, "attemptCount": 0})
    assert seen_after(run, before=("QUEUED", {}), shown=shown) == CANCELED


def test_after_a_failed_cancel_a_check_before_it_proves_nothing(run, error) -> None:
    assert seen_after(run, cancel_error=error("passing")) == CANCELED


def test_a_run_that_is_not_canceled_is_not_terminated_by_what_was_seen_before(run) -> None:
    shown = ("WAITING", {"startedAt": STARTED, "attemptCount": 1})
    assert seen_after(run, shown=shown) == Seen("WAITING", False, False, False)


# What is noted


def test_an_acknowledged_cancel_is_noted_with_its_time(error) -> None:
    state = record(cancels=1, cancel_error=error("passing"))
    state.note_cancel(None, now=NOW)
    assert (state.cancel_error, state.acknowledged_at) == (None, NOW)


def test_what_was_checked_before_a_cancel_says_nothing_of_the_time_after_it(run, error) -> None:
    state = canceled(cancel_error=error("passing"), checks=3, check_error=error("server"))
    state.note_check(run("EXECUTING"), now=NOW)
    state.note_sent()
    assert (state.cancels, state.checks, state.seen) == (2, 0, None)
    assert (state.cancel_error, state.check_error) == (None, None)
    assert state.task_identifier == "t"


def test_a_failed_cancel_is_noted_and_takes_no_acknowledgment_back(error) -> None:
    failure = error("passing")
    state = canceled()
    state.note_cancel(failure, now=NOW + 9)
    assert (state.cancel_error, state.acknowledged_at) == (failure, NOW)


def test_a_check_is_noted(run, error) -> None:
    state = canceled(checks=1, check_error=error("passing"))
    state.note_check(run("COMPLETED"), now=NOW + 5)
    assert state.seen == COMPLETED
    assert (state.checks, state.check_error, state.acknowledged_at) == (2, None, NOW)


def test_a_check_shows_that_a_cancel_arrived_whose_answer_was_lost(run) -> None:
    state = record(cancels=1)
    state.note_check(run("CANCELED"), now=NOW)
    assert state.acknowledged_at == NOW


@pytest.mark.parametrize(
    ("attributes", "is_terminated"),
    [({"startedAt": STARTED}, False), ({"startedAt": STARTED, "finishedAt": STARTED}, True), ({}, True)],
)
def test_a_check_alone_can_show_that_a_run_is_terminated(
    run, attributes: dict[str, str], is_terminated: bool
) -> None:
    state = canceled()
    state.note_check(run("CANCELED", **attributes), now=NOW)
    assert state.seen == Seen("CANCELED", True, True, is_terminated)


def test_a_failed_check_is_noted_and_takes_nothing_back(error) -> None:
    failure = error("passing")
    state = canceled(checks=1, seen=CANCELED)
    state.note_failed_check(failure)
    assert (state.checks, state.check_error, state.seen) == (2, failure, CANCELED)


def test_an_outdated_check_takes_back_no_final_status(run) -> None:
    state = canceled(checks=1, seen=CANCELED)
    state.note_check(run("EXECUTING"), now=NOW)
    assert (state.seen, state.checks) == (CANCELED, 2)
    state.note_check(run("COMPLETED"), now=NOW)
    assert state.seen == COMPLETED


def test_words_that_many_runs_share_are_kept_once(run) -> None:
    state = canceled()
    shown = run("".join(["SOME", "_NEW_WORD"]), taskIdentifier="".join(["some", "-task"]))
    state.note_check(shown, now=NOW)
    assert state.seen
    assert state.seen.status is sys.intern("SOME_NEW_WORD")
    assert state.task_identifier is sys.intern("some-task")


# What comes next


def following(state: RunRecord, settings: CancelSettings | None = None) -> tuple[Action, float] | None:
    return next_action(state, settings or CancelSettings(), now=NOW)


def test_a_new_run_is_canceled_at_once() -> None:
    assert following(record()) == (Action.CANCEL, NOW)


def test_where_termination_is_waited_for_a_run_is_checked_once_before_its_cancel() -> None:
    assert following(record(), WAITING) == (Action.CHECK_BEFORE, NOW)
    assert following(record(is_checked_before=True), WAITING) == (Action.CANCEL, NOW)


def test_after_a_bulk_action_a_check_before_the_cancel_is_outdated_and_left_out() -> None:
    assert following(record(bulk=bulk()), WAITING) == (Action.CANCEL, NOW)


def test_a_bulk_action_without_progress_is_not_a_request() -> None:
    state = record(bulk=bulk())
    assert not state.is_requested
    assert following(state) == (Action.CANCEL, NOW)


@pytest.mark.parametrize("counts", [{"success": 1}, {"failure": 1}])
def test_a_bulk_action_that_handled_any_run_may_have_canceled_each(counts: dict[str, int]) -> None:
    state = record(bulk=bulk(**counts))
    assert state.is_requested
    assert following(state) == (Action.CHECK_LEFT_OUT, NOW)


@pytest.mark.parametrize(
    ("counts", "action"),
    [
        ({"success": 10}, Action.CHECK),
        ({"success": 4, "failure": 6}, Action.CHECK),
        ({"success": 11}, Action.CHECK),
        ({"success": 9}, Action.CHECK_LEFT_OUT),
    ],
)
def test_runs_of_a_bulk_action_that_left_some_out_are_checked_first(
    counts: dict[str, int], action: Action
) -> None:
    assert following(record(bulk=bulk(**counts))) == (action, NOW)


def test_a_bulk_action_that_was_never_checked_shows_no_progress_and_may_have_left_out_some() -> None:
    part = BulkPart([RunRecord("run_1")])
    assert not part.has_progress
    assert part.left_out_some
    assert (part.is_sent, part.id, part.action) == (False, None, None)


def test_after_its_own_cancel_a_run_is_checked_at_once_whatever_a_bulk_action_did() -> None:
    assert following(canceled(checks=0)) == (Action.CHECK, NOW)
    assert following(canceled(checks=0, bulk=bulk(success=1))) == (Action.CHECK, NOW)


def test_after_a_failed_cancel_a_run_is_checked_too(error) -> None:
    for kind in ("passing", "permanent"):
        state = record(cancels=1, cancel_error=error(kind))
        assert following(state) == (Action.CHECK, NOW)


def test_after_a_second_cancel_a_run_is_checked_although_it_was_seen_before() -> None:
    assert following(canceled(cancels=2, checks=0, seen=ALIVE)) == (Action.CHECK, NOW)


@pytest.mark.parametrize("checks", [1, 2, 3, 4])
@pytest.mark.parametrize("cancels", [1, 2])
def test_a_run_that_is_still_alive_is_checked_again_after_growing_pauses(checks: int, cancels: int) -> None:
    pause = (0.5, 1.0, 2.0, 4.0)[checks - 1]
    assert following(canceled(checks=checks, cancels=cancels, seen=ALIVE)) == (Action.CHECK, NOW + pause)


def test_a_run_still_alive_after_all_checks_gets_one_more_cancel() -> None:
    assert following(canceled(checks=5, seen=ALIVE)) == (Action.CANCEL, NOW)


def test_a_run_still_alive_after_its_second_cancel_and_all_checks_needs_nothing_more() -> None:
    assert following(canceled(checks=5, cancels=2, seen=ALIVE)) is None


def test_a_run_that_lives_after_a_failed_cancel_gets_another_one_only_where_that_may_help(
    error,
) -> None:
    state = canceled(cancel_error=error("passing"), acknowledged_at=None, seen=ALIVE)
    assert following(state) == (Action.CANCEL, NOW)
    state.cancel_error = error("permanent")
    assert following(state) is None


def test_no_run_gets_a_third_cancel(error) -> None:
    assert following(canceled(cancels=2, cancel_error=error("passing"), seen=ALIVE)) is None


def test_a_run_that_a_bulk_action_left_out_is_canceled_alone() -> None:
    assert following(record(bulk=bulk(success=1), checks=1, seen=ALIVE)) == (Action.CANCEL, NOW)


@pytest.mark.parametrize("kind", ["passing", "permanent", "not found", "not sent"])
def test_a_run_that_cannot_be_checked_after_a_bulk_action_is_canceled_alone(error, kind: str) -> None:
    state = record(bulk=bulk(success=1), checks=1, check_error=error(kind))
    assert following(state) == (Action.CANCEL, NOW)


def test_a_run_whose_check_failed_after_its_own_cancel_is_finished(error) -> None:
    assert following(canceled(check_error=error("passing"))) is None
    assert following(canceled(check_error=error("passing"), seen=ALIVE, checks=2)) is None


def test_a_run_that_is_unknown_is_finished() -> None:
    assert following(record(is_unknown=True)) is None
    assert following(record(is_unknown=True), WAITING) is None


def test_a_run_whose_cancel_was_not_sent_is_finished(error) -> None:
    assert following(record(cancel_error=error("not sent"))) is None
    assert following(canceled(checks=0, seen=ALIVE, cancel_error=error("not sent"))) is None


@pytest.mark.parametrize("seen", [COMPLETED, CANCELED, TERMINATED])
def test_a_run_that_has_ended_is_finished_where_termination_is_not_waited_for(seen: Seen) -> None:
    assert following(canceled(seen=seen)) is None


@pytest.mark.parametrize("seen", [COMPLETED, TERMINATED])
def test_a_run_that_is_terminated_is_not_waited_for(seen: Seen) -> None:
    assert following(canceled(seen=seen), WAITING) is None


def test_a_canceled_run_is_checked_until_it_is_terminated() -> None:
    for checks in (1, 2, 30):
        state = canceled(seen=CANCELED, checks=checks)
        assert following(state, WAITING) == (Action.CHECK_TERMINATION, NOW + 2.0)


@pytest.mark.parametrize("poll_interval", [2.0, 60.0, 1000.0])
def test_the_last_check_is_just_before_the_end_of_the_wait(poll_interval: float) -> None:
    waiting = CancelSettings(termination_timeout=90.0, poll_interval=poll_interval)
    for passed in (88.0, 88.9):
        state = canceled(seen=CANCELED, acknowledged_at=NOW - passed)
        action, at = following(state, waiting) or (None, None)
        assert action is Action.CHECK_TERMINATION
        assert at == pytest.approx(NOW - passed + 89.0)
    assert following(canceled(seen=CANCELED, acknowledged_at=NOW - 89.0), waiting) is None


def test_without_time_to_wait_a_canceled_run_is_not_waited_for() -> None:
    state = canceled(seen=CANCELED)
    assert following(state, replace(WAITING, termination_timeout=0.0)) is None
    _, at = following(state, replace(WAITING, termination_timeout=2.0)) or (None, None)
    assert at == pytest.approx(NOW + 1.8)


def test_a_check_that_failed_while_waiting_does_not_end_it(error) -> None:
    state = canceled(seen=CANCELED, check_error=error("passing"))
    assert following(state, WAITING) == (Action.CHECK_TERMINATION, NOW + 2.0)
