"""Many runs are canceled in bulk first, then one by one where that left some out."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api.errors import TransportError
from airflow_provider_trigger.cancel.confirmation import LAG, PAUSE
from airflow_provider_trigger.cancel.outcome import CancelResult, End
from airflow_provider_trigger.cancel.record import Action

WAITING = {"termination_timeout": 90.0, "poll_interval": 2.0}


@pytest.fixture
def many(server) -> list[str]:
    """More runs than two bulk actions take, all executing."""
    run_ids: list[str] = server.add(
        *[f"run_{number}" for number in range(1200)], status="EXECUTING", startedAt="2026-11-25T09:00:00Z"
    )
    return run_ids


def outcomes(results: list[CancelResult]) -> set[str]:
    return {result.outcome.value for result in results}


@pytest.mark.parametrize(("count", "request_name"), [(300, "cancel run_0"), (301, "bulk")])
def test_more_than_300_runs_are_canceled_in_bulk(
    plan, server, many: list[str], count: int, request_name: str
) -> None:
    driver = plan(many[:count])
    assert driver.name(driver.begin()) == request_name


def test_an_invalid_id_among_many_is_reported_as_invalid(plan, server, many: list[str]) -> None:
    results = plan([*many[:400], ".."]).run()
    assert results[-1].outcome.value == "failed"
    assert str(results[-1].error).endswith("'..' cannot be the id of a run")
    assert not results[-1].retryable
    assert outcomes(results[:-1]) == {"canceled"}


# Several bulk actions


def test_the_first_bulk_action_goes_alone_until_the_server_has_accepted_it(
    plan, server, many: list[str]
) -> None:
    driver = plan(many)
    first = driver.begin()
    assert driver.schedule.take() == float("inf")
    driver.finish(first)  # its first check goes out
    second, third = driver.begin(), driver.begin()
    assert [len(job.subject.records) for job in (first, second, third)] == [500, 500, 200]
    assert {job.action for job in (first, second, third)} == {Action.BULK_CANCEL}


def test_the_other_bulk_actions_follow_also_where_the_first_cannot_be_checked(
    plan, server, many: list[str], clock
) -> None:
    driver = plan(many, time_limit=40)
    job = driver.begin()
    clock.now += 10  # its share
    driver.finish(job)
    names = [driver.name(driver.begin()) for _ in range(3)]
    assert names == ["bulk", "bulk", "cancel run_499"]


def test_a_bulk_action_that_fails_does_not_take_the_accepted_ones_back(
    plan, server, many: list[str], response
) -> None:
    driver = plan(many)
    driver.do(driver.take())
    second = driver.begin()
    driver.finish(second, response(400, {"error": "no"}))
    assert driver.records[499].bulk.id == "bulk_1"
    assert driver.records[500].bulk is None
    assert driver.records[1199].bulk is not None
    assert outcomes(driver.run()) == {"canceled"}
    assert server.names.count("bulk") == 2
    assert server.names.count("cancel run_500") == 1
    assert "cancel run_499" not in server.names
    assert "cancel run_1000" not in server.names


# Older servers, and failures


def test_where_a_bulk_action_was_rejected_runs_are_checked_before_their_cancel(
    plan, server, many: list[str]
) -> None:
    server.knows_bulk_actions = False
    driver = plan(many, **WAITING)
    driver.do(driver.take())
    assert driver.name(driver.begin()) == "check run_0"
    assert {record.bulk for record in driver.records} == {None}


@pytest.mark.parametrize("status", [500, 503])
def test_where_a_bulk_action_may_have_been_accepted_a_check_before_is_outdated(
    plan, server, many: list[str], response, status: int
) -> None:
    driver = plan(many, **WAITING)
    driver.finish(driver.begin(), response(status, {"error": "broken"}))
    assert driver.name(driver.begin()) == "cancel run_0"


def test_where_a_bulk_action_was_not_answered_a_check_before_is_outdated(plan, many: list[str]) -> None:
    driver = plan(many, **WAITING)
    driver.finish(driver.begin(), TransportError("connection lost"))
    assert driver.name(driver.begin()) == "cancel run_0"
    # The other parts were not sent, so their runs are as new.
    assert driver.records[500].bulk is None


# What is reported where the end comes early


def errors(driver: Any) -> list[Any]:
    driver.schedule.stop()
    return [result.error for result in driver.schedule.results()]


def test_a_bulk_action_in_flight_is_not_reported_as_not_sent(plan, many: list[str]) -> None:
    driver = plan(many)
    driver.begin()
    reported = errors(driver)
    assert set(reported[:500]) == {
        "cancel requested by a bulk action that was not answered, "
        "but the status was not checked: canceling was stopped"
    }
    assert set(reported[500:]) == {"not sent: canceling was stopped"}


def test_a_bulk_action_that_may_have_been_accepted_is_not_reported_as_not_sent(
    plan, many: list[str], response
) -> None:
    driver = plan(many)
    driver.finish(driver.begin(), response(503, {"error": "busy"}))
    assert str(errors(driver)[0]).startswith("cancel requested by a bulk action that was not answered")


@pytest.mark.parametrize("status", [403, 404, 499])
def test_a_bulk_action_that_was_rejected_is_reported_as_not_sent(
    plan, many: list[str], response, status: int
) -> None:
    driver = plan(many)
    job = driver.begin()
    assert job.subject.is_sent is True
    driver.finish(job, response(status, {"error": "no"}))
    assert job.subject.is_sent is False
    assert set(errors(driver)) == {"not sent: canceling was stopped"}


def test_a_time_limit_that_is_reached_while_a_bulk_action_waits_changes_no_record(
    plan, many: list[str], clock, error
) -> None:
    driver = plan(many, time_limit=10)
    job = driver.take()
    clock.now += 10
    driver.schedule.finish(job, error=error("not sent"))
    assert driver.schedule.take() is None
    assert {result.error for result in driver.schedule.results()} == {"not sent: the time limit was reached"}


def test_progress_counts_the_runs_of_a_bulk_action_once_it_makes_progress(
    plan, server, many: list[str], shown_bulk
) -> None:
    server.instead["check bulk_1"] = [shown_bulk(), shown_bulk(success=1)]
    driver = plan(many[:400])
    requested = []
    for _ in range(2):
        driver.do(driver.take())
        requested.append(driver.schedule.progress())
        server.clock.now += 0.5
    assert requested == [
        "0 of 400 cancel requests sent, 0 runs finished",
        "400 of 400 cancel requests sent, 0 runs finished",
    ]


# Bulk actions without progress, and runs that are added


def begin_late(driver: Any, server: Any, shown_bulk: Any) -> None:
    """Let a bulk action begin 4 s after it was accepted, and see that it has handled a run by then."""
    server.instead["check bulk_1"] = [shown_bulk()] * 4 + [shown_bulk(success=1)]
    for pause in (0.5, 0.75, 1.125, 0.0):
        driver.do(driver.take())
        server.clock.now += pause
    driver.do(driver.take())
    assert server.names == ["bulk", *["check bulk_1"] * 4, "cancel run_0"]
    server.clock.now += 2
    driver.do(driver.take())
    assert server.names[-1] == "check bulk_1"


@pytest.mark.parametrize("settings", [{}, WAITING, {"time_limit": 120.0, "confirm_from": 300}])
def test_once_a_bulk_action_begins_that_was_stalled_a_query_spares_cancels_of_runs_that_have_ended(
    plan, server, many: list[str], shown_bulk, settings: dict[str, Any]
) -> None:
    """The others get theirs at once, and do not wait until the bulk action comes to them."""
    server.left_out = {f"run_{number}" for number in range(100, 400)}
    driver = plan(many[:400], **settings)
    begin_late(driver, server, shown_bulk)
    begun_at = server.clock.now
    assert outcomes(driver.run()) == {"canceled"}
    following = server.names[len(server.names) - server.names[::-1].index("check bulk_1") :]
    [queried] = [index for index, name in enumerate(following) if name == "query"][:1]
    canceled = [name for name in following if name.startswith("cancel")]
    assert not any(name.startswith("cancel") for name in following[:queried])
    assert sorted(canceled) == sorted(f"cancel {run_id}" for run_id in server.left_out)
    assert max(at for name, at in server.log if name.startswith("cancel")) <= begun_at + LAG + PAUSE
    # Only with ``confirm_from`` a query takes the place of a check.
    checked = {name for name in server.names if name.startswith("check run")}
    assert len(checked) == (0 if "confirm_from" in settings else 400)


def test_without_a_query_runs_are_checked_before_a_cancel_that_a_bulk_action_may_spare(
    plan, server, many: list[str], response, shown_bulk
) -> None:
    server.instead["query"] = [response(404, b"<html>")]
    server.left_out = {"run_7"}
    driver = plan(many[:400])
    begin_late(driver, server, shown_bulk)
    assert outcomes(driver.run()) == {"canceled"}
    assert [name for name in server.names if name.startswith("cancel")] == ["cancel run_0", "cancel run_7"]


@pytest.mark.parametrize("confirm_from", [20, float("inf")])
def test_in_the_second_half_of_the_time_each_run_gets_its_own_cancel_in_place_of_a_check(
    plan, server, many: list[str], response, shown_bulk, confirm_from: float
) -> None:
    """A server that is overloaded takes 1 s for a check: with one first, most runs would get no cancel."""

    def shown_late(run_id: str) -> Any:
        server.clock.now += 1.0
        return response(200, server.runs[run_id])

    server.left_out = set(many[:400])
    server.instead["check bulk_1"] = [shown_bulk("COMPLETED", success=400)]
    server.instead["query"] = [TransportError("overloaded")] * 3
    for run_id in many[:400]:
        server.instead[f"check {run_id}"] = [lambda _, run_id=run_id: shown_late(run_id)]
    plan(many[:400], time_limit=120.0, confirm_from=confirm_from).run()
    begun_at = server.log[0][1]
    canceled_at = {name: at - begun_at for name, at in reversed(server.log) if name.startswith("cancel")}
    assert len(canceled_at) == 400
    assert 60 <= max(canceled_at.values()) <= 62


def test_runs_that_are_added_are_canceled_at_once_and_from_301_on_in_bulk(
    plan, server, many: list[str]
) -> None:
    driver = plan([])
    driver.schedule.awaits_more = True
    assert driver.schedule.take() == float("inf")
    driver.schedule.add(many[:1])
    assert driver.name(driver.begin()) == "cancel run_0"
    driver.schedule.add(many[:300])
    assert driver.name(driver.begin()) == "cancel run_1"
    driver.schedule.add(many[250:400])
    bulk_action = driver.begin()
    assert [record.run_id for record in bulk_action.subject.records] == many[300:400]


def test_it_ends_when_no_more_runs_are_added(plan, server, many: list[str]) -> None:
    driver = plan(many[:1])
    driver.schedule.awaits_more = True
    driver.do(driver.take())
    driver.do(driver.take())
    assert driver.schedule.take() == float("inf")
    driver.schedule.awaits_more = False
    assert driver.schedule.take() is None
    assert driver.schedule.end is End.FINISHED


def test_where_a_bulk_action_was_rejected_runs_that_are_added_are_canceled_alone(
    plan, server, many: list[str]
) -> None:
    server.knows_bulk_actions = False
    driver = plan(many[:400])
    driver.schedule.awaits_more = True
    driver.do(driver.take())
    driver.schedule.add(many[400:500])
    driver.schedule.awaits_more = False
    assert outcomes(driver.run()) == {"canceled"}
    assert server.names.count("bulk") == 1


def test_checks_wait_for_a_bulk_action_that_may_be_canceling(plan, server, many: list[str]) -> None:
    driver = plan(many[:1])
    driver.schedule.add(many[1:400])
    bulk_action = driver.begin()
    driver.do(driver.take())
    assert server.names == ["cancel run_0"]
    assert driver.schedule.take() == float("inf")
    driver.finish(bulk_action)
    assert driver.name(bulk_action) == "check bulk_1"


def test_a_few_runs_that_are_added_to_many_are_canceled_one_by_one(plan, server) -> None:
    driver = plan(server.add(*[f"run_{number}" for number in range(301)]))
    driver.schedule.add(server.add(*[f"late_{number}" for number in range(9)]))
    driver.schedule.add(server.add(*[f"later_{number}" for number in range(10)]))
    driver.run()
    assert server.names.count("bulk") == 2
    assert {name for name in server.names if name.startswith("cancel")} == {
        f"cancel late_{number}" for number in range(9)
    }
