"""Which runs a task gets where an earlier try has started some, which may have been cleared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import ResponseError, ServerError
from airflow_provider_trigger.run import checks
from airflow_provider_trigger.run.drive import StoppedError
from airflow_provider_trigger.run.earlier import Earlier
from airflow_provider_trigger.run.guard import Guard
from airflow_provider_trigger.run.identity import DagRunIdentity, RunKey, TaskInstanceIdentity
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.starts import Starts
from airflow_provider_trigger.testing import TriggerDevServer

DAG_RUN = DagRunIdentity(dag_id="d", run_id="r", start_date=datetime(2026, 11, 1, tzinfo=UTC))
IDENTITY = TaskInstanceIdentity(dag_run=DAG_RUN, task_id="t")
# Airflow has set another start date.
BEFORE_ITS_CLEAR = TaskInstanceIdentity(
    dag_run=DagRunIdentity(dag_id="d", run_id="r", start_date=datetime(2026, 10, 31, tzinfo=UTC)), task_id="t"
)
LIST = "GET /api/v1/runs"


def run_key(of: TaskInstanceIdentity = IDENTITY, **fields: Any) -> RunKey:
    given: dict[str, Any] = {"operator_id": "t", "max_tries": 3, "retries": 2, "try_number": 2}
    return RunKey(task_instance=of, **given | fields)


AFTER_A_CLEAR, RETRY = run_key(), run_key(max_tries=2)
KEY = str(AFTER_A_CLEAR)
EARLIER_KEY = str(run_key(max_tries=2, try_number=1))


def item_key(index: int, key: RunKey = RETRY, payload: Any = None) -> str:
    return key.of_item(index, task_identifier="resize", payload=payload)


def request_for(key: object) -> TaskRequest:
    options = {"idempotencyKey": str(key), "tags": IDENTITY.tags}
    return TaskRequest(task_identifier="resize", payload=None, options=options)


def add(server: TriggerDevServer, status: str = "EXECUTING", *, key: str = KEY, **fields: Any) -> Any:
    given = {"task_identifier": "resize", "idempotency_key": key, "tags": IDENTITY.tags}
    return server.add_run(status, **given | fields)


@pytest.fixture(autouse=True)
def virtual(batch_time) -> None:
    """Go by the clock."""


@pytest.fixture
def start_again(client, clock, log) -> Callable[..., Any]:
    """Start a single run."""

    def start(
        key: RunKey = AFTER_A_CLEAR,
        *,
        cancels: bool = True,
        sleep: Any = clock.sleep,
        on_id: Any = lambda run_id: None,
    ) -> Any:
        earlier = Earlier(key=key, client=client, cancels=cancels, log=log, sleep=sleep)
        return earlier.start_one(request_for(key), on_id=on_id)

    return start


@pytest.fixture
def guard(client, log_stop) -> Iterator[Guard]:
    made = Guard(client, at_once=4, cancels=True, time_limit=4.0, log_stop=log_stop)
    made.run_ids = [None] * 3
    yield made
    made.threads.close()


@pytest.fixture
def start_items(client, guard: Guard, clock, log) -> Callable[..., Any]:
    """Start three items."""

    def start(*, cancels: bool = True, sleep: Any = clock.sleep) -> Any:
        starts = Starts(client, guard, log=log, on_ids=lambda: None)
        earlier = Earlier(key=RETRY, client=client, cancels=cancels, log=log, sleep=sleep)
        return earlier.start_many(starts, [request_for(item_key(index)) for index in range(3)], replaces=True)

    return start


# A single run, after a clear


@pytest.mark.parametrize("of", [IDENTITY, BEFORE_ITS_CLEAR])
def test_a_new_run_starts_when_the_workers_of_canceled_ones_have_stopped(
    server, start_again, network, log, of
) -> None:
    earlier = add(server, key=str(run_key(of, max_tries=2, try_number=1)))
    earlier.cancel()  # by the trigger of the task, as it was marked
    states: list[bool] = []
    network.before = lambda sent: states.append(earlier.terminated) if sent.endswith("/trigger") else None
    assert start_again().run_id != earlier.id
    assert states == [True]
    assert earlier.cancel_requests == 1
    assert log.lines == [f"Run {earlier.id} is CANCELED; waiting until its worker has stopped"]


def test_what_others_have_started_is_left_alone_and_named_before_anything_is_waited_for(
    server, start_again, log
) -> None:
    left = add(server, key=str(run_key(BEFORE_ITS_CLEAR)), tags=BEFORE_ITS_CLEAR.tags)
    earlier, foreign = add(server, key=EARLIER_KEY), add(server, key="order-17")
    replayed = server.replay(earlier)
    replayed.status = "EXECUTING"
    start_again()
    assert [one.cancel_requests for one in (left, earlier, foreign, replayed)] == [0, 1, 0, 0]
    [warning] = log.of("warning")
    assert warning == log.lines[0]
    assert all(one.id in warning for one in (left, foreign, replayed))
    assert warning.endswith(
        ". They have this task's tag, but were started before its Dag run was cleared, by another Airflow, "
        "or as a replay. Cancel those that you do not need"
    )


@pytest.mark.parametrize("is_first", [True, False])
def test_all_runs_from_before_clears_are_canceled_also_next_to_the_one_of_an_earlier_try(
    server, start_again, clock, is_first: bool
) -> None:
    keys = [EARLIER_KEY, str(run_key(max_tries=5, try_number=4)), KEY]
    runs = {}
    for key in keys if is_first else reversed(keys):  # the list begins with the newest run
        clock.sleep(1)
        runs[key] = add(server, key=key)
    assert start_again().run_id == runs[KEY].id
    assert [runs[key].status for key in keys] == ["CANCELED", "CANCELED", "EXECUTING"]


@pytest.mark.parametrize("key", [KEY, EARLIER_KEY])
def test_the_run_of_an_earlier_try_is_known_before_anything_can_fail(
    key: str, server, start_again, network, answer
) -> None:
    run = add(server, key=key)
    known: list[str | None] = []
    network.fault("GET /api/v3/runs/", answer(403, {"error": "No"}))
    with pytest.raises(ResponseError, match="403"):
        start_again(cancels=False, on_id=known.append)
    assert known[-1] == run.id


def test_a_cancel_of_an_earlier_run_that_fails_starts_no_second_one(
    server, start_again, network, answer
) -> None:
    add(server, key=EARLIER_KEY)
    network.fault("/cancel", answer(403, {"error": "No"}))
    with pytest.raises(ResponseError):
        start_again()
    assert len(server.runs) == 1


def test_an_earlier_run_that_cannot_be_checked_is_canceled_all_the_same(
    server, start_again, network, log, answer
) -> None:
    keys = [str(run_key(max_tries=number, try_number=number)) for number in (5, 6)]
    broken, earlier = (add(server, key=key) for key in keys)
    network.fault(f"GET /api/v3/runs/{broken.id}", answer(500, {"error": "for ever"}), times=1000)
    start_again()
    assert (broken.status, earlier.status) == ("CANCELED", "CANCELED")
    assert log.of("warning") == []


@pytest.mark.parametrize("cancels", [True, False])
def test_a_task_that_was_stopped_starts_no_other_run(
    cancels: bool, server, start_again, start_items, network
) -> None:
    def stop(_: float) -> None:
        raise StoppedError

    for key, start in ((KEY, start_again), (item_key(0), start_items)):
        add(server, "CANCELED", key=key)
        with pytest.raises(StoppedError):
            start(cancels=cancels, sleep=stop)
    assert not network.sent("/reset")


# Where the list is down or behind

MAY_RUN = "A run from before a clear of this task may still be running: the list of runs "
CHECK = ". Check the dashboard, and cancel a run that you do not need"


@pytest.mark.parametrize(
    ("key", "which"),
    [
        (AFTER_A_CLEAR, "from before a clear of this task"),
        (RETRY, "of an earlier try that had other arguments"),
    ],
)
def test_a_list_that_is_down_is_a_warning_and_the_run_starts(
    key: RunKey, which: str, server, start_again, network, log, answer
) -> None:
    network.fault(LIST, answer(500, {"error": "no database"}), times=1000)
    assert start_again(key).run_id in server.runs
    [warning] = log.of("warning")
    start = f"A run {which} may still be running: the list of runs could not be searched within 10 s: {LIST} "
    assert warning.startswith(start)
    assert warning.endswith(CHECK)


def test_a_list_that_is_behind_is_a_warning_after_a_clear(server, start_again, log) -> None:
    server.list_lag = 60
    earlier = add(server, key=EARLIER_KEY)
    started = start_again()
    assert earlier.status == "EXECUTING"
    assert log.of("warning") == [f"{MAY_RUN}is behind, and does not show run {started.run_id}{CHECK}"]


def test_so_is_a_list_that_fails_just_then_for_ten_seconds(
    server, start_again, network, clock, log, answer
) -> None:
    def fail(sent: str) -> None:
        if sent.endswith("/trigger"):
            network.fault(LIST, answer(500, {"error": "no database"}), times=1000)

    network.before = fail
    start_again()
    [warning] = log.of("warning")
    assert warning.startswith(f"{MAY_RUN}could not be searched: {LIST} ")
    assert clock.now - 1000 <= 10


@pytest.mark.parametrize(
    ("key", "lag", "lists"), [(AFTER_A_CLEAR, 0, 2), (AFTER_A_CLEAR, 1.5, 3), (RETRY, 60, 1)]
)
def test_a_list_that_shows_the_new_run_in_time_is_none_and_without_a_clear_none_is_looked_for(
    key: RunKey, lag: float, lists: int, server, start_again, network, log
) -> None:
    server.list_lag = lag
    start_again(key)
    assert log.lines == []
    assert len(network.sent(LIST)) == lists


def test_a_list_that_hangs_holds_the_run_of_an_earlier_try_up_for_ten_seconds(
    server, start_again, network, clock, lost
) -> None:
    run = add(server)
    network.before = lambda sent: clock.sleep(4) if sent == LIST else None
    network.fault(LIST, lost, times=1000)
    assert start_again().run_id == run.id
    assert clock.now - 1000 <= 14


# Other arguments than at the try before


def test_a_run_of_another_task_is_canceled_first(server, start_again, network, log) -> None:
    earlier = add(server, key=str(RETRY), task_identifier="rezise")
    states: list[bool] = []
    network.before = lambda sent: states.append(earlier.terminated) if sent.endswith("/trigger") else None
    started = start_again(RETRY)
    assert (server.runs[started.run_id].task_identifier, earlier.status) == ("resize", "CANCELED")
    assert states == [True]
    why = "an earlier try has started it, for Trigger.dev task 'rezise'"
    assert log.lines[0] == f"Canceling run {earlier.id}: {why}"


def test_where_runs_are_not_to_be_canceled_those_of_other_tasks_are_named(server, start_again, log) -> None:
    tasks = ["rezise", "crop"]
    runs = [add(server, key=str(RETRY), task_identifier=task) for task in tasks]
    assert start_again(RETRY, cancels=False).run_id not in [run.id for run in runs]
    assert [(run.status, run.cancel_requests) for run in runs] == [("EXECUTING", 0)] * 2
    assert sorted(log.lines) == sorted(
        f"Run {run.id} is EXECUTING and not canceled (cancel_on_kill=False): an earlier try has started it, "
        f"for Trigger.dev task {task!r}"
        for run, task in zip(runs, tasks, strict=True)
    )


def test_next_to_a_run_that_is_taken_up_others_are_canceled(server, start_again, clock) -> None:
    """One of another Trigger.dev task, one of a batch, and an older one for the same."""
    others = [
        add(server, key=str(RETRY), task_identifier="rezise"),
        add(server, key=item_key(0)),
        add(server, key=str(run_key(max_tries=2, retries=0, try_number=1))),
    ]
    clock.sleep(1)  # the list begins with the newest run
    run = add(server, key=EARLIER_KEY)
    begun = clock.now
    assert start_again(run_key(max_tries=2, retries=1)).run_id == run.id
    assert [one.status for one in (run, *others)] == ["EXECUTING", *["CANCELED"] * 3]
    assert clock.now == begun  # nothing starts that would have to wait for their workers


def test_a_run_whose_task_the_list_does_not_show_is_not_one_of_another_task(
    server, start_again, network, answer
) -> None:
    run = add(server)
    shown = {"id": run.id, "status": "EXECUTING", "idempotencyKey": KEY, "tags": IDENTITY.tags}
    network.fault(LIST, answer(200, {"data": [shown], "pagination": {}}))
    assert start_again().run_id == run.id
    assert (run.status, run.cancel_requests) == ("EXECUTING", 0)


@pytest.mark.parametrize("cancels", [True, False])
@pytest.mark.parametrize("retries", [0, 2, 9])
def test_with_other_retries_the_run_of_an_earlier_try_is_taken_up(
    server, start_again, log, retries: int, cancels: bool
) -> None:
    run = add(server, key=EARLIER_KEY)
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
        runs[key] = add(server, key=key)
    earlier, others = runs.pop(EARLIER_KEY), list(runs.values())
    assert start_again().run_id not in [run.id for run in others]
    assert [run.status for run in others] == ["EXECUTING"] * 4
    assert earlier.status == "CANCELED"


# Items whose keys have runs


@pytest.fixture(params=[0, 100], ids=["query", "checks"])
def either_way(request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "QUERY_ABOVE", request.param)


@pytest.fixture
def by_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "QUERY_ABOVE", 0)


@pytest.mark.usefixtures("either_way")
def test_what_is_alive_or_has_completed_is_taken_up_and_what_has_failed_starts_anew(
    start_items, server, guard: Guard, log
) -> None:
    runs = [add(server, key=item_key(0)), add(server, "COMPLETED", key=item_key(1))]
    failed = add(server, "FAILED", key=item_key(2))
    seen = start_items()
    assert guard.run_ids[:2] == [run.id for run in runs]
    assert guard.run_ids[2] not in (None, failed.id)
    assert [seen[run.id].status for run in runs] == ["EXECUTING", "COMPLETED"]
    assert log.of("info")[-1] == "1 of the runs have completed already, and are not started again"


@pytest.mark.usefixtures("either_way")
def test_what_was_canceled_starts_anew_once_its_worker_has_stopped(
    start_items, server, guard: Guard, log, clock
) -> None:
    canceled, alive = add(server, key=item_key(0)), add(server, key=item_key(1))
    canceled.cancel()
    begun = clock.now
    start_items()
    assert guard.run_ids[0] not in (None, canceled.id)
    assert guard.run_ids[1] == alive.id
    assert 10 <= clock.now - begun < 14  # the worker acknowledges after 10 s
    assert f"Run {canceled.id} is CANCELED; waiting until its worker has stopped" in log.of("info")
    assert "Starting 1 run again, canceled before" in log.of("info")


@pytest.mark.usefixtures("by_query")
def test_where_the_query_fails_each_run_is_checked(start_items, server, network, answer) -> None:
    network.fault("POST /api/v1/query", answer(404, b"<html>"))
    run = add(server, key=item_key(0))
    assert start_items()[run.id].status == "EXECUTING"
    assert len(network.sent("GET /api/v3/runs/")) == 3


@pytest.mark.parametrize(("missing", "waited", "checks_of_each"), [(1, 0, 1), (2, 2.5, 0)])
def test_the_query_gets_time_to_show_new_runs_where_they_are_many(
    missing: int, waited: float, checks_of_each: int, start_items, server, network, clock, monkeypatch
) -> None:
    monkeypatch.setattr(checks, "QUERY_ABOVE", 1)
    server.query_lag = 1.0
    for index in range(missing, 3):
        add(server, key=item_key(index))
    clock.sleep(10)
    begun = clock.now
    assert len(start_items()) == 3
    assert clock.now - begun == waited
    assert len(network.sent("GET /api/v3/runs/")) == checks_of_each


@pytest.mark.usefixtures("by_query")
@pytest.mark.parametrize("realtime", [True, False])
def test_of_runs_that_the_query_shows_as_alive_the_first_tells_whether_realtime_shows_the_others(
    realtime, start_items, server, network, clock
) -> None:
    server.realtime = realtime
    for index in range(3):
        add(server, key=item_key(index))
    clock.sleep(10)
    start_items()
    assert len(network.sent("GET /realtime/v1/runs/")) == (3 if realtime else 1)
    assert len(network.sent("GET /api/v3/runs/")) == (0 if realtime else 3)


@pytest.mark.usefixtures("by_query")
@pytest.mark.parametrize("realtime", [True, False])
def test_a_run_whose_cancel_the_query_has_lost_starts_anew(
    realtime, start_items, server, guard: Guard, network, clock
) -> None:
    server.realtime = realtime
    canceled, alive = add(server, key=item_key(0)), add(server, key=item_key(1))
    server.lose_in_query(canceled.id)
    clock.sleep(1)
    canceled.cancel()
    seen = start_items()
    assert guard.run_ids[0] not in (None, canceled.id)
    assert guard.run_ids[1] == alive.id
    assert seen[alive.id].status == "EXECUTING"
    assert bool(network.sent(f"GET /api/v3/runs/{alive.id}")) != realtime


@pytest.mark.usefixtures("by_query")
def test_a_canceled_run_that_the_query_never_shows_starts_anew(
    start_items, server, guard: Guard, network
) -> None:
    canceled = add(server, key=item_key(0))
    canceled.lost_since = 0.0
    canceled.cancel()
    start_items()
    assert guard.run_ids[0] not in (None, canceled.id)
    assert network.sent(f"GET /api/v3/runs/{canceled.id}")


def test_a_run_that_cannot_be_seen_is_left_to_the_wait(start_items, server, guard, network, answer) -> None:
    broken, unseen = add(server, key=item_key(0)), add(server, key=item_key(1))
    network.fault(f"GET /api/v3/runs/{broken.id}", answer(500, {}), times=1000)
    network.fault(f"GET /api/v3/runs/{unseen.id}", answer(404, {"error": "Not found"}), times=1000)
    assert broken.id not in start_items()
    assert guard.run_ids[:2] == [broken.id, unseen.id]


@pytest.mark.parametrize(("path", "status"), [("GET /api/v3/runs/", 403), ("/reset", 503)])
def test_any_other_error_of_a_check_is_raised_and_that_of_a_key_that_cannot_be_released(
    path: str, status: int, start_items, server, network, answer
) -> None:
    add(server, "CANCELED", key=item_key(0))
    network.fault(path, answer(status, {"error": "No"}), times=1000)
    with pytest.raises((ResponseError, ServerError), match=str(status)):
        start_items()


# Runs for items that this try does not have


@pytest.mark.parametrize("cancels", [True, False])
def test_runs_of_items_that_are_gone_are_canceled_and_waited_for_or_named(
    cancels: bool, start_items, server, guard: Guard, log, clock
) -> None:
    own, gone = add(server, key=item_key(0)), add(server, key=item_key(0, payload="other"))
    begun = clock.now
    start_items(cancels=cancels)
    assert (guard.run_ids[0], own.cancel_requests, gone.cancel_requests) == (own.id, 0, cancels)
    items = "for items that this try does not have"
    if cancels:
        assert clock.now - begun >= 10
        assert log.lines[0] == f"Canceling 1 run of an earlier try, {items}: {gone.id}"
        return
    start = f"Still running, and not canceled (cancel_on_kill=False): {gone.id}. An earlier try has started"
    assert log.of("warning") == [f"{start} them, {items}"]


def test_of_two_runs_for_one_item_the_newer_one_is_taken_up(start_items, server, guard: Guard, clock) -> None:
    runs = []
    for retries in (0, 1):  # with other ``retries`` the keys differ, and nothing shows a clear
        runs.append(add(server, key=item_key(1, run_key(max_tries=2, retries=retries, try_number=3))))
        clock.sleep(1)
    seen = start_items()
    assert (guard.run_ids[1], seen[runs[1].id].status) == (runs[1].id, "EXECUTING")
    assert runs[0].status == "CANCELED"


def test_canceled_runs_that_have_ended_are_not_waited_for(start_items, server, clock, network) -> None:
    runs = [add(server, "CANCELED", key="k"), add(server, key="l")]
    runs[1].cancel()
    clock.sleep(100)
    begun = clock.now
    start_items()
    assert clock.now == begun
    assert not any(network.sent(f"GET /api/v3/runs/{run.id}") for run in runs)
