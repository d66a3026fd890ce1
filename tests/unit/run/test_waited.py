"""How to wait: as plain JSON and back, and how often a run is checked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.run.wait import Watched
from airflow_provider_trigger.run.waited import Waited, WaitEnd, WaitSettings, check_interval

ALL: dict[str, Any] = {
    "run_url": "https://trigger.test/runs/run_1",
    "poll_interval": 7.5,
    "deadline": 1_795_600_000.5,
    "pending_version_timeout": None,
    "patience": 30.0,
    "cancels": False,
    "success_statuses": ["COMPLETED"],
    "cancels_others": True,
    "logs_progress": True,
    "logs_end": False,
    "tag": "airflow_task:x",
    "names_completed": False,
}


def test_all_settings_survive_as_json_and_another_version_may_have_stored_more_or_less() -> None:
    made = WaitSettings(**ALL)
    assert made.to_json() == ALL
    assert WaitSettings.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert WaitSettings.from_json({"poll_interval": 5, "unknown": 1}) == WaitSettings(poll_interval=5)
    assert WaitSettings.from_json({}) == WaitSettings()


@pytest.mark.parametrize(("age", "interval"), [(0, 2), (20, 2), (21, 2.1), (120, 12), (300, 30), (9000, 30)])
def test_by_default_a_run_is_checked_after_a_tenth_of_its_age(age: float, interval: float) -> None:
    assert check_interval(age) == pytest.approx(interval)


@pytest.mark.parametrize(
    ("end", "status", "expected"),
    [
        (WaitEnd.FINAL, "COMPLETED", True),
        (WaitEnd.FINAL, "CANCELED", True),
        (WaitEnd.FINAL, "FAILED", False),
        (WaitEnd.FINAL, None, False),
        (WaitEnd.TIMED_OUT, "CANCELED", False),  # by the wait itself
        (WaitEnd.REJECTED, None, False),
    ],
)
def test_only_a_run_that_has_ended_by_itself_in_an_expected_status_lets_the_wait_for_others_continue(
    make_run, end: WaitEnd, status: str | None, expected: bool
) -> None:
    waited = Waited(end=end, run=make_run(status) if status else None)
    assert WaitSettings(success_statuses=["COMPLETED", "CANCELED"]).counts_as_success(waited) is expected
    assert WaitSettings().counts_as_success(waited) is True


# What is known of a run


def seen(status: str = "EXECUTING", attempt: int = 1, **shown: Any) -> Run:
    return Run.from_answer({"id": "run_1", "status": status, "attemptCount": attempt} | shown)


@pytest.mark.parametrize(
    ("queried_at", "run", "expected"),
    [
        (101.0, seen("WAITING"), False),  # the query lags behind
        (104.0, seen("WAITING"), True),
        (104.0, seen("QUEUED", attempt=0), False),  # an attempt that is past
        (101.0, seen("COMPLETED"), True),
    ],
)
def test_a_query_that_may_be_behind_a_check_does_not_overwrite_it_unless_it_shows_an_end(
    queried_at: float, run: Run, expected: bool
) -> None:
    one = Watched("run_1", added_at=0.0, born_at=0.0)
    one.saw(seen(), sent_at=100.0, now=100.1)
    one.checked_at = 100.0
    assert one.may_learn_from(run, queried_at, now=queried_at) is expected
