"""A cancellation that ends early, and what is reported of each run then."""

from __future__ import annotations

import pytest

from airflow_provider_trigger.api.errors import AuthenticationError, TransportError
from airflow_provider_trigger.api.retry import LONGEST_DOUBT
from airflow_provider_trigger.cancel.outcome import End

LOST = TransportError("POST /cancel to trigger.test: connection lost", reason="connection lost")


# A rejected key


def test_a_rejected_key_ends_all_after_one_request_more(plan, server, response) -> None:
    server.instead["cancel run_1"] = [response(401, {"error": "Invalid API key"})] * 2
    driver = plan(server.add("run_1", "run_2"))
    first, second = driver.run()
    assert server.names == ["cancel run_1"] * 2
    assert driver.schedule.end is End.KEY_REJECTED
    assert "Invalid API key" in str(driver.schedule.rejection)
    assert "Invalid API key" in str(first.error)
    assert second.error == "not sent: the secret key was rejected"
    assert not first.retryable
    assert not second.retryable


def test_a_key_that_is_revoked_on_the_way_ends_all_too(plan, server, response) -> None:
    server.instead["check run_1"] = [response(401, {"error": "Invalid API key"}, retry_after="5")] * 2
    server.instead["check run_2"] = [response(503, {"error": "busy"}, retry_after="9")]
    driver = plan(server.add("run_1", "run_2"))
    first, second = driver.run()
    assert server.names[-1] == "check run_1"
    assert driver.schedule.end is End.KEY_REJECTED
    assert "status check failed: GET " in str(first.error)
    assert second.error == ("cancel requested, but the status was not checked: the secret key was rejected")


@pytest.mark.parametrize("headers", [{"retry_after": "60"}, {"x_should_retry": "false"}])
def test_a_single_401_ends_nothing_whatever_the_server_says_of_another_try(
    plan, server, response, headers: dict[str, str]
) -> None:
    server.instead["cancel run_2"] = [response(401, {"error": "from a gateway"}, **headers)]
    driver = plan(server.add("run_1", "run_2", "run_3"), time_limit=30)
    assert {result.outcome.value for result in driver.run()} == {"canceled"}
    assert driver.schedule.rejection is None


@pytest.fixture
def doubtful(plan, server, response):
    """A driver whose first cancel has got a 401, while the second one is in flight and a third one is due."""
    driver = plan(server.add("run_1", "run_2", "run_3"))
    driver.first, driver.second = driver.begin(), driver.begin()
    driver.finish(driver.first, response(401, {"error": "from a gateway"}))
    return driver


def test_after_a_401_nothing_else_is_sent_before_its_next_try_and_until_that_is_answered(
    doubtful, clock
) -> None:
    clock.now += doubtful.schedule.take()
    assert doubtful.take() is doubtful.first
    assert doubtful.schedule.take() == pytest.approx(LONGEST_DOUBT)
    doubtful.begin(doubtful.first)
    assert doubtful.schedule.take() < LONGEST_DOUBT
    doubtful.finish(doubtful.first)
    assert doubtful.name(doubtful.begin()) == "cancel run_3"


def test_an_answer_that_shows_a_valid_key_lets_the_others_go_on_and_the_next_try_takes_its_turn(
    doubtful, clock
) -> None:
    doubtful.finish(doubtful.second)
    assert doubtful.name(doubtful.begin()) == "cancel run_3"
    clock.now += 1.0
    assert doubtful.take() is doubtful.first  # before the check of run_2
    assert doubtful.name(doubtful.begin()) == "check run_2"


def test_a_failure_that_shows_nothing_of_the_key_lets_the_others_wait(doubtful) -> None:
    before = doubtful.schedule.take()
    doubtful.finish(doubtful.second, TransportError("no answer", retryable=False))
    assert doubtful.schedule.take() == before


@pytest.mark.parametrize("is_repeated", [True, False])
def test_a_next_try_that_fails_for_another_reason_lets_the_others_go_on(
    doubtful, clock, is_repeated: bool
) -> None:
    clock.now += doubtful.schedule.take()
    doubtful.begin(doubtful.take())
    doubtful.finish(doubtful.first, TransportError("no answer", retryable=is_repeated))
    assert doubtful.name(doubtful.begin()) == "cancel run_3"


