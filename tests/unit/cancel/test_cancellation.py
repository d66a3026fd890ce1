from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any

import pytest
import requests

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.silence import FOREIGN_RUNS, SILENT_RUNS
from airflow_provider_trigger.cancel.cancellation import LOOK_AGAIN_AFTER, Cancellation, cancel_runs
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult

STARTED = {"startedAt": "2026-11-25T09:00:00Z"}
ENDED = STARTED | {"finishedAt": "2026-11-25T09:00:05Z"}
BUSY = (503, {"error": "busy"})


class Environment:
    """A script for the wire: runs that are canceled as Trigger.dev does it, unless told otherwise."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.runs: dict[str, dict[str, Any]] = {}
        # By method and run id, what is answered first, in place of the truth.
        self.instead: dict[tuple[str, str], list[Any]] = defaultdict(list)
        # By run id, what a run becomes with each look after its cancel.
        self.becomes: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.canceled: set[str] = set()

    def add(self, run_id: str, status: str = "QUEUED", **attributes: Any) -> None:
        self.runs[run_id] = {"id": run_id, "status": status, "taskIdentifier": "t"} | attributes

    def __call__(self, request: requests.PreparedRequest) -> Any:
        method, run_id = str(request.method), str(request.url).split("/runs/")[1].split("/")[0]
        if self.instead[method, run_id]:
            told = self.instead[method, run_id].pop(0)
            return told if isinstance(told, Exception) else self._answer(*told)
        run = self.runs.get(run_id)
        if run is None:
            return self._answer(404, {"error": "Resource not found"})
        if method == "POST":
            self.canceled.add(run_id)
            if run["status"] in ("QUEUED", "DELAYED", "EXECUTING", "WAITING"):
                run["status"] = "CANCELED"
        elif run_id in self.canceled and self.becomes[run_id]:
            run |= self.becomes[run_id].pop(0)
        return self._answer(200, run)


@pytest.fixture
def environment(answer: Any) -> Environment:
    return Environment(answer)


def cancel(
    connect: Any, script: Any, *run_ids: str, retry_for: float = 10, **options: Any
) -> list[CancelResult]:
    client, _ = connect(script, retry_for=retry_for)
    return Cancellation(client=client, run_ids=run_ids, **{"max_concurrency": 1} | options).run()


def told(result: CancelResult) -> tuple[str, str | None, bool]:
    return result.outcome.value, result.status, result.terminated


@pytest.mark.parametrize(
    ("status", "attributes", "expected"),
    [
        ("QUEUED", {}, ("canceled", "CANCELED", True)),
        ("DELAYED", {}, ("canceled", "CANCELED", True)),
        ("EXECUTING", STARTED, ("canceled", "CANCELED", False)),
        ("WAITING", STARTED, ("canceled", "CANCELED", False)),
        ("CANCELED", {}, ("canceled", "CANCELED", True)),
        ("COMPLETED", ENDED, ("already_completed", "COMPLETED", True)),
        ("FAILED", ENDED, ("already_completed", "FAILED", True)),
        ("EXPIRED", {}, ("already_completed", "EXPIRED", True)),
    ],
)
def test_the_look_decides_the_outcome(
    connect: Any, environment: Environment, status: str, attributes: dict[str, str], expected: tuple[Any, ...]
) -> None:
    environment.add("run_1", status, **attributes)
    [result] = cancel(connect, environment, "run_1")
    assert told(result) == expected
    assert (result.task_identifier, result.error) == ("t", None)


def test_an_unknown_run_is_not_found_and_not_looked_at(connect: Any, environment: Environment) -> None:
    client, wire = connect(environment)
    [result] = cancel_runs(client, ["run_x"])
    assert told(result) == ("not_found", None, False)
    assert len(wire.sent) == 1


def test_results_are_in_the_ids_order_and_each_id_counts_once(connect: Any, environment: Environment) -> None:
    for run_id in ("run_3", "run_1", "run_2"):
        environment.add(run_id)
    results = cancel(connect, environment, "run_3", "run_1", "run_3", "run_2", "run_1", max_concurrency=3)
    assert [result.run_id for result in results] == ["run_3", "run_1", "run_2"]


def test_every_cancel_is_sent_before_the_first_look(connect: Any, environment: Environment) -> None:
    client, wire = connect(environment)
    for run_id in ("run_1", "run_2", "run_3"):
        environment.add(run_id)
    Cancellation(client=client, run_ids=list(environment.runs), max_concurrency=1).run()
    assert [target.split()[0] for target in wire.targets] == ["POST"] * 3 + ["GET"] * 3


def test_no_ids_are_no_requests(connect: Any, environment: Environment) -> None:
    client, wire = connect(environment)
    assert cancel_runs(client, []) == []
    assert not wire.sent


def test_no_more_requests_are_on_their_way_than_allowed(connect: Any, environment: Environment) -> None:
    here: list[int] = []
    most = 0
    turn = threading.Barrier(3, timeout=5)

    def script(request: Any) -> Any:
        nonlocal most
        here.append(1)
        most = max(most, len(here))
        turn.wait()
        here.pop()
        return environment(request)

    for number in range(6):
        environment.add(f"run_{number}")
    cancel(connect, script, *environment.runs, max_concurrency=3)
    assert most == 3


# What goes wrong


def test_a_cancel_whose_answer_was_lost_is_told_as_the_run_is(
    connect: Any, environment: Environment, clock: Any
) -> None:
    environment.add("run_1", "CANCELED")
    environment.instead["POST", "run_1"] = [BUSY] * 99
    [result] = cancel(connect, environment, "run_1")
    assert told(result) == ("canceled", "CANCELED", True)
    assert result.error is None


def test_a_run_that_lives_after_its_cancel_failed_has_failed_with_that_reason(
    connect: Any, environment: Environment, clock: Any
) -> None:
    environment.add("run_1", "EXECUTING")
    environment.instead["POST", "run_1"] = [(403, {"error": "read only"})]
    [result] = cancel(connect, environment, "run_1")
    assert told(result) == ("failed", "EXECUTING", False)
    assert "answered 403: read only" in str(result.error)
    assert not result.retryable


def test_a_stale_look_is_looked_at_again(connect: Any, environment: Environment, clock: Any) -> None:
    environment.add("run_1")
    stale = {"id": "run_1", "status": "EXECUTING"}
    environment.instead["GET", "run_1"] = [(200, stale), (200, stale)]
    [result] = cancel(connect, environment, "run_1")
    assert told(result) == ("canceled", "CANCELED", True)
    assert sum(clock.slept) == pytest.approx(sum(LOOK_AGAIN_AFTER[:2]))


def test_a_run_that_lives_on_although_asked_to_stop_has_failed(
    connect: Any, environment: Environment, clock: Any
) -> None:
    environment.add("run_1", "HIBERNATING")
    [result] = cancel(connect, environment, "run_1")
    assert told(result) == ("failed", "HIBERNATING", False)
    assert result.error == "still HIBERNATING although the server took the cancel"
    assert result.retryable


def test_a_run_that_cannot_be_read_any_more_has_failed_and_is_not_unknown(
    connect: Any, environment: Environment, clock: Any
) -> None:
    environment.add("run_1")
    environment.instead["GET", "run_1"] = [(404, {"error": "Not found"})] * 9
    [result] = cancel(connect, environment, "run_1")
    assert told(result) == ("failed", None, False)
    assert str(result.error).startswith("unreadable after the cancel: GET ")
    assert result.retryable


def test_where_both_requests_fail_both_are_told(connect: Any, environment: Environment, clock: Any) -> None:
    environment.add("run_1")
    environment.instead["POST", "run_1"] = [(400, {"error": "first"})]
    environment.instead["GET", "run_1"] = [(400, {"error": "second"})]
    [result] = cancel(connect, environment, "run_1")
    assert result.outcome is CancelOutcome.FAILED
    assert "first" in str(result.error)
    assert "second" in str(result.error)


def test_one_runs_failure_stops_no_other(connect: Any, environment: Environment, clock: Any) -> None:
    for run_id in ("run_1", "run_2", "run_3"):
        environment.add(run_id)
    environment.instead["POST", "run_1"] = [(400, {"error": "no"})]
    environment.instead["GET", "run_2"] = [(200, b"<html>")] * 3
    results = cancel(connect, environment, "run_1", "..", "run_2", "run_x", "run_3")
    outcomes = [result.outcome.value for result in results]
    assert outcomes == ["failed", "failed", "failed", "not_found", "canceled"]
    assert [result.retryable for result in results[:3]] == [False, False, True]


def test_a_rejected_key_ends_the_work_at_once(connect: Any, environment: Environment) -> None:
    environment.add("run_1")
    environment.add("run_2")
    environment.instead["POST", "run_1"] = [(401, {"error": "Invalid API key"})]
    client, wire = connect(environment)
    work = Cancellation(client=client, run_ids=["run_1", "run_2"], max_concurrency=1)
    with pytest.raises(errors.AuthenticationError):
        work.run()
    assert len(wire.sent) == 1
    assert [result.outcome.value for result in work.results] == ["failed", "failed"]
    assert "Invalid API key" in str(work.results[0].error)
    assert str(work.results[1].error).startswith("not sent: ")
    assert not work.results[1].retryable


def test_a_bug_is_not_swallowed(connect: Any, environment: Environment) -> None:
    environment.add("run_1")
    environment.instead["POST", "run_1"] = [ZeroDivisionError("a bug")]
    with pytest.raises(ZeroDivisionError):
        cancel(connect, environment, "run_1")


# Time


def test_what_is_stopped_sends_nothing_new_and_tells_what_it_has(
    connect: Any, environment: Environment
) -> None:
    for run_id in ("run_1", "run_2"):
        environment.add(run_id)
    client, wire = connect(environment)
    work = Cancellation(
        client=client,
        run_ids=["run_1", "run_2"],
        max_concurrency=1,
        is_stopped=lambda: len(wire.sent) >= 2,
    )
    results = work.run()
    assert work.stopped
    assert len(wire.sent) < 4
    assert all(result.outcome in (CancelOutcome.CANCELED, CancelOutcome.FAILED) for result in results)
    assert all("stopped or its time was over" in str(r.error) for r in results if r.error)


def test_without_time_nothing_is_sent(connect: Any, environment: Environment) -> None:
    environment.add("run_1")
    client, wire = connect(environment)
    [result] = Cancellation(client=client, run_ids=["run_1"], time_limit=0).run()
    assert not wire.sent
    assert told(result) == ("failed", None, False)
    assert result.error == "not sent: the work was stopped or its time was over"
    assert result.retryable


def test_a_run_that_was_asked_but_not_looked_at_is_told_as_such(
    connect: Any, environment: Environment, clock: Any
) -> None:
    environment.add("run_1")

    def script(request: Any) -> Any:
        clock.now += 20
        return environment(request)

    [result] = cancel(connect, script, "run_1", time_limit=15)
    assert told(result) == ("failed", None, False)
    assert str(result.error).startswith("asked to cancel, but not looked at afterwards")


def test_a_server_that_is_long_silent_is_given_up(connect: Any, environment: Environment, clock: Any) -> None:
    run_ids = [f"run_{number}" for number in range(50)]
    client, wire = connect(lambda _: environment._answer(503, {"error": "down"}), retry_for=20)
    results = Cancellation(client=client, run_ids=run_ids, max_concurrency=1).run()
    assert {result.outcome for result in results} == {CancelOutcome.FAILED}
    assert all(result.retryable for result in results)
    asked = {target for target in wire.targets if target.startswith("POST")}
    assert len(asked) < len(run_ids)
    assert "down" in str(results[-1].error)


def test_what_a_silence_left_undone_is_told_as_given_up_and_not_as_stopped(
    connect: Any, environment: Environment, clock: Any
) -> None:
    run_ids = [f"run_{number}" for number in range(50)]
    for run_id in run_ids:
        environment.add(run_id, "EXECUTING", **STARTED)
        environment.instead["POST", run_id] = [BUSY] * 99
    results = cancel(connect, environment, *run_ids, retry_for=20)
    assert {result.outcome for result in results} == {CancelOutcome.FAILED}
    assert (results[0].status, "busy" in str(results[0].error)) == ("EXECUTING", True)
    unsent = [str(result.error) for result in results if result.status is None]
    assert unsent
    beginning = "not sent: given up, as this was met again and again: POST "
    assert all(error.startswith(beginning) for error in unsent)


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_a_dead_server_costs_the_time_of_one_call_and_a_few_requests(
    connect: Any, environment: Environment, clock: Any, count: int
) -> None:
    def script(request: Any) -> Any:
        clock.now += 1
        return environment._answer(503, {"error": "down"}, {"retry-after": "4"})

    run_ids = [f"run_{number}" for number in range(count)]
    client, wire = connect(script, retry_for=20)
    started_at = clock.now
    results = Cancellation(client=client, run_ids=run_ids, max_concurrency=1).run()
    asked = min(count, SILENT_RUNS)
    looks = min(count, SILENT_RUNS - 1) if count < SILENT_RUNS else 1
    assert [target.split()[0] for target in wire.targets[-looks - asked + 1 :]] == ["POST"] * (asked - 1) + [
        "GET"
    ] * looks
    assert clock.now - started_at <= 20 + 1 + (asked - 1) + looks
    assert all("down" in str(result.error) and result.retryable for result in results)


def test_a_silent_server_is_given_up_where_no_call_is_repeated(
    connect: Any, environment: Environment, clock: Any
) -> None:
    def script(request: Any) -> Any:
        clock.now += 30
        return requests.ReadTimeout()

    run_ids = [f"run_{number}" for number in range(50)]
    client, wire = connect(script, retry_for=0, timeout=30)
    results = Cancellation(client=client, run_ids=run_ids, max_concurrency=1).run()
    assert [target.split()[0] for target in wire.targets] == ["POST"] * SILENT_RUNS + ["GET"]
    assert "given up" in str(results[-1].error)


WRONG_HOSTS: dict[str, Any] = {
    "a page that says 404": (404, b"<html>"),
    "another product": (404, {"error": "Not Found", "status": 404}),
    "a redirect": (302, b"", {"location": "https://login.test/"}),
    "no certificate": requests.exceptions.SSLError("bad certificate"),
}


@pytest.mark.parametrize("answers", WRONG_HOSTS)
def test_a_wrong_host_is_given_up_after_a_few_runs(
    connect: Any, environment: Environment, clock: Any, answers: str
) -> None:
    said = WRONG_HOSTS[answers]
    client, wire = connect(said if isinstance(said, Exception) else environment._answer(*said))
    run_ids = [f"run_{number}" for number in range(50)]
    results = Cancellation(client=client, run_ids=run_ids, max_concurrency=1).run()
    assert [target.split()[0] for target in wire.targets] == ["POST"] * FOREIGN_RUNS + ["GET"]
    assert str(results[-1].error).startswith("not sent: given up, as this was met again and again: POST ")
    assert not any(result.retryable for result in results)


def test_pages_that_say_200_are_a_wrong_host_too(connect: Any, environment: Environment, clock: Any) -> None:
    client, wire = connect(environment._answer(200, b"<html>"))
    run_ids = [f"run_{number}" for number in range(50)]
    results = Cancellation(client=client, run_ids=run_ids, max_concurrency=1).run()
    looked_at = {target for target in wire.targets if target.startswith("GET")}
    assert len(looked_at) == FOREIGN_RUNS
    assert "given up" in str(results[-1].error)


def test_pages_for_some_runs_are_no_wrong_host(connect: Any, environment: Environment, clock: Any) -> None:
    run_ids = [f"run_{number}" for number in range(50)]
    for run_id in run_ids:
        environment.add(run_id)
    for run_id in run_ids[1:40]:
        environment.instead["POST", run_id] = [(404, b"<html>")]
    results = cancel(connect, environment, *run_ids)
    assert {result.outcome.value for result in results[40:]} == {"canceled"}


def test_a_few_quick_failures_are_no_silence_where_no_call_is_repeated(
    connect: Any, environment: Environment, clock: Any
) -> None:
    run_ids = [f"run_{number}" for number in range(10)]
    for run_id in run_ids:
        environment.add(run_id)
    for run_id in run_ids[:5]:
        environment.instead["POST", run_id] = [BUSY]
    client, wire = connect(environment, retry_for=0, timeout=30)
    Cancellation(client=client, run_ids=run_ids, max_concurrency=1).run()
    assert len(wire.sent) >= 20


def test_a_server_that_answers_again_is_tried_as_before(
    connect: Any, environment: Environment, clock: Any
) -> None:
    """The first run's cancel is in vain for all its time; the next one's is answered, the last one's late."""
    for run_id in ("run_1", "run_2", "run_3"):
        environment.add(run_id)
    environment.instead["POST", "run_1"] = [BUSY] * 99
    environment.instead["POST", "run_3"] = [BUSY] * 2

    def script(request: Any) -> Any:
        clock.now += 0.1
        return environment(request)

    results = cancel(connect, script, "run_1", "run_2", "run_3", retry_for=20)
    assert [result.outcome.value for result in results] == ["failed", "canceled", "canceled"]


