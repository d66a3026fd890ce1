"""Waiting until canceled runs are terminated."""

from __future__ import annotations

import pytest

from airflow_provider_trigger.cancel.outcome import CancelResult
from airflow_provider_trigger.cancel.record import Action

STARTED = {"startedAt": "2026-11-25T09:00:00Z"}
WAITING = {"termination_timeout": 90.0, "poll_interval": 2.0}


def shown(result: CancelResult) -> tuple[str, str | None, bool]:
    return result.outcome.value, result.status, result.terminated


def test_each_cancel_follows_its_own_check_at_once(plan, server) -> None:
    plan(server.add("run_1", "run_2"), **WAITING).run()
    assert server.names[:4] == ["check run_1", "cancel run_1", "check run_2", "cancel run_2"]


@pytest.mark.parametrize(("latency", "is_waited_for"), [(1.5, False), (1.6, True)])
def test_how_old_a_check_is_counts_from_when_it_was_sent(
    plan, server, latency: float, is_waited_for: bool
) -> None:
    server.add("run_1", status="WAITING", **STARTED)
    server.latency = latency
    [result] = plan(["run_1"], **WAITING).run()
    assert result.terminated is not is_waited_for
    assert (len(server.log) > 3) is is_waited_for


def test_a_run_whose_cancel_was_not_acknowledged_is_not_waited_for_any_longer(
    plan, server, clock, response
) -> None:
    server.add("run_1", status="CANCELED", **STARTED)
    server.instead["cancel run_1"] = [response(403, {"error": "no"})]
    start = clock.now
    [result] = plan(["run_1"], termination_timeout=7.0, poll_interval=2.0).run()
    assert shown(result) == ("canceled", "CANCELED", False)
    assert clock.now - start == pytest.approx(6.3)


def test_a_check_before_the_cancel_does_not_hold_it_up_for_long(plan, server) -> None:
    driver = plan(server.add("run_1"), **WAITING)
    job = driver.begin()
    assert driver.name(job) == "check run_1"
    assert driver.timeout(job) == pytest.approx(2.0)


def test_a_check_before_the_cancel_ends_with_the_time_limit(plan, server) -> None:
    driver = plan(server.add("run_1"), **WAITING, time_limit=4.5)
    assert driver.timeout(driver.begin()) == pytest.approx(1.5)


def test_a_single_401_at_a_check_before_the_cancel_ends_nothing(plan, server, response) -> None:
    server.instead["check run_2"] = [response(401, {"error": "from a gateway"})]
    results = plan(server.add("run_1", "run_2", "run_3"), **WAITING).run()
    assert [result.outcome.value for result in results] == ["canceled"] * 3


def test_a_check_while_waiting_ends_with_the_wait(plan, server) -> None:
    server.add("run_1", status="EXECUTING", **STARTED)
    driver = plan(["run_1"], termination_timeout=4.5, poll_interval=2.0)
    for _ in range(3):
        driver.do(driver.take())
    driver.server.clock.now += 2.0
    job = driver.begin()
    assert driver.name(job) == "check run_1"
    assert job.action is Action.CHECK_TERMINATION
    assert driver.timeout(job) == pytest.approx(1.0)
    driver.server.clock.now += 2.1
    driver.finish(job)
    assert driver.schedule.take() is None


def test_the_first_check_after_the_cancel_is_not_limited_by_the_wait(plan, server) -> None:
    server.add("run_1", status="EXECUTING", **STARTED)
    driver = plan(["run_1"], termination_timeout=3.0, poll_interval=2.0)
    for _ in range(2):
        driver.do(driver.take())
    job = driver.begin()
    assert job.action is Action.CHECK
    assert driver.timeout(job) == 30.0
