"""What is known of the runs that a task has started, as a table."""

from __future__ import annotations

import pytest

from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.sending import Sending
from airflow_provider_trigger.run.started import StartedRuns

NOT_SENT, IN_FLIGHT, ANSWERED = (False, None), (True, None), (True, ("run_1",))


def sending(state: tuple[bool, tuple[str, ...] | None], key: str | None) -> Sending:
    options = {} if key is None else {"idempotencyKey": key}
    may_exist, run_ids = state
    return Sending({0: TaskRequest(options=options, trace={})}, may_exist=may_exist, run_ids=run_ids)


@pytest.mark.parametrize(
    ("state", "key", "items", "is_cut_off", "is_unanswered", "may_have_lost"),
    [
        (NOT_SENT, None, 1, True, False, False),
        (ANSWERED, None, 1, True, False, False),
        # After an error, a retry finds the run of a single start by its key.
        (IN_FLIGHT, "a", 1, False, False, False),
        (IN_FLIGHT, "a", 1, True, True, False),
        (IN_FLIGHT, "a", 2, False, True, False),
        (IN_FLIGHT, None, 1, True, True, True),
    ],
)
def test_a_start_that_may_have_runs_is_unanswered_where_no_retry_says_what_it_finds(
    state, key: str | None, items: int, is_cut_off: bool, is_unanswered: bool, may_have_lost: bool
) -> None:
    sent = sending(state, key)
    started = StartedRuns(run_ids=[None] * items, sendings=[sent], is_cut_off=is_cut_off)
    started.take_all()
    assert started.unanswered == [sent] * is_unanswered
    assert started.may_have_lost is may_have_lost
    assert started.known_ids == list(sent.run_ids or ())
    assert [started.is_new(run_id) for run_id in ("run_1", "run_2")] == [state is ANSWERED, False]


def test_each_run_is_left_once_until_it_has_ended() -> None:
    started = StartedRuns(run_ids=["run_1", None, "run_2", "run_1"], ended={"run_2"})
    assert (started.known_ids, started.left) == (["run_1", "run_2"], ["run_1"])
