"""What becomes of the runs of a batch when its task is stopped, or fails."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import ServerError, TransportError
from airflow_provider_trigger.run.batch.guard import BatchGuard
from airflow_provider_trigger.run.batch.parts import divide
from airflow_provider_trigger.run.batch.sending import Sending
from airflow_provider_trigger.run.drive import StoppedError
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.steps import Cancel, Check

TAG = "airflow_task:start"


@pytest.fixture
def make_guard(client, batch_time, tell) -> Iterator[Any]:
    made: list[BatchGuard] = []

    def make(*, cancels: bool = True, time_limit: float = 4.0) -> BatchGuard:
        made.append(BatchGuard(client, cancels=cancels, time_limit=time_limit, tell=tell))
        return made[-1]

    yield make
    for guard in made:
        guard.threads.close()


@pytest.fixture
def guard(make_guard: Callable[..., BatchGuard]) -> BatchGuard:
    return make_guard()


def fail(guard: BatchGuard, error: BaseException) -> None:
    with pytest.raises(type(error)), guard:
        raise error


def sending_of(first: int, count: int, **fields: Any) -> Sending:
    requests = {
        index: TaskRequest(task_identifier="t", payload=index, options={"idempotencyKey": f"k{index}"})
        for index in range(first, first + count)
    }
    [part] = divide(requests)
    return Sending(part=part, **fields)


def add(server, count: int) -> list[Any]:
    return [server.add_run("EXECUTING") for _ in range(count)]


def test_its_threads_are_known_by_their_name(make_guard) -> None:
    before = set(threading.enumerate())
    make_guard()
    made = set(threading.enumerate()) - before
    assert {thread.name.rpartition("-")[0] for thread in made} == {"trigger-dev-batch"}


def test_each_run_is_known_once(guard: BatchGuard) -> None:
    guard.run_ids = ["run_1", None, "run_2", "run_1"]
    assert guard.known_ids == ["run_1", "run_2"]
    guard.run_ids[1] = "run_3"
    assert guard.known_for_all == ["run_1", "run_3", "run_2", "run_1"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), StoppedError()])
def test_an_error_cancels_all_runs_and_lets_nothing_more_be_sent(
    server, guard: BatchGuard, log, error: BaseException
) -> None:
    runs = add(server, 3)
    guard.run_ids = [*(run.id for run in runs), None]
    fail(guard, error)
    assert {run.status for run in runs} == {"CANCELED"}
    assert sorted(log.of("info")) == sorted(f"Canceled run {run.id}" for run in runs)
    assert guard.is_stopped


def test_without_an_error_or_once_they_are_released_the_runs_continue(server, make_guard, network) -> None:
    for guard in (make_guard(), make_guard(), make_guard(cancels=False)):
        guard.run_ids = [run.id for run in add(server, 2)]
    first, second, third = server.runs, network.requests, guard
    with make_guard() as ended:
        ended.run_ids = list(first)
    assert not ended.is_stopped
    released = make_guard()
    released.run_ids = list(first)
    released.release()
    fail(released, ValueError())
    third.stop()
    ended.stop()
    assert second == []


def test_a_stop_cancels_each_run_once(server, guard: BatchGuard) -> None:
    runs = add(server, 2)
    guard.run_ids = [run.id for run in runs]
    with guard:
        guard.stop()
        guard.stop()
    assert [run.cancel_requests for run in runs] == [1, 1]


def test_what_failed_at_the_stop_is_tried_again_at_the_end(
    server, guard: BatchGuard, network, answer
) -> None:
    runs = add(server, 2)
    guard.run_ids = [run.id for run in runs]
    network.fault(f"{runs[1].id}/cancel", answer(400, {}))
    guard.stop()
    assert [run.status for run in runs] == ["CANCELED", "EXECUTING"]
    guard.stop()
    assert [run.status for run in runs] == ["CANCELED", "CANCELED"]
    fail(guard, StoppedError())
    assert [run.cancel_requests for run in runs] == [1, 1]


def test_a_stop_logs_nothing_before_the_work_continues(server, guard: BatchGuard, log) -> None:
    guard.run_ids = [run.id for run in add(server, 25)]
    with guard:
        guard.stop()
        assert log.lines == []
    [(level, line)] = log.leveled
    assert level == "info"
    assert line.startswith("The cancel of 25 of 25 runs was accepted, and bulk action bulk_")


def test_where_one_bulk_action_is_not_enough_each_is_named(
    server, guard: BatchGuard, log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_trigger.run.batch.cancel.MAX_SIZE", 20)
    guard.run_ids = [run.id for run in add(server, 25)]
    fail(guard, StoppedError())
    [line] = log.of("info")
    assert re.search(r", and bulk action bulk_\w+, bulk_\w+ cancels all$", line)


def test_runs_that_have_ended_are_left_alone(server, guard: BatchGuard, network) -> None:
    ended, alive = server.add_run("COMPLETED"), server.add_run("EXECUTING")
    guard.run_ids, guard.ended = [ended.id, alive.id], {ended.id}
    guard.stop()
    assert (ended.cancel_requests, alive.cancel_requests) == (0, 1)


def test_what_is_not_confirmed_is_counted_and_named(server, guard: BatchGuard, network, answer, log) -> None:
    runs = add(server, 25)
    guard.run_ids = [run.id for run in runs]
    network.fault("/cancel", answer(400, {"error": "Not in region X."}), times=1000)
    network.fault("/bulk-actions", answer(404, {}), times=1000)
    fail(guard, ValueError())
    assert log.of("info") == ["The cancel of 0 of 25 runs was accepted"]
    [line] = log.of("error")
    assert line.startswith("25 runs may still be running, as the cancel is not confirmed: 25 runs (")
    assert ", ".join(sorted(run.id for run in runs)) in line
    assert (
        " answered 400: Not in region X. Unless a retry waits for them, cancel them in the dashboard" in line
    )


def test_where_no_time_is_left_the_log_says_so(server, make_guard, network, log) -> None:
    [run], guard = add(server, 1), make_guard(time_limit=0.0)
    guard.run_ids = [run.id]
    guard.stop()
    fail(guard, StoppedError())
    assert network.requests == []
    assert log.of("error")[1:] == [
        f"Run {run.id} may still be running: cancel failed: there was no time left. Unless a retry waits for "
        "it, cancel it in the dashboard"
    ]


# XCom


@pytest.mark.parametrize(
    ("pushed", "known"),
    [("run_1", ["run_1"]), (["run_1", None, 7, "run_2"], ["run_1", "run_2"]), (None, []), ([], [])],
)
def test_it_takes_up_what_an_earlier_process_has_pushed(pushed: Any, known: list[str], guard) -> None:
    guard.take_up(pushed)
    assert guard.known_ids == known


# Requests in flight


def test_a_request_in_flight_is_waited_for(server, guard: BatchGuard, clock, monkeypatch) -> None:
    runs = add(server, 2)
    guard.run_ids = [None] * 4
    sending = sending_of(1, 2, was_sent=True)
    guard.sendings.append(sending)

    def answers() -> float:
        sending.run_ids = tuple(run.id for run in runs)
        return float(clock.now)

    monkeypatch.setattr(clock, "monotonic", answers)
    monkeypatch.setattr("airflow_provider_trigger.run.batch.guard.time", clock)
    guard.stop()
    assert guard.run_ids == [None, runs[0].id, runs[1].id, None]
    assert {run.status for run in runs} == {"CANCELED"}


@pytest.mark.parametrize(("is_killed", "half"), [(True, 2), (False, 60)])
def test_a_request_without_an_answer_takes_half_of_the_time(
    is_killed: bool, half: float, make_guard, clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard, sending = make_guard(), sending_of(0, 3, was_sent=True)
    if is_killed:
        guard.stop()
    guard.run_ids = [None] * 3
    guard.sendings.append(sending)
    begun, sleep = clock.now, clock.sleep

    def sleep_until_it_is_answered(seconds: float) -> None:
        sleep(seconds)
        sending.is_done = clock.now > begun + half + 1

    monkeypatch.setattr(clock, "sleep", sleep_until_it_is_answered)
    for module in ("cancel", "guard"):
        monkeypatch.setattr(f"airflow_provider_trigger.run.batch.{module}.time", clock)
    assert guard.collect_ids() == [sending]
    assert clock.now - begun == pytest.approx(half)


@pytest.mark.parametrize("is_killed", [True, False])
def test_only_after_a_signal_there_is_no_time_for_the_list_to_show_them(
    is_killed: bool, server, guard: BatchGuard, clock, network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_trigger.run.batch.guard.time", clock)
    server.list_lag = 2.0
    runs = [server.add_run("EXECUTING", tags=[TAG], idempotency_key=key) for key in ("k0", "k1", "k2")]
    guard.tag, guard.run_ids = TAG, [None] * 3
    guard.sendings.append(sending_of(0, 3, was_sent=True, is_done=True))
    (guard.stop if is_killed else guard.cancel)()
    assert {run.status for run in runs} == {"EXECUTING" if is_killed else "CANCELED"}
    assert len(network.sent("GET /api/v1/runs")) == (1 if is_killed else 3)


def test_runs_whose_ids_no_answer_has_shown_are_found_by_their_tag(server, guard: BatchGuard, log) -> None:
    given = {"k0": "EXECUTING", "k1": "PAUSED_BY_USER", "k9": "EXECUTING"}
    runs = [server.add_run(one, tags=[TAG], idempotency_key=key) for key, one in given.items()]
    others = server.add_run("EXECUTING", idempotency_key="k2")
    ended = server.add_run("COMPLETED", tags=[TAG], idempotency_key="k2")
    guard.tag, guard.run_ids = TAG, [None] * 3
    guard.sendings.append(sending_of(0, 3, was_sent=True, is_done=True))
    fail(guard, StoppedError())
    assert [run.status for run in runs] == ["CANCELED", "CANCELED", "EXECUTING"]
    assert others.cancel_requests == ended.cancel_requests == 0
    [line] = log.of("error")
    assert line.startswith(
        "The server has not answered the start of 1 run, which may be running (items 0 to 2): a retry finds "
    )
    assert line.endswith(f"look for the runs in the dashboard by the tag {TAG}")


def test_a_search_that_fails_again_and_again_leaves_time_to_cancel_what_is_known(
    server, guard: BatchGuard, network, answer, clock
) -> None:
    [known] = add(server, 1)
    guard.tag, guard.run_ids = TAG, [known.id, None]
    guard.sendings.append(sending_of(1, 1, was_sent=True, is_done=True))
    network.fault("GET /api/v1/runs", answer(503, {}), times=1000)
    begun = clock.now
    guard.stop()
    assert known.status == "CANCELED"
    assert clock.now - begun <= 4


def test_so_are_those_of_an_earlier_try_that_were_not_taken_up_yet(server, guard: BatchGuard, log) -> None:
    taken_up, _ = (server.add_run("EXECUTING", tags=[TAG], idempotency_key=key) for key in ("k0", "k1"))
    gone = server.add_run("EXECUTING", tags=[TAG], idempotency_key="k of an item that is gone")
    server.add_run("EXECUTING", tags=[TAG], idempotency_key="another operator's")
    guard.tag, guard.is_earlier = TAG, lambda key: str(key).startswith("k")
    guard.run_ids = [taken_up.id, None, None]
    fail(guard, StoppedError())
    assert [run.status for run in server.runs.values()] == ["CANCELED"] * 3 + ["EXECUTING"]
    assert (taken_up.cancel_requests, gone.cancel_requests, log.of("error")) == (1, 1, [])


def test_those_of_an_earlier_try_are_found_although_the_list_lags(
    server, guard: BatchGuard, clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_trigger.run.batch.guard.time", clock)
    server.list_lag = 2.0
    started = server.add_run("EXECUTING", tags=[TAG], idempotency_key="k0")
    guard.tag, guard.is_earlier, guard.run_ids = TAG, {"k0"}.__contains__, [None]
    fail(guard, StoppedError())
    assert started.status == "CANCELED"


def test_where_the_list_is_empty_now_all_of_an_earlier_try_are_found(server, guard: BatchGuard) -> None:
    gone = server.add_run("EXECUTING", tags=[TAG], idempotency_key="k0")
    guard.tag, guard.is_earlier = TAG, {"k0"}.__contains__
    fail(guard, StoppedError())
    assert gone.status == "CANCELED"


def test_once_each_item_has_its_run_those_of_an_earlier_try_are_not_looked_for(
    server, guard: BatchGuard, network
) -> None:
    guard.tag, guard.is_earlier = TAG, {"k0"}.__contains__
    guard.run_ids = [server.add_run("EXECUTING").id]
    fail(guard, StoppedError())
    assert not [request for request in network.requests if "/api/v1/runs" in request]


def test_where_those_of_an_earlier_try_cannot_be_searched_the_log_says_so(
    guard: BatchGuard, network, answer, log
) -> None:
    network.fault("GET /api/v1/runs", answer(400, {"error": "Not in region X."}), times=1000)
    guard.tag, guard.is_earlier, guard.run_ids = TAG, {"k0"}.__contains__, [None]
    fail(guard, StoppedError())
    [line] = log.of("error")
    assert line.startswith("Runs that an earlier try has started may still be running, as the list of runs ")
    assert " answered 400: Not in region X): a retry finds them" in line
    assert line.endswith(f"look for them in the dashboard by the tag {TAG}")


def test_what_is_found_of_an_earlier_try_hides_no_request_without_an_answer(
    server, guard: BatchGuard, log
) -> None:
    for number in range(3, 9):
        server.add_run("EXECUTING", tags=[TAG], idempotency_key=f"k{number}")
    guard.tag, guard.is_earlier, guard.run_ids = TAG, lambda key: str(key).startswith("k"), [None] * 9
    guard.sendings.append(sending_of(0, 3, was_sent=True, is_done=True))
    fail(guard, StoppedError())
    [line] = log.of("error")
    assert line.startswith("The server has not answered the start of 3 runs, which may be running")


def test_a_start_that_was_answered_with_an_error_is_not_one_without_an_answer(guard: BatchGuard, log) -> None:
    error = ServerError(method="POST", path="/p", status=500, detail="no", request_id=None, retryable=True)
    error.tries = 6
    guard.run_ids = [None] * 3
    guard.sendings.append(sending_of(0, 3, was_sent=True, is_done=True, error=error))
    fail(guard, StoppedError())
    [line] = log.of("error")
    assert line.startswith(
        "The server has answered 500 (6 times) to the start of 3 runs, which may be running"
    )


@pytest.mark.parametrize("tag", [None, TAG])
def test_where_they_cannot_be_found_the_log_says_so(tag, guard: BatchGuard, network, answer, log) -> None:
    network.fault("GET /api/v1/runs", answer(500, {}), times=1000)
    guard.tag, guard.run_ids = tag, [None] * 3
    guard.sendings.append(sending_of(0, 3, was_sent=True, is_done=True, error=TransportError("lost")))
    fail(guard, StoppedError())
    [line] = log.of("error")
    assert "has not answered the start of 3 runs" in line
    assert line.endswith("in the dashboard" + (f" by the tag {TAG}" if tag else ""))
    assert bool(network.requests) == (tag is not None)


def test_where_nothing_is_canceled_the_log_says_so_too(make_guard, server, network, log) -> None:
    guard = make_guard(cancels=False)
    guard.tag, guard.run_ids = TAG, [None] * 4
    [run] = add(server, 1)
    guard.sendings.append(sending_of(0, 1, was_sent=True, is_done=True, run_ids=(run.id,)))
    guard.sendings.append(sending_of(1, 3, was_sent=True, is_done=True, error=TransportError("lost")))
    fail(guard, StoppedError())
    [line] = log.of("error")
    assert "has not answered the start of 3 runs" in line
    assert (guard.known_ids, network.requests) == ([run.id], [])


def test_a_request_that_was_not_sent_is_none_the_worse(guard: BatchGuard, network, log) -> None:
    guard.sendings.append(sending_of(0, 3, is_done=True, error=StoppedError()))
    fail(guard, StoppedError())
    assert (network.requests, log.lines) == ([], [])


# While they are waited for


def test_it_learns_which_runs_have_ended(guard: BatchGuard, make_run) -> None:
    def steps() -> Any:
        reply = yield Check(run_ids=("run_1", "run_2"))
        assert (yield Cancel(run_ids=("run_2",))) == "canceled"
        return reply

    noting, replies = guard.noting(steps()), {"run_1": make_run("COMPLETED"), "run_2": TransportError("lost")}
    assert isinstance(next(noting), Check)
    assert isinstance(noting.send(replies), Cancel)
    with pytest.raises(StopIteration) as ended:
        noting.send("canceled")
    assert (ended.value.value, guard.ended) == (replies, {"run_1"})
