"""Which request goes out next, and what the answers add up to. More is in test_schedule_*.py."""

from __future__ import annotations

import math
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import TransportError
from airflow_provider_trigger.cancel.outcome import CancelResult, End
from airflow_provider_trigger.cancel.record import Action

STARTED = {"startedAt": "2026-11-25T09:00:00Z"}
FINISHED = {"finishedAt": "2026-11-25T09:00:05Z"}
WAITING = {"termination_timeout": 90.0, "poll_interval": 2.0}


def shown(result: CancelResult) -> tuple[str, str | None, bool]:
    return result.outcome.value, result.status, result.terminated


# Order


def test_cancels_go_before_checks(plan, server) -> None:
    plan(server.add("run_1", "run_2", "run_3")).run()
    assert server.names == [
        "cancel run_1",
        "cancel run_2",
        "cancel run_3",
        "check run_1",
        "check run_2",
        "check run_3",
    ]


def test_a_run_whose_cancel_has_returned_is_checked_without_waiting_for_the_others(plan, server) -> None:
    driver = plan(server.add("run_1", "run_2"))
    first, second = driver.begin(), driver.begin()
    driver.finish(second)
    check = driver.begin()
    assert driver.name(check) == "check run_2"
    driver.finish(check)
    assert driver.schedule.take() == math.inf
    result = driver.schedule.results()[1]
    assert shown(result) == ("canceled", "CANCELED", True)
    driver.finish(first)
    assert driver.name(driver.begin()) == "check run_1"


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


def test_a_single_request_does_not_use_up_the_time_limit(plan, server, clock) -> None:
    server.add("run_1")
    timeouts: list[float] = []

    def hang(timeout: float) -> TransportError:
        timeouts.append(timeout)
        clock.now += timeout
        return TransportError("no answer")

    server.instead["cancel run_1"] = [hang]
    [result] = plan(["run_1"], time_limit=30).run()
    assert timeouts == [10.0]
    assert shown(result) == ("canceled", "CANCELED", True)


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


def test_no_runs_are_no_requests(plan, server) -> None:
    driver = plan([])
    assert driver.run() == []
    assert driver.schedule.end is End.FINISHED
    assert not server.log


# Outcomes


@pytest.mark.parametrize(
    ("status", "attributes", "expected"),
    [
        ("QUEUED", {}, ("canceled", "CANCELED", True)),
        ("DELAYED", {}, ("canceled", "CANCELED", True)),
        ("EXECUTING", STARTED, ("canceled", "CANCELED", False)),
        ("WAITING", STARTED, ("canceled", "CANCELED", False)),
        ("CANCELED", {}, ("canceled", "CANCELED", True)),
        ("COMPLETED", STARTED | FINISHED, ("already_completed", "COMPLETED", True)),
        ("FAILED", STARTED | FINISHED, ("already_completed", "FAILED", True)),
        ("EXPIRED", {}, ("already_completed", "EXPIRED", True)),
    ],
)
def test_the_check_decides_the_outcome(
    plan, server, status: str, attributes: dict[str, str], expected: tuple[Any, ...]
) -> None:
    server.add("run_1", status=status, **attributes)
    [result] = plan(["run_1"]).run()
    assert shown(result) == expected
    assert (result.run_id, result.task_identifier, result.error) == ("run_1", "t", None)


def test_an_unknown_run_is_not_found_and_not_checked(plan, server) -> None:
    [result] = plan(["run_x"]).run()
    assert shown(result) == ("not_found", None, False)
    assert server.names == ["cancel run_x"]


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


def test_a_page_with_status_200_acknowledges_nothing_and_is_tried_again(plan, server, response) -> None:
    server.add("run_1")
    server.instead["cancel run_1"] = [response(200, b"<html>")] * 2
    [result] = plan(["run_1"]).run()
    assert shown(result) == ("canceled", "CANCELED", True)
    assert server.names == ["cancel run_1"] * 3 + ["check run_1"]


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