def test_a_server_that_dies_midway_is_not_waited_for_twice(
    connect: Any, environment: Environment, clock: Any
) -> None:
    run_ids = [f"run_{number}" for number in range(10)]

    def script(request: Any) -> Any:
        clock.now += 1
        path = str(request.url)
        if request.method == "POST" and any(f"/{run_id}/" in path for run_id in run_ids[:5]):
            return environment(request)
        return environment._answer(503, {"error": "down"})

    for run_id in run_ids:
        environment.add(run_id)
    client, wire = connect(script, retry_for=20)
    results = Cancellation(client=client, run_ids=run_ids, max_concurrency=1).run()
    assert len([target for target in wire.targets if target.startswith("GET")]) == 1
    assert str(results[0].error).startswith("unreadable after the cancel: GET ")
    assert str(results[1].error).startswith(
        "asked to cancel, but not looked at afterwards: given up, as this was met again and again: GET "
    )
    assert "down" in str(results[5].error)
    assert str(results[9].error).startswith("not sent: given up")


def test_after_a_silence_an_answer_makes_looks_worth_repeating_again(
    connect: Any, environment: Environment, clock: Any
) -> None:
    run_ids = [f"run_{number}" for number in range(9)]
    for run_id in run_ids:
        environment.add(run_id)
    for run_id in run_ids[5:]:
        environment.instead["POST", run_id] = [BUSY] * 99
    environment.instead["GET", "run_1"] = [BUSY] * 2

    def script(request: Any) -> Any:
        clock.now += 0.1
        return environment(request)

    results = cancel(connect, script, *run_ids, retry_for=20)
    assert [result.outcome.value for result in results[:5]] == ["canceled"] * 5


