"""What is noted of a run, and what it needs next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import NotFoundError, NotSentError, TransportError, TriggerDevError
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.runs import cancel_run
from airflow_provider_trigger.cancel.record import (
    LOOK_INTERVAL,
    LOOKS_FOR,
    Action,
    CancelSettings,
    ForMany,
    RunRecord,
    State,
    next_step,
)

NOW = 1000.0
DEFAULT = CancelSettings()
WAITING = CancelSettings(termination_timeout=90.0, poll_interval=2.0)
TREE = CancelSettings(include_descendants=True)
UNFOLLOWED = CancelSettings(follows=False)
STARTED = "2026-11-25T09:00:00Z"
PASSING, PERMANENT = TransportError("connection lost"), TriggerDevError("no right")


def shown(status: str = "EXECUTING", **attributes: Any) -> Run:
    answer = {"id": "run_1", "status": status, "taskIdentifier": "t"} | attributes
    return Run.from_answer(answer).without_contents()


ALIVE, COMPLETED, TERMINATED = shown(), shown("COMPLETED"), shown("CANCELED")
CANCELED = shown("CANCELED", startedAt=STARTED)
BULK = ForMany(lambda: cancel_run("run_1"), ["run_1"], state=State.ACCEPTED, id="bulk_1")


def record(**state: Any) -> RunRecord:
    return RunRecord("run_1", **state)


def canceled(**state: Any) -> RunRecord:
    """A run whose cancel was acknowledged just now, and which was checked once."""
    return record(**{"cancels": 1, "acknowledged_at": NOW, "checks": 1} | state)


def old_parent(**state: Any) -> RunRecord:
    return canceled(seen=CANCELED, acknowledged_at=NOW - LOOKS_FOR, **state)


# What is noted


def test_what_was_checked_before_a_cancel_says_nothing_of_the_time_after_it() -> None:
    state = canceled(cancel_error=PASSING, checks=3, check_error=PASSING)
    state.note_check(shown(), now=NOW)
    for _ in range(2):  # a repeated one counts once
        state.note_sent(NOW)
    assert (state.cancels, state.checks, state.seen) == (2, 0, None)
    assert (state.cancel_error, state.check_error) == (None, None)
    assert state.task_identifier == "t"


def test_a_failed_cancel_takes_no_acknowledgment_back_and_the_next_one_no_error_over() -> None:
    state = canceled()
    state.note(None, PASSING, now=NOW + 9)
    assert (state.cancel_error, state.acknowledged_at, state.is_accepted) == (PASSING, NOW, False)
    state.note(None, None, now=NOW + 10)
    assert (state.cancel_error, state.acknowledged_at, state.is_accepted) == (None, NOW + 10, True)


@pytest.mark.parametrize("is_seen", [False, True])
def test_a_run_that_was_seen_is_not_unknown_whatever_its_second_cancel_says(is_seen: bool) -> None:
    error = NotFoundError(method="POST", path="/", status=404, detail="no", request_id=None, retryable=False)
    state = canceled(task_identifier="t" if is_seen else None)
    state.note(None, error, now=NOW)
    assert state.is_unknown is not is_seen


def test_a_check_shows_that_a_cancel_arrived_whose_answer_was_lost() -> None:
    state = record(cancels=1, check_error=PASSING)
    for now in (NOW, NOW + 1):
        state.note_check(shown("COMPLETED"), now=now)
    assert (state.seen, state.acknowledged_at, state.checks, state.check_error) == (COMPLETED, NOW, 2, None)


def test_neither_a_failed_check_nor_an_outdated_one_takes_a_final_status_back() -> None:
    state = canceled(seen=CANCELED, action=Action.CHECK)
    state.note(None, PASSING, now=NOW)
    assert (state.seen, state.check_error) == (CANCELED, PASSING)
    state.note_check(shown("EXECUTING"), now=NOW)
    assert (state.seen, state.checks) == (CANCELED, 3)
    state.note_check(shown("COMPLETED"), now=NOW)
    assert state.seen == COMPLETED


# What comes next


@pytest.mark.parametrize(
    ("state", "settings", "expected"),
    [
        # A new run, or one that a bulk action has left out.
        (record(), DEFAULT, (Action.CANCEL, 0)),
        (record(), WAITING, (Action.CANCEL, 0)),
        (record(bulk=BULK), DEFAULT, (Action.CANCEL, 0)),
        # Each cancel of its own is followed by a check.
        (canceled(checks=0), DEFAULT, (Action.CHECK, 0)),
        (canceled(checks=0, bulk=BULK), DEFAULT, (Action.CHECK, 0)),
        (canceled(checks=0, cancels=2, seen=ALIVE), DEFAULT, (Action.CHECK, 0)),
        (record(cancels=1, cancel_error=PERMANENT), DEFAULT, (Action.CHECK, 0)),
        # Alive after an acknowledged cancel: outdated checks are waited out, then there is one more cancel.
        *[
            (canceled(checks=checks, cancels=cancels, seen=ALIVE), DEFAULT, (Action.CHECK, pause))
            for checks, pause in ((1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0))
            for cancels in (1, 2)
        ],
        (canceled(checks=5, seen=ALIVE), DEFAULT, (Action.CANCEL, 0)),
        (canceled(checks=5, cancels=2, seen=ALIVE), DEFAULT, None),
        # Alive after a failed one.
        (record(cancels=1, checks=1, cancel_error=PASSING, seen=ALIVE), DEFAULT, (Action.CANCEL, 0)),
        (record(cancels=1, checks=1, cancel_error=PERMANENT, seen=ALIVE), DEFAULT, None),
        (record(cancels=2, checks=1, cancel_error=PASSING, seen=ALIVE), DEFAULT, None),
        # A check that failed in spite of its retries, or that is the only one, is the last.
        (canceled(check_error=PASSING), DEFAULT, None),
        (canceled(check_error=PASSING, seen=ALIVE), DEFAULT, None),
        (canceled(checks=0), UNFOLLOWED, (Action.CHECK, 0)),
        (canceled(seen=ALIVE), UNFOLLOWED, None),
        (canceled(checks=0, bulk=BULK), UNFOLLOWED, None),
        # Descendants: what had ended is checked once, what is canceled for a while.
        (record(had_ended=True), TREE, (Action.CHECK, 0)),
        (record(had_ended=True, checks=1), TREE, None),
        (canceled(seen=CANCELED), TREE, (Action.CHECK_AGAIN, LOOK_INTERVAL)),
        (canceled(seen=TERMINATED), TREE, None),
        (old_parent(), TREE, None),
        (old_parent(found_at=NOW - 1), TREE, (Action.CHECK_AGAIN, LOOK_INTERVAL)),
        # Unknown, or not sent.
        (record(is_unknown=True), DEFAULT, None),
        (record(is_unknown=True), WAITING, None),
        (record(cancel_error=NotSentError("no valid id")), DEFAULT, None),
        (canceled(checks=0, cancel_error=NotSentError("no valid id")), DEFAULT, None),
        # It has ended. What a worker may still have is waited for, if at all.
        *[(canceled(seen=seen), DEFAULT, None) for seen in (COMPLETED, CANCELED, TERMINATED)],
        *[(canceled(seen=seen), WAITING, None) for seen in (COMPLETED, TERMINATED)],
        (canceled(seen=CANCELED), WAITING, (Action.CHECK_AGAIN, 2.0)),
        (canceled(seen=CANCELED, checks=30), WAITING, (Action.CHECK_AGAIN, 2.0)),
        (canceled(seen=CANCELED, check_error=PASSING), WAITING, (Action.CHECK_AGAIN, 2.0)),
        # The last check is just before the end of the wait, and there is none after it.
        (canceled(seen=CANCELED), replace(WAITING, poll_interval=1000.0), (Action.CHECK_AGAIN, 89.0)),
        (canceled(seen=CANCELED, acknowledged_at=NOW - 88), WAITING, (Action.CHECK_AGAIN, 1.0)),
        (canceled(seen=CANCELED, acknowledged_at=NOW - 89), WAITING, None),
        (canceled(seen=CANCELED), replace(WAITING, termination_timeout=2.0), (Action.CHECK_AGAIN, 1.8)),
        (canceled(seen=CANCELED), replace(WAITING, termination_timeout=0.0), None),
    ],
)
def test_what_a_run_needs_next_and_when(
    state: RunRecord, settings: CancelSettings, expected: tuple[Action, float] | None
) -> None:
    following: Any = next_step(state, settings, now=NOW)
    assert (following and following[:2]) == (expected and (expected[0], pytest.approx(NOW + expected[1])))
