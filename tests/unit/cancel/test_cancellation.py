"""Cancellations of a few runs: what is sent when, and what is reported. Texts are in test_outcome.py."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api.errors import AuthenticationError

WAITING: dict[str, Any] = {"termination_timeout": 90.0, "poll_interval": 2.0}


BUSY = (503, {"error": "busy"})
BUSY_FOR_9_S = (*BUSY, {"retry-after": "9"})
REJECTED = (401, {"error": "Invalid API key"})
STALE = (200, {"id": "run_1", "status": "EXECUTING", "taskIdentifier": "t"})


def errors(work: Any) -> list[str]:
    return [str(result.error) for result in work.results]


# Order, and requests that fail


def test_a_request_that_is_repeated_is_put_aside_and_holds_nothing_up(add, cancel, line) -> None:
    line.fault("cancel run_1", *BUSY)
    work = cancel(add("run_1", "run_2"), max_concurrency=1)
    assert line.sent == [
        ("cancel run_1", 0.0),
        ("cancel run_2", 0.0),
        ("check run_2", 0.0),
        ("cancel run_1", 0.5),
        ("check run_1", 0.5),
    ]
    assert work.finished
    assert not work.stopped


def test_one_unanswered_cancel_costs_the_other_runs_nothing(add, cancel, line) -> None:
    run_ids = add(*[f"run_{number:02}" for number in range(20)])
    line.fault("cancel run_00", "no answer", times=99)
    work = cancel(run_ids, max_concurrency=2, time_limit=30.0)
    assert line.outcomes(work) == {
        run_id: "canceled" if run_id != "run_00" else "failed" for run_id in run_ids
    }
    assert set(line.at("check")[:19]) == {0.0}


def test_results_are_in_the_order_of_the_ids_however_they_ended(add, cancel, line) -> None:
    add("run_1", "run_2", "run_3", status="EXECUTING")
    for name in ("cancel run_1", "check run_2"):
        line.fault(name, 403, {"error": "no"})
    work = cancel(iter(["run_1", "..", "run_2", "run_x", "run_3", "run_1"]))
    assert list(line.outcomes(work).items()) == [
        ("run_1", "failed"),  # alive
        ("..", "failed"),  # an id that cannot be sent
        ("run_2", "failed"),  # its check failed
        ("run_x", "not_found"),
        ("run_3", "canceled"),
    ]
    assert [result.retryable for result in work.results[:3]] == [False] * 3
    assert [result.status for result in work.results[:3]] == ["EXECUTING", None, None]
    assert errors(work)[1] == "not sent: '..' cannot be the id of a run"


@pytest.mark.parametrize("run_ids", [[], ["..", "."]])
def test_without_ids_that_can_be_sent_nothing_is_sent(cancel, line, run_ids: list[str]) -> None:
    work = cancel(run_ids, **WAITING)
    assert line.outcomes(work) == dict.fromkeys(run_ids, "failed")
    assert work.finished
    assert not line.sent


def test_a_cancel_whose_answer_was_lost_is_reported_as_the_run_is(add, cancel, line) -> None:
    line.fault("cancel run_1", *BUSY, times=99, arrives=True)
    [result] = cancel(add("run_1")).results
    assert (result.outcome.value, result.status, result.error) == ("canceled", "CANCELED", None)


def test_a_run_that_cannot_be_checked_after_its_cancel_is_not_unknown(add, cancel, line) -> None:
    line.fault("check run_1", 404, {"error": "Not found"}, {"x-should-retry": "true"}, times=9)
    work = cancel(add("run_1"))
    assert errors(work)[0].startswith("cancel requested; status check failed: GET ")
    assert work.results[0].retryable
    assert len(line.of("check")) == 4


# Outdated checks, and one more cancel


def test_an_outdated_check_is_repeated(add, cancel, line) -> None:
    line.fault("check run_1", *STALE, times=2)
    assert line.outcomes(cancel(add("run_1"))) == {"run_1": "canceled"}
    assert line.at("check") == [0.0, 0.5, 1.5]


def test_a_run_that_stays_alive_gets_two_cancels_and_a_repeated_one_counts_once(add, cancel, line) -> None:
    line.fault("cancel run_1", *BUSY, times=2)
    line.fault("check run_1", *STALE, times=99)
    work = cancel(add("run_1"))
    assert errors(work) == ["still EXECUTING after 2 cancel requests"]
    assert work.results[0].retryable
    assert line.names == ["cancel run_1"] * 3 + (["check run_1"] * 5 + ["cancel run_1"]) + ["check run_1"] * 5
    assert line.sent[-1][1] == 0.5 + 1.0 + 7.5 + 7.5


def test_a_run_that_is_alive_after_a_cancel_that_failed_gets_another_one(add, cancel, line) -> None:
    line.fault("cancel run_1", 500, {"error": "broken"}, times=6)
    assert line.outcomes(cancel(add("run_1", status="EXECUTING"))) == {"run_1": "canceled"}
    assert line.names == ["cancel run_1"] * 6 + ["check run_1", "cancel run_1", "check run_1"]


def test_a_run_that_was_seen_is_not_unknown_whatever_its_second_cancel_says(add, cancel, line) -> None:
    line.fault("check run_1", *STALE, times=99)
    line.fault("cancel run_1", 200, {"id": "run_1"})
    line.fault("cancel run_1", 404, {"error": "Resource not found"})
    work = cancel(add("run_1"))
    assert errors(work)[0].startswith("still EXECUTING after 2 cancel requests; last error: POST ")


# How long requests are repeated


@pytest.mark.parametrize(
    ("request_", "time_limit", "earliest", "latest"),
    [
        ("cancel", None, 60, 120),  # as long as any call
        ("cancel", 300, 120, 240),  # time for a check is left
        ("check", None, 60, 120),
        ("check", 300, 240, 300),
    ],
)
def test_a_request_is_repeated_while_there_is_time_for_it(
    add, cancel, line, request_: str, time_limit: float | None, earliest: float, latest: float
) -> None:
    line.fault(f"{request_} run_1", *BUSY, times=999, arrives=True)
    work = cancel(add("run_1"), time_limit=time_limit)
    assert earliest < line.at(request_)[-1] <= latest
    assert work.results[0].outcome.value == ("canceled" if request_ == "cancel" else "failed")


def test_an_outage_that_is_longer_than_a_call_is_repeated_leaves_no_run_alive_within_the_time_limit(
    add, cancel, line, client, network, clock
) -> None:
    client.exchange.retry_for = 5.0
    line.fault("any", *BUSY, times=10_000)
    clock.after(5.5, network.repair)
    run_ids = add(*[f"run_{number}" for number in range(100)], status="EXECUTING")
    assert set(line.outcomes(cancel(run_ids, time_limit=30)).values()) == {"canceled"}


def test_a_server_that_is_none_of_trigger_devs_costs_a_few_requests(add, cancel, line) -> None:
    line.fault("any", 404, b"<html>", times=1000)
    work = cancel(add(*[f"run_{number}" for number in range(50)]))
    assert work.finished
    assert len(line.sent) < 50
    assert errors(work)[-1].startswith("not sent: the server stopped responding; last error: ")


# The end from outside


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"stop_at": 2.4}, "canceling was stopped"), ({"time_limit": 2.4}, "the time limit was reached")],
)
def test_at_an_early_end_each_run_has_what_is_known_of_it(
    add, cancel, line, clock, options: dict[str, float], reason: str
) -> None:
    line.latency = 1.0
    begun_at = clock.now
    clock.after(2.4, lambda: None)  # the calling thread looks several times a second
    work = cancel(add("run_1", "run_2", "run_3", "run_4"), max_concurrency=1, **options)
    assert errors(work) == [
        f"cancel requested, but the status was not checked: {reason}",
        f"cancel requested, but the status was not checked: {reason}",
        f"cancel requested, but not acknowledged: {reason}",
        f"not sent: {reason}",
    ]
    assert all(result.retryable for result in work.results)
    assert work.stopped is ("stop_at" in options)
    assert not work.finished
    assert clock.now - begun_at < 3.0  # the third one's answer would have come then


def test_a_cancel_that_waited_in_vain_for_the_rate_limit_was_not_sent(add, cancel, line, clock) -> None:
    limits = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "1"}
    limits["x-ratelimit-reset"] = str(round((clock.time() + 50) * 1000))
    line.fault("cancel run_1", 200, {"id": "run_1"}, limits, arrives=True)
    work = cancel(add("run_1", "run_2"), time_limit=10, max_concurrency=1)
    assert line.names == ["cancel run_1"]
    assert errors(work)[1] == "not sent: the time limit was reached"


def test_an_error_after_which_the_request_was_to_be_repeated_is_named_at_the_end(add, cancel, line) -> None:
    line.fault("cancel run_1", *BUSY_FOR_9_S)
    [error] = errors(cancel(add("run_1"), stop_at=1.0))
    assert error.startswith("cancel requested, but not acknowledged: canceling was stopped; last error: POST")
    assert error.endswith("answered 503: busy")


def test_where_the_server_as_a_whole_does_not_respond_its_last_error_is_named(add, cancel, line) -> None:
    line.fault("any", "lost", times=1000)
    work = cancel(add(*[f"run_{number}" for number in range(20)]), stop_at=0.4, max_concurrency=1)
    assert errors(work)[-1].startswith("not sent: canceling was stopped; last error: POST ")


def test_results_say_what_to_do_also_before_the_end_and_are_final_afterwards(add, prepare, line) -> None:
    asked: list[str] = []

    def act(error: Any) -> str:
        asked.append(str(error))
        return f"act {len(asked)}"

    for name in ("cancel run_1", "check run_1"):
        line.fault(name, 403, {"error": "no"})
    work = prepare(add("run_1"), action_for=act)
    assert errors(work) == ["not sent: canceling was stopped"]
    [result] = work.run()
    assert str(result.error).endswith("; act 1")
    assert work.results == work.results == [result]
    assert len(asked) == 1


# A rejected key


def test_a_rejected_key_ends_all_after_one_request_more(add, prepare, line) -> None:
    line.fault("cancel run_1", *REJECTED, times=2)
    work = prepare(add("run_1", "run_2"), max_concurrency=1)
    with pytest.raises(AuthenticationError, match="Invalid API key"):
        work.run()
    assert line.names == ["cancel run_1"] * 2
    first, second = errors(work)
    assert first.startswith("cancel failed: POST ")
    assert second == "not sent: the secret key was rejected"
    assert not any(result.retryable for result in work.results)
    assert (work.finished, work.stopped) == (False, False)


def test_a_key_that_is_revoked_on_the_way_ends_all_too(add, prepare, line) -> None:
    line.fault("check run_1", *REJECTED, times=2)
    line.fault("check run_2", *BUSY_FOR_9_S)
    work = prepare(add("run_1", "run_2"))
    with pytest.raises(AuthenticationError):
        work.run()
    assert line.names[-1] == "check run_1"
    first, second = errors(work)
    assert first.startswith("cancel requested; status check failed: GET ")
    assert second == "cancel requested, but the status was not checked: the secret key was rejected"


@pytest.mark.parametrize(
    ("name", "options", "headers"),
    [
        ("cancel run_2", {}, {"retry-after": "60"}),
        ("cancel run_2", {}, {"x-should-retry": "false"}),
        ("check run_2", WAITING, {}),  # the one before the cancel, which is not repeated
    ],
)
def test_a_single_401_ends_nothing_whatever_the_server_says_of_another_try(
    add, cancel, line, name: str, options: dict[str, Any], headers: dict[str, str]
) -> None:
    line.fault(name, 401, {"error": "from a gateway"}, headers)
    work = cancel(add("run_1", "run_2", "run_3"), time_limit=30, **options)
    assert set(line.outcomes(work).values()) == {"canceled"}


# Progress, threads, and runs that are added


def test_progress_is_logged_every_10_s(add, cancel, line, caplog) -> None:
    caplog.set_level("INFO", logger="airflow_provider_trigger.cancel.rounds")
    line.latency = 6.0
    cancel(add("run_1", "run_2", "run_3"), max_concurrency=1)
    first, *_, last = (one for one in caplog.messages if " cancel requests sent, " in one)
    assert first == "2 of 3 cancel requests sent, 0 runs finished"
    assert last == "3 of 3 cancel requests sent, 2 runs finished"


def test_progress_names_the_last_error_while_the_server_does_not_respond(add, cancel, line, caplog) -> None:
    caplog.set_level("INFO", logger="airflow_provider_trigger.cancel.rounds")
    line.fault("any", *BUSY, times=1000)
    cancel(add("run_1", "run_2"), time_limit=15)
    [progress] = (one for one in caplog.messages if " cancel requests sent, " in one)
    assert progress.startswith("2 of 2 cancel requests sent, 0 runs finished; last error: POST ")


@pytest.mark.parametrize(
    ("count", "options", "threads"),
    [
        (100, {}, 32),
        (100, {"max_concurrency": 8}, 8),
        (3, {"max_concurrency": 8}, 3),
        (0, {"max_concurrency": 8}, 0),
        (1, {"max_concurrency": 8, "include_descendants": True}, 8),
    ],
)
def test_there_are_no_more_threads_than_allowed_or_needed(
    cancel, line, count: int, options: dict[str, Any], threads: int
) -> None:
    cancel([f"run_{number}" for number in range(count)], **options)
    assert line.counts == [threads]


def test_further_runs_are_canceled_once_by_as_many_threads_as_allowed(add, prepare, line) -> None:
    work = prepare(add("run_1", "run_2", "run_3")[:1], max_concurrency=8)
    work.run(iter([["run_2"], [], ["run_1", "run_3"]]))
    assert line.outcomes(work) == {"run_1": "canceled", "run_2": "canceled", "run_3": "canceled"}
    assert (len(line.of("cancel")), line.counts) == (3, [8])
    assert work.finished


# Waiting until runs are terminated


def test_each_cancel_follows_its_own_check_at_once_and_is_checked_until_terminated(add, cancel, line) -> None:
    run_ids = [*add("run_1"), *add("run_2", status="EXECUTING", acknowledge_after=3.0)]
    work = cancel(run_ids, **WAITING, max_concurrency=1)
    assert line.names[:4] == ["check run_1", "cancel run_1", "check run_2", "cancel run_2"]
    assert line.at("check run_1") == [0.0, 0.0]
    assert line.at("check run_2") == [0.0, 0.0, 2.0, 4.0]
    assert [result.terminated for result in work.results] == [True, True]


@pytest.mark.parametrize(("latency", "is_terminated"), [(1.5, True), (1.6, False)])
def test_how_old_a_check_is_counts_from_its_sending(
    add, cancel, line, latency: float, is_terminated: bool
) -> None:
    line.latency = latency
    [result] = cancel(add("run_1", status="WAITING"), termination_timeout=9.0).results
    assert result.terminated is is_terminated
    assert (len(line.sent) == 3) is is_terminated


def test_without_an_acknowledged_cancel_a_run_is_waited_for_from_its_first_check_on(
    add, cancel, server, line
) -> None:
    add("run_1", status="WAITING")
    server.runs["run_1"].cancel()
    line.fault("cancel run_1", 403, {"error": "no"})
    [result] = cancel(["run_1"], termination_timeout=7.0, poll_interval=2.0).results
    assert (result.outcome.value, result.terminated) == ("canceled", False)
    assert line.sent[-1][1] == pytest.approx(6.3)


@pytest.mark.parametrize(
    ("options", "timeouts"),
    [
        # The check before the cancel holds it up for 6 s at most, or until the time limit.
        ({"termination_timeout": 90.0}, [2.0, 30.0, 30.0]),
        ({"termination_timeout": 90.0, "time_limit": 4.5}, [1.5, 1.5, 1.5]),
        # The first check after it is not limited by the wait; those that follow are.
        ({"termination_timeout": 4.5}, [2.0, 30.0, 30.0, 1.0, 0.5, 0.45]),
    ],
)
def test_how_long_each_request_of_a_wait_may_take(
    add, cancel, line, options: dict[str, float], timeouts: list[float]
) -> None:
    cancel(add("run_1", status="EXECUTING", acknowledge_after=None), poll_interval=2.0, **options)
    assert line.timeouts[: len(timeouts)] == pytest.approx(timeouts)
    assert len(line.timeouts) == len(timeouts) or options["termination_timeout"] == 90.0