def test_a_cancel_that_waited_in_vain_is_told_as_not_sent(
    connect: Any, environment: Environment, clock: Any
) -> None:
    def script(request: Any) -> Any:
        limits = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "1"}
        limits["x-ratelimit-reset"] = str(round((clock.time() + 50) * 1000))
        return environment._answer(200, {"id": "run_1", "status": "CANCELED"}, limits)

    results = cancel(connect, script, "run_1", "run_2", time_limit=10)
    assert [result.outcome.value for result in results] == ["failed", "failed"]
    assert str(results[0].error).startswith("asked to cancel, but not looked at")
    assert str(results[1].error).startswith("not sent: ")
    assert all(result.retryable for result in results)


# Waiting until it is over


def wait_for(connect: Any, script: Any, *run_ids: str, timeout: float = 90) -> list[CancelResult]:
    return cancel(connect, script, *run_ids, termination_timeout=timeout, poll_interval=2)


@pytest.mark.parametrize(
    ("status", "attributes"), [("QUEUED", {}), ("QUEUED", STARTED), ("DELAYED", {}), ("WAITING", STARTED)]
)
def test_a_run_that_no_worker_had_costs_no_waiting(
    connect: Any, environment: Environment, clock: Any, status: str, attributes: dict[str, str]
) -> None:
    environment.add("run_1", status, **attributes)
    [result] = wait_for(connect, environment, "run_1")
    assert told(result) == ("canceled", "CANCELED", True)
    assert clock.slept == []


