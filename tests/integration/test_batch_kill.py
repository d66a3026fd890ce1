"""A task that Airflow stops takes all runs of its batch with it, wherever it is, and starts no other ones."""

from __future__ import annotations

import pytest
from run_operator import batch
from waiting import LONG, Killed, limited

from airflow_provider_trigger._compat import AirflowException


def statuses(server):
    return [run.status for run in server.runs.values()]


def sent(server, path):
    return [request for request in list(server.requests) if path in request.path]


def before_the_ids(server):
    server.delay_next(4, 0.5, path="/api/v2/batches/")
    return lambda: len(sent(server, "/api/v2/batches/")) == 4


def in_the_first_requests(server):
    server.delay_next(4, 0.5, path="/tasks/batch")
    return lambda: len(server.runs) >= 80


def in_requests_that_are_never_answered(server):
    server.hang_next(4, path="/tasks/batch", after_handling=True)
    return lambda: len(server.runs) >= 80


def in_a_pause_before_the_requests_are_repeated(server):
    server.fail_next(4, status=503, headers={"retry-after": "3"}, after_handling=True, path="/tasks/batch")
    return lambda: len(server.runs) >= 80


def while_they_are_waited_for(server):
    return lambda: sent(server, "/api/v3/runs/")


PHASES = [
    before_the_ids,
    in_the_first_requests,
    in_requests_that_are_never_answered,
    in_a_pause_before_the_requests_are_repeated,
    while_they_are_waited_for,
]


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
    assert len(posts()) - sent_before[0] <= 4  # those that were on their way
    assert set(statuses(server)) == {"CANCELED"}
    assert len(server.runs) == 20 * len({request.body for request in posts()})


@pytest.mark.parametrize("kill_when", ["goes_on"], indirect=True)
def test_starts_that_are_never_answered_do_not_keep_a_stopped_task_alive(server, connect, run_try, kill_when):
    connect(timeout=LONG, retry_for=LONG)
    server.hang_next(None, path="/tasks/batch", after_handling=True)
    made = batch("endless", payloads=list(range(20)))
    kill_when(lambda: server.runs, made.on_kill)
    with limited(30):
        assert isinstance(run_try(made).error, AirflowException)


def test_a_request_that_is_rejected_cancels_what_a_slow_server_starts_beside_it(
    server, connect, run_try, meanwhile
):
    connect(timeout=4, retry_for=60)
    server.on_task("endless", after=None)
    server.list_lag = 1.0
    server.delay_next(4, 1.5, path="/api/v2/batches/")  # until the faults are set

    def reject_one():
        server.fail_next(1, 400, path="/tasks/batch")
        server.delay_next(None, 2, path="/tasks/batch", after_handling=False)

    meanwhile(lambda: server.runs, reject_one)
    ended = run_try(batch("endless", payloads=list(range(160))))
    assert "answered 400" in str(ended.error)
    assert len(server.runs) >= 20  # on a busy machine the rejection comes before the others are sent
    assert set(statuses(server)) == {"CANCELED"}
