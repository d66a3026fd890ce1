"""What becomes of a task's run when the task is killed, fails, or lets go of it."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api.errors import ServerError
from airflow_provider_trigger.run.drive import StoppedError
from airflow_provider_trigger.run.own_run import OwnRun
from airflow_provider_trigger.run.start import TaskRequest, start_run

REQUEST = TaskRequest(task_identifier="resize", payload=None, options={"idempotencyKey": "k"})
WITHOUT_KEY = TaskRequest(task_identifier="resize", payload=None, options={})


class TimeLimitError(BaseException):
    """Like the error with which Airflow ends a task after its execution_timeout."""


@pytest.fixture
def make_own_run(client: Any, virtual_time: Any, log: Any) -> Any:
    def make(*, cancels: bool = True) -> OwnRun:
        return OwnRun(client, cancels=cancels, time_limit=4.0, log=log)

    return make


@pytest.fixture
def own_run(make_own_run: Any) -> OwnRun:
    made: OwnRun = make_own_run()
    return made


def fail(own_run: OwnRun, error: BaseException) -> None:
    with pytest.raises(type(error)), own_run:
        raise error


@pytest.mark.parametrize("error", [ValueError("mine"), TimeLimitError(), KeyboardInterrupt(), StoppedError()])
def test_an_error_cancels_the_run(server: Any, own_run: OwnRun, log: Any, error: BaseException) -> None:
    run = server.add_run("EXECUTING")
    own_run.run_id = run.id
    fail(own_run, error)
    assert run.status == "CANCELED"
    assert log.leveled == [("info", f"Canceled run {run.id}")]


def test_at_first_nothing_is_known_of_it(own_run: OwnRun) -> None:
    assert (own_run.run_id, own_run.request, own_run.is_killed) == (None, None, False)


def test_without_an_error_the_run_goes_on(server: Any, own_run: OwnRun, network: Any) -> None:
    run = server.add_run("EXECUTING")
    with own_run:
        own_run.run_id = run.id
    assert run.status == "EXECUTING"
    assert network.requests == []


def test_its_client_is_closed_in_any_case(
    own_run: OwnRun, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(client, "close", lambda: closed.append(True))
    with own_run:
        pass
    fail(own_run, ValueError())
    assert closed == [True, True]


def test_a_kill_cancels_the_run_once(server: Any, own_run: OwnRun, network: Any) -> None:
    run = server.add_run("EXECUTING")
    with own_run:
        own_run.run_id = run.id
        own_run.kill()
        assert run.status == "CANCELED"
        own_run.kill()
    assert own_run.is_killed
    assert run.cancel_requests == 1


def test_a_task_that_was_killed_ends_its_work(own_run: OwnRun, clock: Any) -> None:
    own_run.raise_if_killed()
    own_run.sleep(10)
    assert clock.now == 1010
    own_run.kill()
    for call in (own_run.raise_if_killed, lambda: own_run.sleep(0), lambda: own_run.sleep(10)):
        with pytest.raises(StoppedError):
            call()
    assert clock.now == 1010


def test_a_kill_ends_a_sleep_within_a_second(own_run: OwnRun, clock: Any, monkeypatch: Any) -> None:
    real = clock.sleep

    def sleep(seconds: float) -> None:
        real(seconds)
        if clock.now >= 1003:
            own_run.is_killed = True

    monkeypatch.setattr(clock, "sleep", sleep)
    with pytest.raises(StoppedError):
        own_run.sleep(60)
    assert clock.now < 1004


# Runs that are to be left alone


def test_a_released_run_is_left_alone(server: Any, own_run: OwnRun, network: Any) -> None:
    own_run.run_id = server.add_run("EXECUTING").id
    own_run.release()
    own_run.kill()
    fail(own_run, ValueError())
    assert network.requests == []


def test_so_is_every_run_where_none_is_to_be_canceled(server: Any, make_own_run: Any, network: Any) -> None:
    own_run = make_own_run(cancels=False)
    own_run.run_id, own_run.request = server.add_run("EXECUTING").id, REQUEST
    own_run.kill()
    fail(own_run, ValueError())
    own_run.run_id = None
    own_run.kill()
    assert network.requests == []
    assert own_run.is_killed


# While the answer to the start has not come


def test_a_kill_finds_the_run_by_its_key(server: Any, own_run: OwnRun, log: Any) -> None:
    run = server.add_run("EXECUTING", task_identifier="resize", idempotency_key="k")
    own_run.request = REQUEST
    own_run.kill()
    assert (run.status, own_run.run_id) == ("CANCELED", run.id)
    assert log.leveled == [("info", f"Canceled run {run.id}")]


def test_where_the_request_has_not_arrived_no_run_begins(server: Any, own_run: OwnRun, clock: Any) -> None:
    own_run.request = REQUEST
    own_run.kill()
    [run] = server.runs.values()
    clock.sleep(86400)
    assert (run.status, run.started_at) == ("CANCELED", None)


@pytest.mark.parametrize("request_", [None, WITHOUT_KEY])
def test_without_a_key_nothing_can_be_found(own_run: OwnRun, network: Any, request_: Any) -> None:
    own_run.request = request_
    own_run.kill()
    assert network.requests == []


def test_a_timeout_during_the_start_cancels_the_run_by_its_key(server: Any, own_run: OwnRun) -> None:
    run = server.add_run("EXECUTING", task_identifier="resize", idempotency_key="k")
    own_run.request = REQUEST
    fail(own_run, TimeLimitError())
    assert run.status == "CANCELED"


def test_a_start_that_failed_is_left_to_the_next_try(
    server: Any, own_run: OwnRun, client: Any, network: Any, log: Any, answer: Any
) -> None:
    network.fault("/trigger", answer(500, {"error": "No"}), times=1000, arrives=True)
    own_run.request = REQUEST

    def work() -> None:
        with own_run:
            try:
                start_run(client, REQUEST, log=log)
            finally:
                network.repair()  # so that a cancel would not fail

    with pytest.raises(ServerError, match="answered 500"):
        work()
    [run] = server.runs.values()
    assert (run.cancel_requests, own_run.run_id) == (0, None)
    assert log.lines == []


def test_a_run_that_starts_in_spite_of_a_kill_is_canceled_as_well(
    server: Any, own_run: OwnRun, client: Any, network: Any, log: Any
) -> None:
    server.add_run("QUEUED", task_identifier="resize", idempotency_key="k").cancel()

    def kill(sent: str) -> None:  # as a signal does, while the key is reset
        if sent.endswith("/reset") and not own_run.is_killed:
            own_run.kill()

    def work() -> None:
        with own_run:
            own_run.request = REQUEST
            own_run.run_id = start_run(client, REQUEST, log=log, sleep=own_run.sleep).run_id
            own_run.raise_if_killed()

    network.before = kill
    with pytest.raises(StoppedError):
        work()
    assert {run.status for run in server.runs.values()} == {"CANCELED"}


# Errors


def test_a_cancel_that_fails_is_logged_and_not_raised(
    server: Any, own_run: OwnRun, network: Any, clock: Any, log: Any, lost: Any
) -> None:
    run = server.add_run("EXECUTING")
    own_run.run_id = run.id
    network.fault("/cancel", lost, times=1000)
    own_run.kill()
    assert clock.now <= 1004
    [line] = log.of("error")
    assert line.startswith(f"Run {run.id} may still be running: POST /api/v2/runs/{run.id}/cancel ")
    network.repair()
    fail(own_run, StoppedError())  # the last chance
    assert run.status == "CANCELED"


def test_a_lookup_that_fails_is_logged_and_not_raised(
    own_run: OwnRun, network: Any, log: Any, answer: Any
) -> None:
    own_run.request = REQUEST
    network.fault("/trigger", answer(401, {"error": "Invalid API key"}), times=10)
    own_run.kill()
    [line] = log.of("error")
    assert line.startswith("Run of this task may still be running: POST /api/v1/tasks/resize/trigger ")


def test_an_error_of_any_kind_keeps_the_first_one(
    own_run: OwnRun, client: Any, log: Any, monkeypatch: Any
) -> None:
    def call(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(client, "call", call)
    own_run.run_id = "run_1"
    fail(own_run, TimeLimitError())
    assert log.of("error") == ["Run run_1 may still be running: a bug"]
