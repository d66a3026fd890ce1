"""What becomes of a task's run when the task is stopped, fails, or lets go of it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import ResponseError, ServerError
from airflow_provider_trigger.api.secret_key import SecretKey
from airflow_provider_trigger.run.cancel_guard import CancelGuard
from airflow_provider_trigger.run.drive import StoppedError
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.start import start_run

REQUEST = TaskRequest(task_identifier="resize", payload=None, options={"idempotencyKey": "k"})
WITHOUT_KEY = TaskRequest(task_identifier="resize", payload=None, options={})


class TimeLimitError(BaseException):
    """Like the error with which Airflow ends a task after its execution_timeout."""


@pytest.fixture
def make_guard(client, virtual_time, tell):
    def make(*, cancels: bool = True) -> CancelGuard:
        return CancelGuard(client, cancels=cancels, time_limit=4.0, tell=tell)

    return make


@pytest.fixture
def guard(make_guard) -> CancelGuard:
    made: CancelGuard = make_guard()
    return made


def fail(guard: CancelGuard, error: BaseException) -> None:
    with pytest.raises(type(error)), guard:
        raise error


@pytest.mark.parametrize("error", [ValueError("mine"), TimeLimitError(), KeyboardInterrupt(), StoppedError()])
def test_an_error_cancels_the_run(server, guard: CancelGuard, log, error: BaseException) -> None:
    run = server.add_run("EXECUTING")
    guard.run_id = run.id
    fail(guard, error)
    assert run.status == "CANCELED"
    assert log.leveled == [("info", f"Canceled run {run.id}")]


def test_its_client_is_closed_in_any_case(
    guard: CancelGuard, client, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(client, "close", lambda: closed.append(True))
    with guard:
        pass
    fail(guard, ValueError())
    assert closed == [True, True]


@pytest.mark.parametrize("status", [200, 503, 401])
def test_a_stop_logs_nothing_before_the_work_continues(
    status: int, server, guard: CancelGuard, network, answer, log, caplog: pytest.LogCaptureFixture
) -> None:
    # The code that the signal has interrupted may hold a lock of the log.
    run = server.add_run("EXECUTING")
    if status != 200:
        network.fault("/cancel", answer(status, {"error": "No"}), times=1000)
    caplog.set_level(logging.DEBUG)
    with guard:
        guard.run_id = run.id
        guard.stop()
        assert (log.lines, caplog.records) == ([], [])
        logging.getLogger("airflow_provider_trigger").info("as before")
    assert [record.message for record in caplog.records] == ["as before"]
    [(level, line)] = log.leveled
    assert (level, run.id in line) == ("info" if status == 200 else "error", True)


def test_a_task_that_was_stopped_ends_its_work(guard: CancelGuard, clock) -> None:
    guard.raise_if_stopped()
    guard.sleep(10)
    assert clock.now == 1010
    guard.stop()
    for call in (guard.raise_if_stopped, lambda: guard.sleep(0), lambda: guard.sleep(10)):
        with pytest.raises(StoppedError):
            call()
    assert clock.now == 1010


def test_a_run_of_an_earlier_process_is_taken_up(server, guard: CancelGuard) -> None:
    run = server.add_run("EXECUTING")
    guard.take_up(run.id)
    assert guard.run_id == run.id
    fail(guard, ValueError())
    assert run.status == "CANCELED"


@pytest.mark.parametrize("pushed", [None, 7, ["run_1"]])
def test_an_xcom_that_holds_no_id_is_no_run(guard: CancelGuard, network, pushed: object) -> None:
    guard.take_up(pushed)
    assert guard.run_id is None
    fail(guard, ValueError())
    assert network.requests == []


@pytest.mark.parametrize(
    ("act", "status"), [(CancelGuard.stop, "EXECUTING"), (CancelGuard.cancel, "CANCELED")]
)
def test_only_after_a_signal_a_cancel_has_no_time_for_the_rate_limit(
    act, status: str, server, guard: CancelGuard, network, log, answer
) -> None:
    run = server.add_run("EXECUTING")
    network.fault("/cancel", answer(429, {"error": "No"}, {"retry-after": "50"}))
    with guard:
        guard.take_up(run.id)
        act(guard)
    assert (run.status, len(log.of("error"))) == (status, status != "CANCELED")


def test_without_a_signal_a_cancel_ends_after_two_minutes(guard: CancelGuard, network, clock, answer) -> None:
    guard.take_up("run_1")
    network.fault("/cancel", answer(503, {"error": "No"}), times=1000)
    guard.cancel()
    assert 100 < clock.now - 1000 <= 120


def test_a_page_in_the_place_of_an_answer_passes(server, guard: CancelGuard, network, answer) -> None:
    run = server.add_run("EXECUTING")
    guard.run_id = run.id
    network.fault("/cancel", answer(404, b"<html>down for maintenance"), times=3)
    fail(guard, ValueError())
    assert run.status == "CANCELED"


# Runs that are to be left alone


def test_a_released_run_is_left_alone(server, guard: CancelGuard, network) -> None:
    guard.run_id = server.add_run("EXECUTING").id
    guard.release()
    guard.stop()
    fail(guard, ValueError())
    assert network.requests == []


# While the answer to the start has not come


@pytest.mark.parametrize("request_", [None, WITHOUT_KEY])
def test_without_a_key_nothing_can_be_found(guard: CancelGuard, network, request_) -> None:
    guard.request = request_
    guard.stop()
    assert network.requests == []


def test_a_start_that_failed_is_left_to_the_next_try(
    server, guard: CancelGuard, client, network, log, answer
) -> None:
    network.fault("/trigger", answer(500, {"error": "No"}), times=1000, arrives=True)
    guard.request = REQUEST

    def work() -> None:
        with guard:
            try:
                start_run(client, REQUEST, log=log)
            finally:
                network.repair()  # so that a cancel would not fail

    with pytest.raises(ServerError, match="answered 500"):
        work()
    [run] = server.runs.values()
    assert (run.cancel_requests, guard.run_id) == (0, None)
    assert log.lines == []


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_run_that_the_repeated_start_names_is_canceled_where_its_check_fails(
    status: int, server, guard: CancelGuard, client, network, log, answer, lost, clock
) -> None:
    server.on_task("resize", after=None)
    network.fault("/trigger", lost, arrives=True)
    network.fault("GET", answer(status, {"error": "Not found"}), times=6)
    with pytest.raises(ResponseError, match=f"answered {status}"), guard:
        start_run(client, REQUEST, log=log, on_id=guard.know)
    [run] = server.runs.values()
    assert (run.status, guard.run_id) == ("CANCELED", run.id)


def test_a_run_that_starts_in_spite_of_a_stop_is_canceled_as_well(
    server, guard: CancelGuard, client, network, log
) -> None:
    server.add_run("QUEUED", task_identifier="resize", idempotency_key="k").cancel()

    def stop(sent: str) -> None:  # as a signal does, while the key is reset
        if sent.endswith("/reset") and not guard.is_stopped:
            guard.stop()

    def work() -> None:
        with guard:
            guard.request = REQUEST
            start_run(client, REQUEST, log=log, sleep=guard.sleep, on_id=guard.know)
            guard.raise_if_stopped()

    network.before = stop
    with pytest.raises(StoppedError):
        work()
    assert {run.status for run in server.runs.values()} == {"CANCELED"}


# Errors


def test_a_cancel_that_fails_is_logged_and_not_raised(
    server, guard: CancelGuard, network, clock, log, lost
) -> None:
    run = server.add_run("EXECUTING")
    guard.run_id = run.id
    network.fault("/cancel", lost, times=1000)
    guard.stop()
    assert clock.now <= 1004
    network.repair()
    fail(guard, StoppedError())  # the last chance
    assert run.status == "CANCELED"
    [line] = log.of("error")
    assert line.startswith(
        f"Run {run.id} may still be running: cancel failed: POST /api/v2/runs/{run.id}/cancel "
    )
    assert line.endswith(WHAT_TO_DO)


def test_that_a_cancel_has_failed_is_logged_before_it_is_tried_again(
    server, guard: CancelGuard, network, log, lost
) -> None:
    # The process may be killed meanwhile.
    guard.run_id = server.add_run("EXECUTING").id
    network.fault("/cancel", lost, times=1000)
    guard.stop()
    seen: list[int] = []
    network.before = lambda sent: seen.append(len(log.of("error")))
    fail(guard, StoppedError())
    assert set(seen) == {1}
    assert len(log.of("error")) == 2


# After a cancel that was accepted

WHAT_TO_DO = ". Unless a retry waits for it, cancel it in the dashboard"


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "TIMED_OUT"])
def test_a_run_that_had_ended_is_not_called_canceled(server, guard: CancelGuard, log, status: str) -> None:
    run = server.add_run(status)
    with guard:
        guard.run_id = run.id
        guard.stop()
    assert log.leveled == [("info", f"Run {run.id} was {status} before its cancel")]


def test_a_run_that_is_alive_after_its_cancel_is_named_with_its_status(
    server, guard: CancelGuard, network, log, answer
) -> None:
    run = server.add_run("EXECUTING")
    network.fault("GET", answer(200, {"id": run.id, "status": "EXECUTING"}))
    guard.run_id = run.id
    fail(guard, StoppedError())
    accepted = "its cancel was accepted, but it is still EXECUTING"
    assert log.leveled == [("warning", f"Run {run.id} may still be running: {accepted}{WHAT_TO_DO}")]
    assert run.cancel_requests == 1


def test_a_run_that_cannot_be_checked_after_its_cancel_is_named_with_the_error(
    server, guard: CancelGuard, network, log, answer
) -> None:
    run = server.add_run("EXECUTING")
    network.fault("GET", answer(502, "bad gateway"), times=1000)
    guard.run_id = run.id
    fail(guard, StoppedError())
    [line] = log.of("warning")
    accepted = "its cancel was accepted, but its status could not be checked: "
    assert line.startswith(f"Run {run.id} may still be running: {accepted}GET /api/v3/runs/{run.id} ")
    assert line.endswith(WHAT_TO_DO)
    assert len(network.sent("GET")) == 1


@pytest.mark.parametrize("takes", [1.0, 3.9])
def test_cancel_and_check_have_one_time_limit(
    server, guard: CancelGuard, network, clock, log, takes: float, lost
) -> None:
    guard.run_id = server.add_run("EXECUTING").id

    def take_long(sent: str) -> None:
        clock.sleep(takes if sent.endswith("/cancel") else 0.1)

    network.before = take_long
    network.fault("GET", lost, times=1000)
    guard.stop()
    assert clock.now - 1000 == pytest.approx(takes + 0.1)


def test_a_run_is_not_checked_where_its_cancel_has_taken_all_of_the_time(
    server, guard: CancelGuard, network, clock, log
) -> None:
    run = server.add_run("EXECUTING")
    network.before = lambda sent: clock.sleep(4.5)
    with guard:
        guard.run_id = run.id
        guard.stop()
    assert network.requests == [f"POST /api/v2/runs/{run.id}/cancel"]
    [line] = log.of("warning")
    assert "its cancel was accepted, but its status could not be checked: the time limit was reached" in line


def test_a_lookup_that_fails_is_logged_and_not_raised(guard: CancelGuard, network, log, answer) -> None:
    guard.request = REQUEST
    network.fault("/trigger", answer(401, {"error": "Invalid API key"}), times=10)
    with guard:
        guard.stop()
    [line] = log.of("error")
    assert line.startswith(
        "Run of this task may still be running: cancel failed: POST /api/v1/tasks/resize/trigger "
    )


def test_an_error_of_any_kind_keeps_the_first_one(guard: CancelGuard, client, log, monkeypatch) -> None:
    def call(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug in X.")

    monkeypatch.setattr(client, "call", call)
    guard.run_id = "run_1"
    fail(guard, TimeLimitError())
    assert log.of("error") == [f"Run run_1 may still be running: cancel failed: a bug in X{WHAT_TO_DO}"]


# A key that was changed


@pytest.fixture
def rotated(server, connect, network, virtual_time, tell):
    """A guard whose key was changed at the server, and how often the new one was fetched."""
    fetched: list[str] = []

    def fetch() -> str:
        fetched.append(server.secret_key)
        return str(server.secret_key)

    key = SecretKey("tr_prod_of_before", fetch=fetch)
    client, _ = connect(network, key=key)
    return CancelGuard(client, cancels=True, time_limit=4.0, tell=tell), fetched, key


def test_in_a_signal_handler_no_key_is_fetched_and_afterwards_it_is(server, rotated, log) -> None:
    guard, fetched, _ = rotated
    run = server.add_run("EXECUTING")
    guard.run_id = run.id
    guard.stop()
    assert (run.status, fetched) == ("EXECUTING", [])
    fail(guard, StoppedError())
    assert (run.status, len(fetched)) == ("CANCELED", 1)
    assert [level for level, _ in log.leveled] == ["error", "info"]


def test_in_a_signal_handler_the_key_that_another_client_has_fetched_is_used(server, rotated) -> None:
    guard, fetched, key = rotated
    run = server.add_run("EXECUTING")
    guard.run_id = run.id
    key.replace(server.secret_key)
    guard.stop()
    assert (run.status, fetched) == ("CANCELED", [])
