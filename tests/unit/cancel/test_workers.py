from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from airflow_provider_trigger.cancel import workers as workers_module
from airflow_provider_trigger.cancel.workers import Workers

RUN_IDS = [f"run_{number}" for number in range(10)]


def new(count: int = 1, seconds: float | None = None, stopped: Any = lambda: False) -> Workers:
    return Workers(count=count, seconds=seconds, is_stopped=stopped)


def test_each_run_is_worked_on_once_and_in_turn() -> None:
    done: list[str] = []
    new().each("Doing", lambda run_id: done.append(run_id) is None, RUN_IDS)
    assert done == RUN_IDS


def test_no_runs_are_no_work() -> None:
    new().each("Doing", pytest.fail, [])


def test_as_many_are_worked_on_at_a_time_as_allowed() -> None:
    together = threading.Barrier(5, timeout=5)
    new(count=5).each("Doing", lambda _: together.wait() >= 0, RUN_IDS)
    assert not together.broken


def test_work_that_says_so_is_the_last() -> None:
    done: list[str] = []

    def work(run_id: str) -> bool:
        done.append(run_id)
        return len(done) < 3

    workers = new()
    workers.each("Doing", work, RUN_IDS)
    assert done == RUN_IDS[:3]
    assert not workers.interrupted


def test_a_stop_from_outside_begins_nothing_new() -> None:
    done: list[str] = []
    workers = new(stopped=lambda: bool(done))

    def work(run_id: str) -> bool:
        done.append(run_id)
        return workers.budget._stopped.wait(5)

    workers.each("Doing", work, RUN_IDS)
    assert workers.interrupted
    assert len(done) == 1


def test_a_bug_ends_the_work_and_is_raised() -> None:
    workers = new()
    with pytest.raises(ZeroDivisionError):
        workers.each("Doing", lambda _: 1 / 0 > 0, RUN_IDS)
    assert workers.interrupted
    assert workers.budget.stopped


def test_what_hangs_is_left_behind_when_the_work_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "_GRACE", 0.01)
    monkeypatch.setattr(workers_module, "_GLANCE", 0.001)
    let_go = threading.Event()
    begun: list[str] = []
    workers = new()

    def hang(run_id: str) -> bool:
        begun.append(run_id)
        workers.stop()
        return let_go.wait(5)

    workers.each("Doing", hang, RUN_IDS)
    assert begun == RUN_IDS[:1]
    let_go.set()


def test_long_work_is_told_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(workers_module, "_PROGRESS_EVERY", 0.0)
    monkeypatch.setattr(workers_module, "_GLANCE", 0.001)
    caplog.set_level(logging.INFO)
    pause = threading.Event()
    new().each("Looked at", lambda _: not pause.wait(0.005), RUN_IDS)
    assert "of 10" in caplog.text
    assert caplog.messages[0].startswith("Looked at ")


def test_progress_tells_what_was_met_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers_module, "_PROGRESS_EVERY", 0.0)
    monkeypatch.setattr(workers_module, "_GLANCE", 0.001)
    caplog.set_level(logging.INFO)
    pause = threading.Event()
    workers = Workers(count=1, seconds=None, is_stopped=lambda: False, trouble=lambda: "the server is down")
    workers.each("Looked at", lambda _: not pause.wait(0.005), RUN_IDS)
    assert caplog.messages[0].endswith(" of 10; last trouble: the server is down")


def test_a_sleep_takes_its_time_and_tells_that_there_is_more(clock: Any) -> None:
    assert new(seconds=10).sleep(3)
    assert sum(clock.slept) == pytest.approx(3)


def test_a_sleep_ends_with_the_time(clock: Any) -> None:
    assert not new(seconds=2).sleep(30)
    assert 2 <= sum(clock.slept) < 2.2


def test_a_sleep_ends_with_a_stop(clock: Any) -> None:
    workers = new(stopped=lambda: clock.now > 1001)
    assert not workers.sleep(30)
    assert workers.interrupted
    assert sum(clock.slept) < 1.5


def test_a_part_of_the_work_has_its_own_limit_within_the_whole(clock: Any) -> None:
    workers = new(seconds=10)
    with workers.within(3):
        assert workers.budget.remaining() == 3
        clock.now += 5
        assert workers.budget.remaining() == 0
    assert workers.budget.remaining() == 5
    with workers.within(99):
        assert workers.budget.remaining() == 5


def test_what_was_stopped_within_a_part_stays_stopped() -> None:
    workers = new()
    with workers.within(3):
        workers.stop()
    assert workers.budget.remaining() == 0
