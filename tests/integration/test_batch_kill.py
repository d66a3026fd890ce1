"""A task that Airflow stops takes all runs of its batch with it, wherever it is, and starts no other ones."""

from __future__ import annotations

import threading
import time

import pytest
from killing import Killed
from run_operator import batch
from waiting import LONG, limited, until

from airflow_provider_trigger._compat import AirflowException


def statuses(server):
    return [run.status for run in server.runs.values()]


def sent(server, path):
    return [request for request in list(server.requests) if path in request.path]


def before_the_ids(server):
    server.delay_next(1, 0.5, path="/api/v2/batches/")
    return lambda: sent(server, "/api/v2/batches/")


def in_the_first_request(server):
    server.delay_next(1, 0.5, path="/tasks/batch")
    return lambda: bool(server.runs)


def in_a_request_that_is_never_answered(server):
    server.hang_next(1, path="/tasks/batch", after_handling=True)
    return lambda: bool(server.runs)


def in_four_requests(server):
    server.delay_next(1, 0, path="/api/v2/batches/")
    server.delay_next(None, 2, path="/api/v2/batches/")
    return lambda: len(server.runs) == 100


def in_a_pause_before_the_request_is_repeated(server):
    server.fail_next(2, status=503, headers={"retry-after": "3"}, after_handling=True, path="/tasks/batch")
    return lambda: len(server.requests) >= 2


def while_they_are_waited_for(server):
    return lambda: sent(server, "/api/v3/runs/")


PHASES = [
    before_the_ids,
    in_the_first_request,
    in_a_request_that_is_never_answered,
    in_four_requests,
    in_a_pause_before_the_request_is_repeated,
    while_they_are_waited_for,
]


@pytest.mark.usefixtures("long_kill_time")
@pytest.mark.parametrize("phase", PHASES)
def test_a_kill_cancels_all_runs_and_starts_no_other_ones(phase, server, connect, run_try, kill_when, posts):
    connect(timeout=3, retry_for=60)
    server.on_task("endless", after=None)
    made = batch("endless", payloads=list(range(200)))
    sent_before = []

    def on_kill():
        sent_before.append(len(posts()))
        made.on_kill()

    called = kill_when(phase(server), on_kill)
    ended = run_try(made)
    assert called
    assert isinstance(ended.error, (AirflowException, Killed)), ended.error
    assert sent_before == [len(posts())]
    assert set(statuses(server)) == {"CANCELED"}
    assert len(server.runs) == 20 * len({request.body for request in posts()})


@pytest.mark.usefixtures("long_kill_time")
@pytest.mark.parametrize("payloads", [[1, 2, 3], [3, 1, 2]], ids=["of its items", "of items that are gone"])
def test_a_kill_of_a_retry_cancels_the_runs_of_an_earlier_try(payloads, server, run_try, kill_when):
    server.on_task("endless", after=None)
    run_try(batch("endless", payloads=[1, 2, 3], wait_for_completion=False))
    server.delay_next(1, 0.3, path="/api/v1/runs?")
    made = batch("endless", payloads=payloads)
    before = len(server.requests)
    kill_when(lambda: len(server.requests) > before, made.on_kill)
    run_try(made, try_number=2)
    assert statuses(server) == ["CANCELED"] * 3


@pytest.mark.usefixtures("long_kill_time")
def test_runs_of_a_lost_answer_are_canceled_where_its_repetition_is_rejected(server, connect, run_try):
    connect(retry_for=30)
    server.on_task("endless", after=None)
    server.fail_next(1, 503, path="/tasks/batch", after_handling=True)
    server.fail_next(None, 403, path="/tasks/batch")
    ended = run_try(batch("endless", payloads=[1, 2, 3]))
    assert "answered 403" in str(ended.error)
    assert "Runs of these items may exist" in str(ended.error)
    assert statuses(server) == ["CANCELED"] * 3


@pytest.mark.usefixtures("long_kill_time")
@pytest.mark.parametrize("has_batches", [True, False])
def test_runs_whose_ids_the_server_does_not_show_are_canceled(has_batches, server, run_try):
    server.on_task("endless", after=None)
    server.list_lag = 1.0
    if has_batches:
        server.fail_next(None, 403, path="/api/v2/batches/")
    else:
        server.batch = False
        run_try(batch("endless", payloads=[1, 2, 3], wait_for_completion=False))
        server.fail_next(None, 403, path="/api/v3/runs/")
    ended = run_try(batch("endless", payloads=[1, 2, 3]), try_number=1 if has_batches else 2)
    assert "answered 403" in str(ended.error)
    assert ("Runs of these items may exist" in str(ended.error)) is has_batches
    assert statuses(server) == ["CANCELED"] * 3


def slow_down(server):
    server.delay_next(None, 2, path="/tasks/batch", after_handling=False)


def hang(server):
    server.hang_next(3, path="/tasks/batch", after_handling=True)
    # All but the call that shows the ids of the first batch.
    for path in ("/tasks/batch", "/api/v1/", "/api/v2/runs/", "/api/v3/"):
        server.hang_next(None, path=path)

    def recover():
        until(lambda: len(sent(server, "/tasks/batch")) > 1, "one request is rejected")
        time.sleep(3)
        server.clear_faults()

    threading.Thread(target=recover, daemon=True).start()


