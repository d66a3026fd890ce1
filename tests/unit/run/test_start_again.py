"""Start a run after an earlier try, which may have been cleared; on the local server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import ResponseError
from airflow_provider_trigger.run import start_again as module
from airflow_provider_trigger.run.identity import DagRunIdentity, RunKey, TaskInstanceIdentity
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.start_again import start_run_of
from airflow_provider_trigger.testing import TriggerDevServer

DAG_RUN = DagRunIdentity(dag_id="d", run_id="r", start_date=datetime(2026, 11, 1, tzinfo=UTC))
IDENTITY = TaskInstanceIdentity(dag_run=DAG_RUN, task_id="t")
# Airflow has set another start date.
BEFORE_ITS_CLEAR = TaskInstanceIdentity(
    dag_run=DagRunIdentity(dag_id="d", run_id="r", start_date=datetime(2026, 10, 31, tzinfo=UTC)), task_id="t"
)


def run_key(of: TaskInstanceIdentity = IDENTITY, **fields: Any) -> RunKey:
    given: dict[str, Any] = {"operator_id": "t", "max_tries": 3, "retries": 2, "try_number": 2}
    return RunKey(task_instance=of, **given | fields)


AFTER_A_CLEAR = run_key()
KEY = str(AFTER_A_CLEAR)
EARLIER_KEY = str(run_key(max_tries=2, try_number=1))


@pytest.fixture(autouse=True)
def virtual(clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "time", clock)


def add(server: TriggerDevServer, status: str, *, key: str = KEY, tags: Any = None, **fields: Any) -> Any:
    tags = IDENTITY.tags if tags is None else tags
    given = {"task_identifier": "resize", "idempotency_key": key, "tags": tags}
    return server.add_run(status, **given | fields)


@pytest.fixture
def start_again(client, clock, log):
    def start(key: RunKey = AFTER_A_CLEAR, *, cancels: bool = True, **options_: Any) -> Any:
        options = {"idempotencyKey": str(key), "tags": key.task_instance.tags}
        request = TaskRequest(task_identifier="resize", payload=None, options=options)
        given = {"cancels": cancels, "log": log, "sleep": clock.sleep} | options_
        return start_run_of(key, client, request, **given)

    return start


def test_the_run_from_before_a_clear_is_canceled_before_the_new_one_starts(
    server, start_again, network, log
) -> None:
    earlier = add(server, "EXECUTING", key=EARLIER_KEY)
    states: list[bool] = []
    network.before = lambda sent: states.append(earlier.terminated) if sent.endswith("/trigger") else None
    started = start_again()
    assert started.run_id != earlier.id
    assert (earlier.status, states) == ("CANCELED", [True])
    assert log.lines == [
        f"Canceling run {earlier.id}: it was started before this task was cleared",
        f"Run {earlier.id} is CANCELED; waiting until its worker has stopped",
    ]


@pytest.mark.parametrize("of", [IDENTITY, BEFORE_ITS_CLEAR])
def test_a_new_run_starts_when_the_workers_of_canceled_ones_have_stopped(
    server, start_again, network, log, of
) -> None:
    earlier = add(server, "EXECUTING", key=str(run_key(of, max_tries=2, try_number=1)))
    earlier.cancel()  # by the trigger of the task, as it was marked
    states: list[bool] = []
    network.before = lambda sent: states.append(earlier.terminated) if sent.endswith("/trigger") else None
    assert start_again().run_id != earlier.id
    assert states == [True]
    assert earlier.cancel_requests == 1
    assert log.lines == [f"Run {earlier.id} is CANCELED; waiting until its worker has stopped"]


def test_a_run_from_before_its_dag_run_was_cleared_is_named_and_not_canceled(
    server, start_again, log
) -> None:
    earlier = add(server, "EXECUTING", key=str(run_key(BEFORE_ITS_CLEAR)), tags=BEFORE_ITS_CLEAR.tags)
    assert start_again().run_id != earlier.id
    assert (earlier.status, earlier.cancel_requests) == ("EXECUTING", 0)
    assert log.of("warning") == [
        f"Still running, and not canceled: {earlier.id}. They have this task's tag, but were started before "
        "its Dag run was cleared, by another Airflow, or as a replay. Cancel those that you do not need"
    ]


def test_what_is_not_canceled_is_named_before_anything_is_waited_for(server, start_again, log) -> None:
    left = add(server, "EXECUTING", key=str(run_key(BEFORE_ITS_CLEAR)), tags=BEFORE_ITS_CLEAR.tags)
    earlier = add(server, "EXECUTING", key=EARLIER_KEY)
    start_again()
    first, *others = log.lines
    assert first.startswith(f"Still running, and not canceled: {left.id}. ")
    assert [line for line in others if earlier.id in line] == others != []


@pytest.mark.parametrize("is_first", [True, False])
def test_all_runs_from_before_clears_are_canceled_also_next_to_the_one_of_an_earlier_try(
    server, start_again, clock, is_first: bool
) -> None:
    keys = [EARLIER_KEY, str(run_key(max_tries=5, try_number=4)), KEY]
    runs = {}
    for key in keys if is_first else reversed(keys):  # the list begins with the newest run
        clock.sleep(1)
        runs[key] = add(server, "EXECUTING", key=key)
    assert start_again().run_id == runs[KEY].id
    assert [runs[key].status for key in keys] == ["CANCELED", "CANCELED", "EXECUTING"]


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "CANCELED"])
def test_a_run_from_before_a_clear_that_has_ended_is_left_alone(server, start_again, status: str) -> None:
    earlier = add(server, status, key=EARLIER_KEY)
    started = start_again()
    assert (started.run, earlier.cancel_requests) == (None, 0)
    assert started.run_id != earlier.id


def test_runs_that_only_carry_the_tag_are_left_alone(server, start_again, client) -> None:
    earlier = add(server, "EXECUTING", key=EARLIER_KEY)
    replayed = server.replay(earlier)
    replayed.status = "EXECUTING"
    foreign = add(server, "EXECUTING", key="order-17")
    start_again()
    assert (replayed.status, foreign.status) == ("EXECUTING", "EXECUTING")


def test_a_list_that_is_down_is_a_warning_and_the_run_starts(
    server, start_again, network, log, answer
) -> None:
    network.fault("GET /api/v1/runs", answer(500, {"error": "no database"}), times=1000)
    started = start_again()
    assert started.run_id in server.runs
    [warning] = log.of("warning")
    assert warning.startswith(f"{MAY_RUN}could not be searched within 10 s: GET /api/v1/runs ")
    assert warning.endswith(CHECK)


def test_without_a_clear_the_warning_names_none(start_again, network, log, answer) -> None:
    network.fault("GET /api/v1/runs", answer(500, {"error": "no database"}), times=1000)
    start_again(run_key(max_tries=2))
    [warning] = log.of("warning")
    which = "A run of an earlier try that had other arguments may still be running: the list of runs "
    assert warning.startswith(f"{which}could not be searched within 10 s: GET /api/v1/runs ")


@pytest.mark.parametrize("key", [KEY, EARLIER_KEY])
def test_the_run_of_an_earlier_try_is_known_before_anything_can_fail(
    key: str, server, start_again, network, answer
) -> None:
    run = add(server, "EXECUTING", key=key)
    known: list[str | None] = []
    network.fault("GET /api/v3/runs/", answer(403, {"error": "No"}))
    with pytest.raises(ResponseError, match="403"):
        start_again(cancels=False, on_id=known.append)
    assert known[-1] == run.id


def test_a_cancel_of_an_earlier_run_that_fails_starts_no_second_one(
    server, start_again, network, answer
) -> None:
    add(server, "EXECUTING", key=EARLIER_KEY)
    network.fault("/cancel", answer(403, {"error": "No"}))
    with pytest.raises(ResponseError):
        start_again()
    assert len(server.runs) == 1


def test_an_earlier_run_that_cannot_be_checked_is_canceled_all_the_same(
    server, start_again, network, log, answer
) -> None:
    keys = [str(run_key(max_tries=number, try_number=number)) for number in (5, 6)]
    broken, earlier = (add(server, "EXECUTING", key=key) for key in keys)
    network.fault(f"GET /api/v3/runs/{broken.id}", answer(500, {"error": "for ever"}), times=1000)
    start_again()
    assert (broken.status, earlier.status) == ("CANCELED", "CANCELED")
    assert log.of("warning") == []


# Where the list is down or behind

MAY_RUN = "A run from before a clear of this task may still be running: the list of runs "
CHECK = ". Check the dashboard, and cancel a run that you do not need"


def test_a_list_that_is_behind_is_a_warning_after_a_clear(server, start_again, log) -> None:
    server.list_lag = 60
    earlier = add(server, "EXECUTING", key=EARLIER_KEY)
    started = start_again()
    assert earlier.status == "EXECUTING"
    assert log.of("warning") == [f"{MAY_RUN}is behind, and does not show run {started.run_id}{CHECK}"]


def test_so_is_a_list_that_fails_just_then_for_ten_seconds(
    server, start_again, network, clock, log, answer
) -> None:
    def fail(sent: str) -> None:
        if sent.endswith("/trigger"):
            network.fault("GET /api/v1/runs", answer(500, {"error": "no database"}), times=1000)

    network.before = fail
    start_again()
    [warning] = log.of("warning")
    assert warning.startswith(f"{MAY_RUN}could not be searched: GET /api/v1/runs ")
    assert clock.now - 1000 <= 10


@pytest.mark.parametrize(("lag", "lists"), [(0, 2), (1.5, 3)])
def test_a_list_that_shows_the_new_run_in_time_is_none(
    server, start_again, network, log, lag: float, lists: int
) -> None:
    server.list_lag = lag
    start_again()
    assert log.lines == []
    assert len(network.sent("GET /api/v1/runs")) == lists


def test_without_a_clear_nothing_is_to_be_found(server, start_again, network, clock) -> None:
    server.list_lag = 60
    start_again(run_key(max_tries=2))
    assert len(network.sent("GET /api/v1/runs")) == 1
    assert clock.now == 1000


def test_a_list_that_hangs_holds_the_run_of_an_earlier_try_up_for_ten_seconds(
    server, start_again, network, clock, lost
) -> None:
    run = add(server, "EXECUTING")
    network.before = lambda sent: clock.sleep(4) if sent == "GET /api/v1/runs" else None
    network.fault("GET /api/v1/runs", lost, times=1000)
    assert start_again().run_id == run.id
    assert clock.now - 1000 <= 14


# Other arguments than at the try before


def test_a_run_of_another_task_is_canceled_first(server, start_again, network, log) -> None:
    key = run_key(max_tries=2)  # that of the earlier try, too
    earlier = add(server, "EXECUTING", key=str(key), task_identifier="rezise")
    states: list[bool] = []
    network.before = lambda sent: states.append(earlier.terminated) if sent.endswith("/trigger") else None
    started = start_again(key)
    assert (server.runs[started.run_id].task_identifier, earlier.status) == ("resize", "CANCELED")
    assert states == [True]
    why = "an earlier try has started it, for Trigger.dev task 'rezise'"
    assert log.lines[0] == f"Canceling run {earlier.id}: {why}"


def test_where_runs_are_not_to_be_canceled_those_of_other_tasks_are_named(
    server, start_again, clock, log
) -> None:
    key, tasks = run_key(max_tries=2), ["rezise", "crop"]
    runs = []
    for task_identifier in tasks:
        clock.sleep(1)
        runs.append(add(server, "EXECUTING", key=str(key), task_identifier=task_identifier))
    assert start_again(key, cancels=False).run_id not in [run.id for run in runs]
    assert [(run.status, run.cancel_requests) for run in runs] == [("EXECUTING", 0)] * 2
    assert sorted(log.lines) == sorted(
        f"Run {run.id} is EXECUTING and not canceled (cancel_on_kill=False): an earlier try has started it, "
        f"for Trigger.dev task {task_identifier!r}"
        for run, task_identifier in zip(runs, tasks, strict=True)
    )


def test_next_to_a_run_that_is_taken_up_one_of_another_task_is_canceled(server, start_again, clock) -> None:
    other = add(server, "EXECUTING", key=str(run_key(max_tries=2)), task_identifier="rezise")
    clock.sleep(1)  # the list begins with the newest run
    run = add(server, "EXECUTING", key=str(run_key(max_tries=2, try_number=1)))
    assert start_again(run_key(max_tries=2, retries=1)).run_id == run.id
    assert (other.status, run.status) == ("CANCELED", "EXECUTING")


def test_a_run_whose_task_the_list_does_not_show_is_not_one_of_another_task(
    server, start_again, network, answer
) -> None:
    run = add(server, "EXECUTING")
    shown = {"id": run.id, "status": "EXECUTING", "idempotencyKey": KEY, "tags": IDENTITY.tags}
    network.fault("GET /api/v1/runs", answer(200, {"data": [shown], "pagination": {}}))
    assert start_again().run_id == run.id
    assert (run.status, run.cancel_requests) == ("EXECUTING", 0)


@pytest.mark.parametrize("cancels", [True, False])
@pytest.mark.parametrize("retries", [0, 1, 2, 3, 9])
def test_with_other_retries_the_run_of_an_earlier_try_is_taken_up(
    server, start_again, log, retries: int, cancels: bool
) -> None:
    run = add(server, "EXECUTING", key=str(run_key(max_tries=2, try_number=1)))
    assert start_again(run_key(max_tries=2, retries=retries), cancels=cancels).run_id == run.id
    assert (run.status, run.cancel_requests, len(server.runs)) == ("EXECUTING", 0, 1)
    assert log.lines == [f"Run {run.id} was started before and is EXECUTING: no new one is started"]


# Several operators in one task


@pytest.mark.parametrize("is_first", [True, False])
def test_the_runs_of_other_operators_in_the_same_task_are_left_alone(
    server, start_again, clock, is_first: bool
) -> None:
    keys = [
        replace(AFTER_A_CLEAR, max_tries=max_tries, try_number=1, **other)
        for max_tries in (2, 3)
        for other in ({"operator_id": "u"}, {"execution": 2})
    ]
    runs = {}
    for key in [EARLIER_KEY, *map(str, keys)] if is_first else [*map(str, keys), EARLIER_KEY]:
        clock.sleep(1)  # the list begins with the newest run
        runs[key] = add(server, "EXECUTING", key=key)
    earlier, others = runs.pop(EARLIER_KEY), list(runs.values())
    assert start_again().run_id not in [run.id for run in others]
    assert [run.status for run in others] == ["EXECUTING"] * 4
    assert earlier.status == "CANCELED"
