"""Which runs a task gets where an earlier try has started some, which may have been cleared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import ResponseError
from airflow_provider_trigger.run import checks
from airflow_provider_trigger.run.guard import Guard
from airflow_provider_trigger.run.identity import DagRunIdentity, RunKey, TaskInstanceIdentity
from airflow_provider_trigger.run.starts import Earlier, Starts
from airflow_provider_trigger.run.stop import StoppedError
from airflow_provider_trigger.testing import TriggerDevServer

DAG_RUN = DagRunIdentity(dag_id="d", run_id="r", start_date=datetime(2026, 11, 1, tzinfo=UTC))
IDENTITY = TaskInstanceIdentity(dag_run=DAG_RUN, task_id="t")
# Airflow has set another start date.
BEFORE_ITS_CLEAR = replace(IDENTITY, dag_run=replace(DAG_RUN, start_date=datetime(2026, 10, 31, tzinfo=UTC)))
LIST, CHECK_OF_ONE = "GET /api/v1/runs", "GET /api/v3/runs/"


def run_key(of: TaskInstanceIdentity = IDENTITY, **fields: Any) -> RunKey:
    given: dict[str, Any] = {"operator_id": "t", "max_tries": 3, "retries": 2, "try_number": 2}
    return RunKey(task_instance=of, **given | fields)


AFTER_A_CLEAR, RETRY = run_key(), run_key(max_tries=2)
KEY = str(AFTER_A_CLEAR)
EARLIER_KEY = str(run_key(max_tries=2, try_number=1))


def item_key(index: int, key: RunKey = RETRY, payload: Any = None) -> str:
    return key.of_item(index, task_identifier="resize", payload=payload)


def add(server: TriggerDevServer, status: str = "EXECUTING", *, key: Any = KEY, **fields: Any) -> Any:
    given = {"task_identifier": "resize", "idempotency_key": str(key), "tags": IDENTITY.tags}
    return server.add_run(status, **given | fields)


@pytest.fixture
def add_in_turn(server, clock) -> Callable[..., list[Any]]:
    """Add alive runs with these keys, each a second after the one before; the list begins with the newest."""

    def act(*keys: object) -> list[Any]:
        runs = []
        for key in keys:
            clock.sleep(1)
            runs.append(add(server, key=key))
        return runs

    return act


@pytest.fixture(autouse=True)
def virtual(batch_time) -> None:
    """Go by the clock."""


@pytest.fixture
def start_items(client, guard: Guard, clock, log, request_for) -> Callable[..., Any]:
    """Start three items, or more."""

    def start(
        *, key: RunKey = RETRY, count: int = 3, sleep: Any = clock.sleep, keys: Any = None, **given: Any
    ) -> Any:
        guard.sleep, guard.run_ids = sleep, [None] * count  # type: ignore[method-assign]
        keys = keys or [item_key(index, key) for index in range(count)]
        items = [request_for(one, tags=IDENTITY.tags) for one in keys]
        earlier = Earlier(key=key, **{"cancels": True} | given)
        return Starts(client, guard, log=log).start(items, earlier)

    return start


@pytest.fixture
def start_again(start_items, guard: Guard) -> Callable[..., Any]:
    """Start a single run; return its id."""

    def start(key: RunKey = AFTER_A_CLEAR, **given: Any) -> Any:
        start_items(key=key, count=1, keys=[key], **given)
        return guard.run_ids[0]

    return start


# A single run, after a clear


@pytest.mark.parametrize("of", [IDENTITY, BEFORE_ITS_CLEAR])
def test_a_new_run_starts_when_the_workers_of_canceled_ones_have_stopped(
    server, start_again, network, log, of
) -> None:
    earlier = add(server, key=run_key(of, max_tries=2, try_number=1))
    earlier.cancel()  # by the trigger of the task, as it was marked
    states: list[bool] = []
    network.before = lambda sent: states.append(earlier.terminated) if sent.endswith("/trigger") else None
    assert start_again() != earlier.id
    assert states == [True]
    assert earlier.cancel_requests == 1
    assert log.lines == [f"Run {earlier.id} is CANCELED; waiting until its worker has stopped"]


def test_what_others_have_started_is_left_alone_and_named_before_anything_is_waited_for(
    server, start_again, log
) -> None:
    left = add(server, key=run_key(BEFORE_ITS_CLEAR), tags=BEFORE_ITS_CLEAR.tags)
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


@pytest.mark.parametrize("count", [1, 2])
def test_a_task_that_was_stopped_starts_no_other_run(
    count: int, server, start_items, network, guard: Guard, stops
) -> None:
    for index in range(count):
        add(server, "CANCELED", key=item_key(index))
    network.before = lambda sent: stops.extend([1.0] if CHECK_OF_ONE in sent else [])
    with pytest.raises(StoppedError):
        start_items(sleep=guard.sleep, count=count)
    assert not network.sent("/reset")


# Where the list is down


def test_a_list_that_is_down_is_a_warning_and_the_run_starts(
    server, start_again, network, log, answer
) -> None:
    network.fault(LIST, answer(500, {"error": "no database"}), times=1000)
    assert start_again() in server.runs
    [warning] = log.of("warning")
    assert warning.startswith(
        "A run of an earlier try, from before a clear or with other arguments, may still "
    )
    assert warning.endswith(". Check the dashboard, and cancel a run that you do not need")


# Other arguments than at the try before


@pytest.mark.parametrize("cancels", [True, False])
def test_a_run_of_another_task_is_canceled_first_or_named(
    cancels: bool, server, start_again, network, log
) -> None:
    earlier = add(server, key=RETRY, task_identifier="rezise")
    states: list[bool] = []
    network.before = lambda sent: states.append(earlier.terminated) if sent.endswith("/trigger") else None
    started = start_again(RETRY, cancels=cancels)
    assert server.runs[started].task_identifier == "resize"
    assert (earlier.cancel_requests, states) == (cancels, [cancels])
    assert earlier.id in log.lines[0]


@pytest.mark.parametrize(
    ("key", "cancels"),
    [*((run_key(max_tries=2, retries=retries), True) for retries in (0, 2, 9)), (AFTER_A_CLEAR, False)],
)
def test_with_other_retries_or_without_a_cancel_the_run_of_an_earlier_try_is_taken_up(
    server, start_again, log, key: RunKey, cancels: bool
) -> None:
    run = add(server, key=EARLIER_KEY)
    assert start_again(key, cancels=cancels) == run.id
    assert (run.status, run.cancel_requests, len(server.runs)) == ("EXECUTING", 0, 1)
    assert log.lines == [f"Run {run.id} was started before and is EXECUTING: no new one is started"]


# Items whose keys have runs

ALIVE_AND_NEW = "1 found alive and taken up, 1 started"


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
    assert log.of("info")[-1] == f"Runs of 3 items: 1 completed before and reused, {ALIVE_AND_NEW}"


@pytest.mark.usefixtures("either_way")
def test_what_was_canceled_starts_anew_once_its_worker_has_stopped(
    start_items, server, guard: Guard, log, clock, network
) -> None:
    first, second, alive = (add(server, key=item_key(index)) for index in range(3))
    first.cancel()
    clock.sleep(5)
    second.cancel()
    begun = clock.now
    start_items()
    assert not {None, first.id, second.id} & set(guard.run_ids[:2])
    assert guard.run_ids[2] == alive.id
    assert 10 <= clock.now - begun < 18  # the worker acknowledges after 10 s, and the query gets time
    assert log.of("info")[:2] == [
        "2 canceled runs: waiting until their workers have stopped",
        "Starting 2 runs again, canceled before",
    ]
    checked = [len(network.sent(f"{CHECK_OF_ONE}{run.id}")) for run in (first, second)]
    assert checked[0] < checked[1]


@pytest.mark.usefixtures("by_query")
def test_a_run_whose_cancel_the_query_has_lost_starts_anew(start_items, server, guard: Guard, clock) -> None:
    canceled, alive = add(server, key=item_key(0)), add(server, key=item_key(1))
    server.lose_in_query(canceled.id)
    clock.sleep(1)
    canceled.cancel()
    seen = start_items()
    assert guard.run_ids[0] not in (None, canceled.id)
    assert (guard.run_ids[1], seen[alive.id].status) == (alive.id, "EXECUTING")


def test_a_run_that_cannot_be_seen_is_left_to_the_wait(start_items, server, guard, network, answer) -> None:
    broken, unseen = add(server, key=item_key(0)), add(server, key=item_key(1))
    network.fault(f"{CHECK_OF_ONE}{broken.id}", answer(500, {}), times=1000)
    network.fault(f"{CHECK_OF_ONE}{unseen.id}", answer(404, {"error": "Not found"}), times=1000)
    assert not {broken.id, unseen.id} & start_items().keys()
    assert guard.run_ids[:2] == [broken.id, unseen.id]


# Runs for items that this try does not have


@pytest.mark.parametrize("cancels", [True, False])
def test_runs_of_items_that_are_gone_are_canceled_and_waited_for_or_named(
    cancels: bool, start_items, server, guard: Guard, log, clock
) -> None:
    own, gone = add(server, key=item_key(0)), add(server, key=item_key(0, payload="other"))
    start_items(cancels=cancels)
    assert (guard.run_ids[0], own.cancel_requests, gone.cancel_requests) == (own.id, 0, cancels)
    assert (clock.now - 1000 >= 10) == cancels
    level, line = log.leveled[0]
    assert (level, gone.id in line) == ("info" if cancels else "warning", True)


def test_of_two_runs_for_one_item_the_newer_one_is_taken_up(
    start_items, guard: Guard, add_in_turn, log
) -> None:
    # With other ``retries`` the keys differ, and nothing shows a clear.
    keys = [item_key(1, run_key(max_tries=2, retries=retries, try_number=3)) for retries in (0, 1)]
    older, newer = add_in_turn(*keys)
    seen = start_items()
    assert (guard.run_ids[1], seen[newer.id].status) == (newer.id, "EXECUTING")
    assert older.status == "CANCELED"
    assert older.id in log.lines[0]


# Outputs that are used again after a clear


@pytest.fixture
def completed(server, clock) -> Callable[..., Any]:
    """Add a run of the first item that has completed, a minute ago, before the task was cleared."""

    def act(key: RunKey = RETRY, *, index: int = 0, payload: Any = None, status: str = "COMPLETED") -> Any:
        run = add(server, status, key=item_key(index, key, payload), tags=IDENTITY.tags)
        clock.sleep(60)
        return run

    return act


def dag_run_cleared(clock, *, is_cleared: Any = False, **fields: Any) -> RunKey:
    """Return the key of a task whose Dag run was cleared just now, and so has another start date."""
    dag_run = replace(DAG_RUN, start_date=datetime.fromtimestamp(clock.time(), UTC), is_cleared=is_cleared)
    return run_key(replace(IDENTITY, dag_run=dag_run), **fields)


@pytest.mark.parametrize("replaces", [True, False])
@pytest.mark.parametrize("clears_dag_run", [True, False])
@pytest.mark.parametrize("reuses", [True, False])
def test_after_a_clear_only_what_has_not_completed_starts_where_outputs_are_reused(
    reuses: bool, clears_dag_run: bool, replaces: bool, start_items, completed, guard, clock, network, log
) -> None:
    first, failed, again = completed(), completed(index=1, status="FAILED"), completed(index=2)
    key = dag_run_cleared(clock) if clears_dag_run else AFTER_A_CLEAR
    seen = start_items(key=key, reuses=reuses, replaces=replaces)
    same = [one.id in guard.run_ids for one in (first, failed, again)]
    assert same == [reuses, False, reuses]
    assert {one.id for one in seen.values() if one.is_success} == ({first.id, again.id} if reuses else set())
    if reuses:
        assert {first.id, again.id} <= guard.ended
        assert not network.sent(f"{CHECK_OF_ONE}{first.id}")
        found = "2 completed before and reused, 0 found alive and taken up, 1 started"
        assert log.lines == [f"Runs of 3 items: {found}"]


OTHER_TASK = replace(IDENTITY, task_id="u")


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        (RETRY, {"payload": "other"}),
        (RETRY, {"index": 3}),
        (replace(RETRY, operator_id="u"), {}),
        (replace(RETRY, execution=2), {}),
        (replace(RETRY, task_instance=OTHER_TASK), {}),
        (replace(RETRY, task_instance=replace(IDENTITY, map_index=1)), {}),
        (replace(RETRY, task_instance=replace(IDENTITY, iteration=("region", 1))), {}),
        (replace(RETRY, test_number=1), {}),
    ],
    ids=["payload", "place", "operator", "execution", "task", "mapped", "loop", "test"],
)
def test_what_another_has_returned_is_not_reused(key: RunKey, fields, start_items, completed, guard) -> None:
    run = completed(key, **fields)
    start_items(key=AFTER_A_CLEAR, reuses=True)
    assert run.id not in guard.run_ids


@pytest.mark.parametrize("max_tries", [2, 4])
@pytest.mark.parametrize("is_cleared", [True, False])
def test_with_other_retries_it_is_reused_only_where_airflow_says_that_there_was_a_clear(
    is_cleared: bool, max_tries: int, start_items, completed, guard, clock, log
) -> None:
    runs = [completed(index=index) for index in range(2)]
    start_items(key=dag_run_cleared(clock, is_cleared=is_cleared, max_tries=max_tries), reuses=True)
    assert [run.id in guard.run_ids for run in runs] == [is_cleared] * 2
    starts = [line[:66] for line in log.of("warning")]
    assert starts == ["Not reused: 2 completed runs from before the start of this Dag run"] * (not is_cleared)


@pytest.mark.parametrize("kind", ["no clear", "too new", "replay"])
def test_a_run_of_another_start_of_the_dag_run_is_reused_only_from_before_a_clear(
    kind: str, start_items, completed, guard, clock, server
) -> None:
    run = completed()
    key = dag_run_cleared(clock, **({"max_tries": 2} if kind == "no clear" else {}))
    if kind == "too new":
        clock.sleep(60)
        run = completed()
    elif kind == "replay":
        run = server.replay(run)
        run.status = "COMPLETED"
        server.runs.pop(next(iter(server.runs)))
    start_items(key=key, reuses=True)
    assert run.id not in guard.run_ids


@pytest.mark.parametrize("has_older", [False, True])
def test_a_run_that_completes_in_spite_of_its_cancel_is_reused_unless_another_has_completed(
    has_older: bool, start_items, completed, server, guard
) -> None:
    older = completed() if has_older else None
    run = add(server, key=item_key(0), completes_despite_cancel=True)
    start_items(key=AFTER_A_CLEAR, reuses=True)
    assert (run.status, guard.run_ids[0]) == ("COMPLETED", (older or run).id)
    assert len(server.runs) == 3 + has_older


def test_a_list_that_is_down_after_a_clear_is_an_error_before_anything_starts(
    start_items, completed, network, answer, server, clock
) -> None:
    completed()
    network.fault(LIST, answer(500, {"error": "no database"}), times=1000)
    for key in (AFTER_A_CLEAR, dag_run_cleared(clock, is_cleared=True, max_tries=2)):
        with pytest.raises(ResponseError, match="no other ones start in their place"):
            start_items(key=key, reuses=True)
    assert len(server.runs) == 1
    start_items(key=RETRY, reuses=True)  # whose keys find what has completed
    assert len(server.runs) == 3