@pytest.mark.usefixtures("short_kill_time")
@pytest.mark.parametrize("how", [slow_down, hang])
def test_a_request_that_is_rejected_has_the_time_to_cancel_what_a_slow_server_starts_beside_it(
    how, server, connect, run_try, meanwhile, posts
):
    connect(timeout=4, retry_for=60)
    server.on_task("endless", after=None)
    server.list_lag = 1.0
    server.delay_next(1, 1.5, path="/api/v2/batches/")  # until the faults are set

    def reject_one():
        server.fail_next(1, 400, path="/tasks/batch")
        how(server)

    meanwhile(lambda: server.runs, reject_one)
    ended = run_try(batch("endless", payloads=list(range(100))))
    assert "answered 400" in str(ended.error)
    assert len(server.runs) >= 20  # on a busy machine the rejection comes before the others are sent
    assert set(statuses(server)) == {"CANCELED"}


@pytest.mark.parametrize("kill_when", ["goes_on"], indirect=True)
def test_requests_that_are_never_answered_do_not_keep_the_other_runs_alive(
    server, connect, run_try, kill_when, long_kill_time, said
):
    connect(timeout=1, retry_for=60)
    server.on_task("endless", after=None)
    made = batch("endless", payloads=list(range(40)))

    def second_request_hangs():
        if len(server.runs) == 20:
            server.hang_next(None, path="/tasks/batch")
        return len(sent(server, "/tasks/batch")) == 2

    server.delay_next(1, 0.3, path="/api/v2/batches/")
    called = kill_when(second_request_hangs, made.on_kill)
    ended = run_try(made)
    assert called
    assert isinstance(ended.error, AirflowException)
    assert statuses(server) == ["CANCELED"] * 20
    assert said.lines("The server has not answered the start of 20 runs", "items 20 to 39")


@pytest.mark.parametrize("kill_when", ["goes_on"], indirect=True)
def test_starts_that_are_never_answered_do_not_keep_a_stopped_task_alive(server, connect, run_try, kill_when):
    connect(timeout=LONG, retry_for=LONG)
    server.hang_next(None, path="/tasks/batch", after_handling=True)
    made = batch("endless", payloads=list(range(20)))
    kill_when(lambda: server.runs, made.on_kill)
    with limited(30):
        assert isinstance(run_try(made).error, AirflowException)


@pytest.mark.parametrize("kill_when", ["goes_on"], indirect=True)
def test_runs_whose_cancel_is_not_confirmed_are_counted_and_named(
    server, connect, run_try, kill_when, short_kill_time, said
):
    connect(retry_for=1)
    server.on_task("endless", after=None)
    made = batch("endless", payloads=list(range(25)))
    server.fail_next(None, 503, path="/bulk-actions")
    server.fail_next(None, 400, path="/cancel")
    kill_when(lambda: sent(server, "/api/v3/runs/"), made.on_kill)
    ended = run_try(made)
    assert isinstance(ended.error, AirflowException)
    [line, *_] = said.lines("25 runs may still be running, as the cancel is not confirmed")
    assert all(run_id in line for run_id in server.runs)


@pytest.mark.usefixtures("long_kill_time")
@pytest.mark.parametrize("kill_when", ["goes_on"], indirect=True)
@pytest.mark.parametrize("count", [3, 25])
def test_many_are_canceled_by_one_bulk_action_first(count, server, run_try, kill_when, said):
    server.on_task("endless", after=None)
    made = batch("endless", payloads=list(range(count)))
    kill_when(lambda: sent(server, "/api/v3/runs/"), made.on_kill)
    run_try(made)
    assert statuses(server) == ["CANCELED"] * count
    assert len(sent(server, "/bulk-actions")) == (count >= 20)
    if count >= 20:
        assert said.lines("The cancel of 25 of 25 runs was accepted, and bulk action bulk_")
    else:
        assert all(said.lines(f"Canceled run {run_id}") for run_id in server.runs)


@pytest.mark.usefixtures("long_kill_time")
@pytest.mark.parametrize("kill_when", ["goes_on"], indirect=True)
def test_runs_that_have_ended_are_not_canceled(server, run_try, kill_when):
    server.on_task("endless", output=1, start_after=0, after=0, times=2)
    server.on_task("endless", after=None)
    made = batch("endless", payloads=[1, 2, 3])
    asked = []

    def both_have_ended():
        asked.append(len(sent(server, "/api/v3/runs/")))
        return asked[-1] >= 5

    kill_when(both_have_ended, made.on_kill)
    run_try(made)
    assert statuses(server) == ["COMPLETED", "COMPLETED", "CANCELED"]
    assert [run.cancel_requests for run in server.runs.values()] == [0, 0, 1]


@pytest.mark.parametrize("kill_when", ["goes_on"], indirect=True)
def test_without_cancel_on_kill_the_runs_continue(server, run_try, kill_when):
    server.on_task("endless", after=None)
    made = batch("endless", payloads=[1, 2, 3], cancel_on_kill=False)
    kill_when(lambda: sent(server, "/api/v3/runs/"), made.on_kill)
    ended = run_try(made)
    assert isinstance(ended.error, AirflowException)
    assert not any(run.cancel_requests for run in server.runs.values())
