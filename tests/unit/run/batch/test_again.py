"""Which runs a batch gets where an earlier try has started some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import ResponseError, ServerError, TriggerDevError
from airflow_provider_trigger.api.models.runs import TERMINATES_WITHIN
from airflow_provider_trigger.run import checks
from airflow_provider_trigger.run.batch.again import BatchAgain
from airflow_provider_trigger.run.batch.start import BatchStart
from airflow_provider_trigger.run.drive import StoppedError
from airflow_provider_trigger.run.guard import Guard
from airflow_provider_trigger.run.identity import DagRunIdentity, RunKey, TaskInstanceIdentity
from airflow_provider_trigger.run.request import TaskRequest

DAG_RUN = DagRunIdentity(dag_id="d", run_id="r", start_date=datetime(2026, 1, 1, tzinfo=UTC))
TASK = TaskInstanceIdentity(dag_run=DAG_RUN, task_id="start")
LIST = "GET /api/v1/runs"


def key_of(*, max_tries: int = 2, try_number: int = 2, operator_id: str = "start") -> RunKey:
    return RunKey(
        task_instance=TASK,
        operator_id=operator_id,
        max_tries=max_tries,
        retries=2,
        try_number=try_number,
    )


KEY = key_of()
KEYS = [KEY.of_item(index, task_identifier="resize", payload=None) for index in range(3)]
REQUESTS = {
    index: TaskRequest(task_identifier="resize", payload=None, options={"idempotencyKey": key})
    for index, key in enumerate(KEYS)
}


@pytest.fixture
def guard(client, batch_time, tell) -> Iterator[Guard]:
    made = Guard(client, at_once=4, cancels=True, time_limit=4.0, tell=tell)
    made.run_ids = [None] * 3
    yield made
    made.threads.close()


@pytest.fixture
def again(client, batch_time, log) -> BatchAgain:
    return BatchAgain(client, log=log, sleep=batch_time.sleep)


@pytest.fixture
def start(client, guard: Guard, again: BatchAgain, log) -> Callable[[], Any]:
    made = BatchStart(client, guard, log=log, on_ids=lambda: None)
    return lambda: again.start(made, REQUESTS, guard.run_ids)


def add(server, status: str = "EXECUTING", *, key: str = KEYS[0], **fields: Any) -> Any:
    return server.add_run(status, task_identifier="resize", idempotency_key=key, tags=TASK.tags, **fields)


# Start


@pytest.fixture(params=[0, 100], ids=["query", "checks"])
def either_way(request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "QUERY_ABOVE", request.param)


@pytest.mark.usefixtures("either_way")
def test_what_is_alive_or_has_completed_is_taken_up_and_what_has_failed_starts_anew(
    start, server, guard: Guard, log
) -> None:
    runs = [add(server, "EXECUTING"), add(server, "COMPLETED", key=KEYS[1])]
    failed = add(server, "FAILED", key=KEYS[2])
    seen = start()
    assert guard.run_ids[:2] == [run.id for run in runs]
    assert guard.run_ids[2] not in (None, failed.id)
    assert [seen[run.id].status for run in runs] == ["EXECUTING", "COMPLETED"]
    assert log.of("info")[-1] == "1 of the runs have completed already, and are not started again"


@pytest.mark.usefixtures("either_way")
def test_what_was_canceled_starts_anew_once_its_worker_has_stopped(
    start, server, guard: Guard, log, clock
) -> None:
    canceled, alive = add(server), add(server, key=KEYS[1])
    canceled.cancel()
    begun = clock.now
    start()
    assert guard.run_ids[0] not in (None, canceled.id)
    assert guard.run_ids[1] == alive.id
    assert 10 <= clock.now - begun < 14  # the worker acknowledges after 10 s
    assert f"Run {canceled.id} is CANCELED; waiting until its worker has stopped" in log.of("info")
    assert "Starting 1 run again, canceled before" in log.of("info")


def test_where_the_worker_has_stopped_the_new_run_starts_at_once(start, server, guard: Guard, clock) -> None:
    canceled, begun = add(server, "CANCELED"), clock.now
    start()
    assert guard.run_ids[0] not in (None, canceled.id)
    assert clock.now == begun


def test_a_task_that_was_stopped_starts_no_other_run(client, server, guard: Guard, network, log) -> None:
    def sleep(seconds: float) -> None:
        raise StoppedError

    add(server, "CANCELED")
    start = BatchStart(client, guard, log=log, on_ids=lambda: None)
    with pytest.raises(StoppedError):
        BatchAgain(client, log=log, sleep=sleep).start(start, REQUESTS, guard.run_ids)
    assert network.sent("/reset") == []


def test_a_worker_that_never_stops_holds_it_up_for_a_while(start, server, clock, network, answer) -> None:
    canceled = add(server)
    canceled.cancel()
    body = {"id": canceled.id, "status": "CANCELED", "startedAt": "2026-01-01T00:00:00Z"}
    network.fault(f"GET /api/v3/runs/{canceled.id}", answer(200, body), times=1000)
    begun = clock.now
    start()
    assert TERMINATES_WITHIN <= clock.now - begun < TERMINATES_WITHIN + 5


def test_where_the_query_fails_each_run_is_checked(start, server, network, answer, monkeypatch) -> None:
    monkeypatch.setattr(checks, "QUERY_ABOVE", 0)
    network.fault("POST /api/v1/query", answer(404, b"<html>"))
    run = add(server)
    assert start()[run.id].status == "EXECUTING"
    assert len(network.sent("GET /api/v3/runs/")) == 3


@pytest.mark.parametrize(("missing", "waited", "checks_of_each"), [(1, 0, 1), (2, 2.5, 0)])
def test_the_query_gets_time_to_show_new_runs_where_they_are_many(
    missing: int, waited: float, checks_of_each: int, start, server, network, clock, monkeypatch
) -> None:
    monkeypatch.setattr(checks, "QUERY_ABOVE", 1)
    server.query_lag = 1.0
    for key in KEYS[missing:]:
        add(server, key=key)
    clock.sleep(10)
    begun = clock.now
    assert len(start()) == 3
    assert clock.now - begun == waited
    assert len(network.sent("GET /api/v3/runs/")) == checks_of_each


@pytest.mark.parametrize("realtime", [True, False])
def test_of_runs_that_the_query_shows_as_alive_the_first_tells_whether_realtime_shows_the_others(
    realtime, start, server, network, clock, monkeypatch
) -> None:
    monkeypatch.setattr(checks, "QUERY_ABOVE", 0)
    server.realtime = realtime
    for key in KEYS:
        add(server, key=key)
    clock.sleep(10)
    begun = clock.now
    start()
    assert len(network.sent("GET /realtime/v1/runs/")) == (3 if realtime else 1)
    assert len(network.sent("GET /api/v3/runs/")) == (0 if realtime else 3)
    assert clock.now == begun


@pytest.mark.parametrize("realtime", [True, False])
def test_a_run_whose_cancel_the_query_has_lost_starts_anew(
    realtime, start, server, guard: Guard, network, clock, monkeypatch
) -> None:
    monkeypatch.setattr(checks, "QUERY_ABOVE", 0)
    server.realtime = realtime
    canceled, alive = add(server), add(server, key=KEYS[1])
    server.lose_in_query(canceled.id)
    clock.sleep(1)
    canceled.cancel()
    seen = start()
    assert guard.run_ids[0] not in (None, canceled.id)
    assert guard.run_ids[1] == alive.id
    assert seen[alive.id].status == "EXECUTING"
    assert bool(network.sent(f"GET /api/v3/runs/{alive.id}")) != realtime


def test_a_canceled_run_that_the_query_never_shows_starts_anew(
    start, server, guard: Guard, network, monkeypatch
) -> None:
    monkeypatch.setattr(checks, "QUERY_ABOVE", 0)
    canceled = add(server)
    canceled.lost_since = 0.0
    canceled.cancel()
    start()
    assert guard.run_ids[0] not in (None, canceled.id)
    assert network.sent(f"GET /api/v3/runs/{canceled.id}")


def test_a_run_that_cannot_be_seen_is_left_to_the_wait(start, server, guard, network, answer) -> None:
    broken, unseen = add(server), add(server, key=KEYS[1])
    network.fault(f"GET /api/v3/runs/{broken.id}", answer(500, {}), times=1000)
    network.fault(f"GET /api/v3/runs/{unseen.id}", answer(404, {"error": "Not found"}), times=1000)
    assert broken.id not in start()
    assert guard.run_ids[:2] == [broken.id, unseen.id]


def test_any_other_error_of_a_check_is_raised(start, network, answer) -> None:
    network.fault("GET /api/v3/runs/", answer(403, {"error": "No"}), times=1000)
    with pytest.raises(ResponseError, match="403"):
        start()


def test_a_key_that_cannot_be_released_is_an_error(start, server, network, answer) -> None:
    add(server, "CANCELED")
    network.fault("/reset", answer(503, {"error": "No"}), times=1000)
    with pytest.raises(ServerError, match="503"):
        start()


def test_where_someone_cancels_every_run_it_is_an_error_after_five(start, server, network, answer) -> None:
    run = add(server, "CANCELED")
    network.fault("/reset", answer(404, {"error": "No runs found with idempotency key: k"}), times=1000)
    with pytest.raises(TriggerDevError, match=f"5 times in a row runs .* \\({run.id}\\): find out who"):
        start()


# Runs for items that this try does not have


def test_runs_of_items_that_are_gone_are_canceled_and_waited_for(again, server, log, clock) -> None:
    older, gone = add(server), add(server, key=KEY.of_item(0, task_identifier="resize", payload="other"))
    newer, begun = add(server, key=KEYS[1]), clock.now
    assert again.cancel_replaced(KEY, KEYS, cancels=True) == {}
    assert (older.cancel_requests, gone.status, newer.cancel_requests) == (0, "CANCELED", 0)
    assert clock.now - begun >= 10
    [line, *_] = log.of("info")
    assert line == f"Canceling 1 run of an earlier try, for items that this try does not have: {gone.id}"


@pytest.mark.parametrize("cancels", [True, False])
def test_runs_from_before_a_clear_are_canceled_or_else_taken_up(cancels: bool, again, server, log) -> None:
    run = add(server, key=KEYS[1])
    cleared = key_of(max_tries=3)
    keys = [cleared.of_item(index, task_identifier="resize", payload=None) for index in range(3)]
    assert again.cancel_replaced(cleared, keys, cancels=cancels) == ({} if cancels else {1: run.id})
    assert run.cancel_requests == cancels
    assert log.of("warning") == []


def test_of_two_runs_for_one_item_the_newer_one_is_taken_up(again, server, clock) -> None:
    runs = []
    for retries in (0, 1):  # with other ``retries`` the keys differ, and nothing shows a clear
        key = RunKey(task_instance=TASK, operator_id="start", max_tries=2, retries=retries, try_number=3)
        runs.append(add(server, key=key.of_item(1, task_identifier="resize", payload=None)))
        clock.sleep(1)
    assert len({run.idempotency_key for run in runs} - set(KEYS)) == 2
    assert again.cancel_replaced(KEY, KEYS, cancels=True) == {1: runs[1].id}
    assert [run.status for run in runs] == ["CANCELED", "EXECUTING"]


def test_without_cancels_a_run_of_no_item_is_named(again, server, log) -> None:
    gone = add(server, key=KEY.of_item(7, task_identifier="resize", payload=None))
    assert again.cancel_replaced(KEY, KEYS, cancels=False) == {}
    assert gone.cancel_requests == 0
    [warning] = log.of("warning")
    assert warning.startswith(f"Still running, and not canceled (cancel_on_kill=False): {gone.id}. ")


def test_runs_of_others_are_left_alone_and_named(again, server, log) -> None:
    operator = add(server, key=key_of(operator_id="other").of_item(0, task_identifier="resize", payload=None))
    replay = server.add_run("EXECUTING", tags=TASK.tags)
    again.cancel_replaced(KEY, KEYS, cancels=True)
    assert operator.cancel_requests == replay.cancel_requests == 0
    [warning] = log.of("warning")
    assert warning.startswith(f"Still running, and not canceled: {replay.id}. They have this task's tag")


@pytest.mark.parametrize("how", ["list", "cancel"])
def test_what_fails_meanwhile(how: str, again, server, network, answer, log) -> None:
    add(server, key=KEY.of_item(7, task_identifier="resize", payload=None))
    network.fault(LIST if how == "list" else "/cancel", answer(400, {"error": "No"}), times=1000)
    if how == "cancel":
        with pytest.raises(ResponseError, match="400"):
            again.cancel_replaced(KEY, KEYS, cancels=True)
        return
    again.cancel_replaced(KEY, KEYS, cancels=True)
    assert "the list of runs could not be searched: " in log.of("warning")[0]


def test_the_workers_of_runs_from_before_a_clear_are_waited_for(again, server, log, clock) -> None:
    canceled = add(server, key="k")
    canceled.cancel()  # as it was cleared: its worker acknowledges after 10 s
    begun = clock.now
    again.cancel_replaced(KEY, KEYS, cancels=True)
    assert 10 <= clock.now - begun < 14
    assert log.of("info") == [f"Run {canceled.id} is CANCELED; waiting until its worker has stopped"]


def test_they_are_waited_for_together_with_those_that_are_canceled_now(again, server, log) -> None:
    add(server, key="k").cancel()
    add(server, key=KEY.of_item(7, task_identifier="resize", payload=None))
    again.cancel_replaced(KEY, KEYS, cancels=True)
    assert log.of("info")[-1] == "2 canceled runs: waiting until their workers have stopped"


def test_canceled_runs_that_have_ended_are_not_waited_for(again, server, clock, network) -> None:
    add(server, "CANCELED", key="k")
    add(server, key="l").cancel()
    clock.sleep(100)
    begun = clock.now
    again.cancel_replaced(KEY, KEYS, cancels=True)
    assert clock.now == begun
    assert network.sent("GET /api/v3/runs/") == []
