"""What goes wrong with single requests, and what is sent again."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.cancel.outcome import CancelResult, End

WAITING = {"termination_timeout": 90.0, "poll_interval": 2.0}


def shown(result: CancelResult) -> tuple[str, str | None, bool]:
    return result.outcome.value, result.status, result.terminated


@pytest.fixture
def stale(response):
    return response(200, {"id": "run_1", "status": "EXECUTING", "taskIdentifier": "t"})


# Outdated checks, and one more cancel


def test_an_outdated_check_is_repeated(plan, server, clock, stale) -> None:
    server.add("run_1")
    server.instead["check run_1"] = [stale, stale]
    start = clock.now
    [result] = plan(["run_1"]).run()
    assert shown(result) == ("canceled", "CANCELED", True)
    assert [time - start for _, time in server.log] == [0.0, 0.0, 0.5, 1.5]


def test_a_run_still_alive_after_both_cancels_has_failed(plan, server, clock) -> None:
    server.add("run_1", status="HIBERNATING")
    start = clock.now
    [result] = plan(["run_1"]).run()
    assert shown(result) == ("failed", "HIBERNATING", False)
    assert result.error == "still HIBERNATING after 2 cancel requests"
    assert result.retryable
    assert server.names == (["cancel run_1"] + ["check run_1"] * 5) * 2
    assert clock.now - start == 15.0


def test_a_run_that_is_alive_after_a_passing_failure_gets_another_cancel(plan, server, response) -> None:
    server.add("run_1", status="EXECUTING")
    server.instead["cancel run_1"] = [response(500, {"error": "broken"})] * 6
    [result] = plan(["run_1"]).run()
    assert result.outcome.value == "canceled"
    assert server.names == ["cancel run_1"] * 6 + ["check run_1", "cancel run_1", "check run_1"]


def test_a_second_cancel_that_was_not_sent_is_not_counted(plan, server, stale, error) -> None:
    server.add("run_1")
    server.instead["check run_1"] = [stale] * 5
    driver = plan(["run_1"])
    for _ in range(6):
        driver.do(driver.take())
        server.clock.now += 4
    driver.schedule.finish(driver.take(), error=error("not sent"))
    assert driver.schedule.take() is None
    [result] = driver.schedule.results()
    assert result.error == "still EXECUTING after 1 cancel request; last error: the server stopped responding"


def test_a_run_that_was_seen_is_not_unknown_whatever_its_second_cancel_says(
    plan, server, stale, response
) -> None:
    server.add("run_1")
    server.instead["check run_1"] = [stale] * 99
    server.instead["cancel run_1"] = [
        response(200, {"id": "run_1"}),
        response(404, {"error": "Resource not found"}),
    ]
    [result] = plan(["run_1"]).run()
    assert shown(result) == ("failed", "EXECUTING", False)
    assert str(result.error).startswith("still EXECUTING after 2 cancel requests; last error: POST ")


# Ids that cannot be sent


def test_an_invalid_id_is_not_sent_and_holds_nothing_up(plan, server) -> None:
    invalid, valid = plan(["..", *server.add("run_1")]).run()
    assert shown(invalid) == ("failed", None, False)
    assert invalid.error == "not sent: '..' cannot be the id of a run"
    assert not invalid.retryable
    assert valid.outcome.value == "canceled"
    assert server.names == ["cancel run_1", "check run_1"]


def test_invalid_ids_alone_are_no_requests(plan, server) -> None:
    driver = plan(["..", "."], **WAITING)
    assert [result.outcome.value for result in driver.run()] == ["failed", "failed"]
    assert driver.schedule.end is End.FINISHED
    assert not server.log


# Failures


def test_without_a_time_limit_a_cancel_is_repeated_as_long_as_a_call_may_be(
    plan, server, clock, response
) -> None:
    server.add("run_1", status="EXECUTING")
    server.instead["cancel run_1"] = [response(503, {"error": "busy"})] * 999
    start = clock.now
    [result] = plan(["run_1"]).run()
    times = [time - start for name, time in server.log if name == "check run_1"]
    assert 60 < times[0] <= 120
    assert result.outcome.value == "failed"
    assert "still EXECUTING after 2 cancel requests; last error: " in str(result.error)


def test_with_a_time_limit_cancels_leave_time_for_a_check(plan, server, clock, response) -> None:
    server.add("run_1", status="CANCELED")
    server.instead["cancel run_1"] = [response(503, {"error": "busy"})] * 999
    start = clock.now
    [result] = plan(["run_1"], time_limit=300).run()
    *cancels, check = server.log
    assert check[0] == "check run_1"
    assert 120 < cancels[-1][1] - start <= 240
    assert result.outcome.value == "canceled"


def test_with_a_time_limit_a_check_is_repeated_until_then(plan, server, clock, response) -> None:
    server.add("run_1")
    server.instead["check run_1"] = [response(503, {"error": "busy"})] * 999
    start = clock.now
    [result] = plan(["run_1"], time_limit=300).run()
    assert 240 < server.log[-1][1] - start < 300
    assert str(result.error).startswith("cancel requested; status check failed: GET ")


def test_without_a_time_limit_a_check_is_repeated_as_long_as_a_call_may_be(
    plan, server, clock, response
) -> None:
    server.add("run_1")
    server.instead["check run_1"] = [response(503, {"error": "busy"})] * 999
    start = clock.now
    plan(["run_1"]).run()
    assert 60 < server.log[-1][1] - start <= 120


def test_an_outage_shorter_than_the_time_limit_leaves_no_run_alive(
    plan, server, clock, exchange, response
) -> None:
    exchange.retry_for = 5.0
    run_ids = server.add(*[f"run_{number}" for number in range(200)], status="EXECUTING")
    until = clock.now + 5.5
    for run_id in run_ids:

        def fail_for_some_time(_: float, run_id: str = run_id) -> Any:
            if clock.now < until:
                server.instead[f"cancel {run_id}"].append(fail_for_some_time)
                return response(503, {"error": "busy"})
            server.runs[run_id]["status"] = "CANCELED"
            return response(200, {"id": run_id})

        server.instead[f"cancel {run_id}"] = [fail_for_some_time]
    results = plan(run_ids, time_limit=30).run()
    assert {result.outcome.value for result in results} == {"canceled"}


def test_a_server_that_stopped_responding_ends_the_work_and_is_named(plan, server, response) -> None:
    run_ids = server.add(*[f"run_{number}" for number in range(50)])
    for run_id in run_ids:
        server.instead[f"cancel {run_id}"] = [response(404, b"<html>")] * 99
        server.instead[f"check {run_id}"] = [response(404, b"<html>")] * 99
    driver = plan(run_ids)
    results = driver.run()
    assert driver.schedule.end is End.FINISHED
    assert len(server.log) < 50
    error = str(results[-1].error)
    assert error.startswith("not sent: the server stopped responding; last error: ")