def test_a_run_whose_worker_is_still_to_acknowledge_is_waited_for(
    connect: Any, environment: Environment, clock: Any
) -> None:
    environment.add("run_1", "EXECUTING", **STARTED)
    environment.becomes["run_1"] = [{}, {}, {"finishedAt": "2026-11-25T09:00:05Z"}]
    [result] = wait_for(connect, environment, "run_1")
    assert told(result) == ("canceled", "CANCELED", True)
    assert sum(clock.slept) == pytest.approx(4)


def test_a_run_that_was_started_just_before_its_cancel_is_waited_for(
    connect: Any, environment: Environment, clock: Any
) -> None:
    environment.add("run_1", "QUEUED")
    environment.becomes["run_1"] = [STARTED, {"finishedAt": "2026-11-25T09:00:05Z"}]
    [result] = wait_for(connect, environment, "run_1")
    assert told(result) == ("canceled", "CANCELED", True)
    assert sum(clock.slept) == pytest.approx(2)


def test_a_run_that_completes_in_spite_of_its_cancel_is_told_as_completed(
    connect: Any, environment: Environment, clock: Any
) -> None:
    environment.add("run_1", "EXECUTING", **STARTED)
    environment.becomes["run_1"] = [{}, {"status": "COMPLETED"}]
    [result] = wait_for(connect, environment, "run_1")
    assert told(result) == ("already_completed", "COMPLETED", True)