def test_a_401_that_was_not_confirmed_ends_one_run_only(plan, server) -> None:
    """As where no time was left for another try."""
    driver = plan(server.add("run_1", "run_2"))
    job = driver.begin()
    error = AuthenticationError(
        method="POST", path="/cancel", status=401, detail="no", request_id=None, retryable=False
    )
    driver.schedule.finish(job, error=error)
    assert driver.schedule.end is None
    first, second = driver.run()
    assert driver.schedule.rejection is None
    assert (first.outcome.value, second.outcome.value) == ("failed", "canceled")
    assert first.error == "still QUEUED after 1 cancel request; last error: POST /cancel answered 401: no"


# The end from outside


def test_the_time_limit_ends_it(plan, server, clock) -> None:
    driver = plan(server.add("run_1", "run_2"), time_limit=10)
    first, second = driver.begin(), driver.begin()
    driver.finish(first)
    clock.now += 9.9
    assert driver.schedule.check_deadline() is None
    clock.now += 0.1
    assert driver.schedule.check_deadline() is End.TIME_LIMIT
    assert driver.schedule.take() is None
    driver.finish(second)
    assert driver.schedule.take() is None
    results = driver.schedule.results()
    expected = "cancel requested, but the status was not checked: the time limit was reached"
    assert [result.error for result in results] == [expected, expected]


def test_a_cancel_that_waited_in_vain_for_the_rate_limit_is_reported_as_not_sent(
    plan, server, clock, response
) -> None:
    limits = {"x_ratelimit_limit": "100", "x_ratelimit_remaining": "1"}
    limits["x_ratelimit_reset"] = str(round((clock.time() + 50) * 1000))
    server.instead["cancel run_1"] = [response(200, {"id": "run_1"}, **limits)]
    driver = plan(server.add("run_1", "run_2"), time_limit=10)
    first, second = driver.run()
    assert first.error == "cancel requested, but the status was not checked: the time limit was reached"
    assert second.error == "not sent: the time limit was reached"
    assert second.retryable
    assert server.names == ["cancel run_1"]


def test_a_cancel_in_flight_at_the_end_is_not_reported_as_not_sent(plan, server) -> None:
    driver = plan(server.add("run_1", "run_2"))
    driver.begin()
    driver.schedule.stop()
    first, second = driver.schedule.results()
    assert first.error == "cancel requested, but not acknowledged: canceling was stopped"
    assert second.error == "not sent: canceling was stopped"
    assert first.retryable
    assert second.retryable


def test_a_stop_ends_it(plan, server, clock) -> None:
    driver = plan(server.add("run_1", "run_2"), time_limit=10)
    job = driver.begin()
    driver.schedule.stop()
    assert driver.schedule.end is End.STOPPED
    assert driver.schedule.take() is None
    driver.finish(job)
    assert driver.schedule.take() is None
    clock.now += 11
    assert driver.schedule.check_deadline() is End.STOPPED


def test_a_stop_after_the_end_changes_nothing(plan, server) -> None:
    driver = plan(server.add("run_1"))
    driver.run()
    driver.schedule.stop()
    assert driver.schedule.end is End.FINISHED


def test_a_request_that_was_to_be_repeated_names_its_error_at_the_end(plan, server, response) -> None:
    server.instead["cancel run_1"] = [response(503, {"error": "busy"}, retry_after="9")]
    driver = plan(server.add("run_1"))
    job = driver.begin()
    driver.finish(job, response(503, {"error": "busy"}, retry_after="9"))
    driver.schedule.stop()
    (result,) = driver.schedule.results()
    assert result.error.startswith(
        "cancel requested, but not acknowledged: canceling was stopped; last error: POST"
    )
    assert result.error.endswith("answered 503: busy")


def test_where_the_server_as_a_whole_does_not_respond_its_last_error_is_named(plan, server) -> None:
    driver = plan(server.add("run_1"))
    breaker = driver.schedule._exchange.breaker
    for _ in range(9):
        breaker.failed(LOST, is_permanent=False, sent_at=0.0)
    driver.schedule.stop()
    assert driver.schedule.results()[0].error == "not sent: canceling was stopped"
    breaker.failed(LOST, is_permanent=False, sent_at=0.0)
    named = f"not sent: canceling was stopped; last error: {LOST}"
    assert driver.schedule.results()[0].error == named
