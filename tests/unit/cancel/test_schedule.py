"""Which request goes out next, and what the answers add up to. More is in test_schedule_*.py."""

from __future__ import annotations

import math

from airflow_provider_trigger.cancel.outcome import CancelResult, End
from airflow_provider_trigger.cancel.record import Action


def shown(result: CancelResult) -> tuple[str, str | None, bool]:
    return result.outcome.value, result.status, result.terminated


# Order


def test_one_unanswered_cancel_costs_the_other_runs_nothing(plan, server, clock) -> None:
    driver = plan(server.add(*[f"run_{number}" for number in range(20)]), time_limit=30)
    driver.begin()
    for _ in range(19):
        driver.do(driver.take())
    for _ in range(19):
        driver.do(driver.take())
    clock.now += 30
    assert driver.schedule.take() is None
    outcomes = [result.outcome.value for result in driver.schedule.results()]
    assert outcomes == ["failed"] + ["canceled"] * 19


def test_a_retry_is_put_aside_and_holds_nothing_up(plan, server, response) -> None:
    server.instead["cancel run_1"] = [response(503, {"error": "busy"})]
    driver = plan(server.add("run_1", "run_2"))
    start = server.clock.now
    assert [result.outcome.value for result in driver.run()] == ["canceled", "canceled"]
    assert server.log == [
        ("cancel run_1", start),
        ("cancel run_2", start),
        ("check run_2", start),
        ("cancel run_1", start + 0.5),
        ("check run_1", start + 0.5),
    ]


def test_a_retry_counts_as_the_same_cancel(plan, server, response) -> None:
    server.instead["cancel run_1"] = [response(503, {"error": "busy"})] * 3
    driver = plan(server.add("run_1"))
    driver.run()
    assert server.names.count("cancel run_1") == 4
    assert driver.records[0].cancels == 1


def test_it_returns_how_long_there_is_nothing_to_do(plan, server, clock, response) -> None:
    server.instead["cancel run_1"] = [response(503, {"error": "busy"}, retry_after="7")]
    driver = plan(server.add("run_1"))
    driver.do(driver.take())
    assert driver.schedule.take() == 7.0
    clock.now += 6.0
    assert driver.schedule.take() == 1.0
    clock.now += 1.0
    assert driver.take().action is Action.CANCEL
    assert driver.schedule.take() == math.inf


def test_it_returns_how_long_there_is_nothing_to_do_but_not_beyond_the_time_limit(
    plan, server, clock
) -> None:
    driver = plan(server.add("run_1"), time_limit=30)
    driver.begin()
    clock.now += 4.0
    assert driver.schedule.take() == 26.0


def test_it_ends_when_all_runs_are_finished(plan, server) -> None:
    driver = plan(server.add("run_1"))
    job = driver.begin()
    assert driver.schedule.end is None
    driver.finish(job)
    driver.do(driver.take())
    assert driver.schedule.end is None
    assert driver.schedule.take() is None
    assert driver.schedule.end is End.FINISHED


# Outcomes


def test_results_are_in_the_order_of_the_runs_however_they_ended(plan, server, response) -> None:
    server.add("run_1", "run_2", "run_3")
    server.instead["cancel run_1"] = [response(403, {"error": "no"})]
    server.instead["check run_1"] = [response(403, {"error": "no"})]
    server.instead["check run_2"] = [response(403, {"error": "no"})]
    results = plan(["run_1", "..", "run_2", "run_x", "run_3"]).run()
    assert [result.run_id for result in results] == ["run_1", "..", "run_2", "run_x", "run_3"]
    outcomes = [result.outcome.value for result in results]
    assert outcomes == ["failed", "failed", "failed", "not_found", "canceled"]


def test_a_cancel_whose_answer_was_lost_is_reported_as_the_run_is(plan, server, response) -> None:
    server.add("run_1", status="CANCELED")
    server.instead["cancel run_1"] = [response(503, {"error": "busy"})] * 99
    [result] = plan(["run_1"]).run()
    assert shown(result) == ("canceled", "CANCELED", True)
    assert result.error is None


def test_a_run_that_is_alive_after_a_permanent_failure_is_reported_with_it(plan, server, response) -> None:
    server.add("run_1", status="EXECUTING")
    server.instead["cancel run_1"] = [response(403, {"error": "read only"})]
    [result] = plan(["run_1"]).run()
    assert shown(result) == ("failed", "EXECUTING", False)
    assert "answered 403: read only" in str(result.error)
    assert not result.retryable
    assert server.names == ["cancel run_1", "check run_1"]


def test_a_run_that_cannot_be_checked_after_its_cancel_has_failed_and_is_not_unknown(
    plan, server, response
) -> None:
    server.add("run_1")
    server.instead["check run_1"] = [response(404, {"error": "Not found"}, x_should_retry="true")] * 9
    [result] = plan(["run_1"]).run()
    assert shown(result) == ("failed", None, False)
    assert str(result.error).startswith("cancel requested; status check failed: GET ")
    assert result.retryable
    assert server.names.count("check run_1") == 4


# Progress


def test_progress_counts_requests_and_checks(plan, server) -> None:
    driver = plan(server.add("run_1", "run_2", "run_3"))
    assert driver.schedule.progress() == "0 of 3 cancel requests sent, 0 runs finished"
    driver.do(driver.take())
    driver.begin()
    driver.do(driver.take())
    assert driver.schedule.progress() == "3 of 3 cancel requests sent, 0 runs finished"
    driver.do(driver.take())
    assert driver.schedule.progress() == "3 of 3 cancel requests sent, 1 run finished"


def test_progress_names_the_last_error_while_the_server_does_not_respond(plan, server, response) -> None:
    server.instead["cancel run_1"] = [response(503, {"error": "busy"})]
    driver = plan(server.add("run_1", "run_2"))
    driver.do(driver.take())
    progress = driver.schedule.progress()
    assert progress.startswith("1 of 2 cancel requests sent, 0 runs finished; last error: POST ")
    assert "answered 503: busy" in progress
    driver.do(driver.take())
    assert driver.schedule.progress() == "2 of 2 cancel requests sent, 0 runs finished"