def test_what_is_not_over_in_time_stays_canceled_and_unterminated(
    connect: Any, environment: Environment, clock: Any
) -> None:
    environment.add("run_1", "EXECUTING", **STARTED)
    [result] = wait_for(connect, environment, "run_1", timeout=7)
    assert told(result) == ("canceled", "CANCELED", False)
    assert sum(clock.slept) <= 8


def test_a_look_that_fails_while_waiting_takes_nothing_back(
    connect: Any, environment: Environment, clock: Any
) -> None:
    environment.add("run_1", "EXECUTING", **STARTED)
    looks = [(200, {"id": "run_1", "status": "EXECUTING"} | STARTED)]
    looks += [(200, {"id": "run_1", "status": "CANCELED"} | STARTED), (400, {"error": "no"})]
    looks += [(200, {"id": "run_1", "status": "EXECUTING"} | STARTED)]
    environment.instead["GET", "run_1"] = looks
    environment.becomes["run_1"] = [ENDED]
    [result] = wait_for(connect, environment, "run_1")
    assert told(result) == ("canceled", "CANCELED", True)


def test_an_unknown_run_is_not_waited_for(connect: Any, environment: Environment, clock: Any) -> None:
    [result] = wait_for(connect, environment, "run_x")
    assert told(result) == ("not_found", None, False)
    assert clock.slept == []
