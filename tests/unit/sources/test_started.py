"""Which runs a Dag run or a task instance has started: by XCom, and by a search of the list."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fake_airflow import START, TaskInstance, context_of

from airflow_provider_trigger._compat import BaseOperator
from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.sources import started
from airflow_provider_trigger.sources.context import task_instance_of
from airflow_provider_trigger.sources.run_ids import RunIds
from airflow_provider_trigger.sources.started import started_by_search, started_by_xcom

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow.models.dag import DAG

with DAG("a_dag", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as DAG_OF_ALL:
    RunTriggerTaskOperator(task_id="resize", task_identifier="resize-image")
    RunTriggerTaskOperator.partial(task_id="crop", task_identifier="crop-image").expand(payload=[1, 2])
    ReplayTriggerRunOperator(task_id="again", run_id="run_0")
    BaseOperator(task_id="other")


def context(
    pushed: dict[str, Any] | None = None, task_id: str = "resize", map_index: int = -1, **more: Any
) -> Any:
    """Return what a task's callback gets; with a reason, a Dag's."""
    task = DAG_OF_ALL.get_task(task_id)
    ti = TaskInstance(task_id, pushed, key="run_id", map_index=map_index, task=task)
    return context_of(ti, **{"dag": DAG_OF_ALL} | more)


def without_start() -> Any:
    """Return what a Dag's callback of Airflow 3.0 gets."""
    return {"dag": DAG_OF_ALL, "run_id": "manual_1", "reason": "task_failure"}


ALERT: Any = {
    "dag_run": {"dag_id": "a_dag", "dag_run_id": "manual_1", "start_date": START.isoformat()},
    "deadline": {"id": "x"},
}


# By XCom


def test_a_task_gives_what_it_started_itself() -> None:
    given = context({"resize": "run_1", "again": "run_2"})
    assert started_by_xcom(given).found == ["run_1"]
    assert given["ti"].pulls == [{"task_ids": "resize", "key": "run_id"}]


def test_an_instance_of_a_mapped_task_gives_its_own() -> None:
    given = context({"crop": "run_7"}, "crop", 1)
    assert started_by_xcom(given).found == ["run_7"]
    assert given["ti"].pulls == [{"task_ids": "crop", "key": "run_id", "map_indexes": 1}]


def test_a_task_that_starts_no_runs_gives_none() -> None:
    given = context({"other": "run_1"}, "other")
    assert started_by_xcom(given) == RunIds()
    assert given["ti"].pulls == []


def test_a_dag_gives_what_all_its_tasks_started() -> None:
    pushed = {"resize": "run_1", "crop": ["run_2", "run_3"], "again": "run_4", "other": "run_5"}
    given = context(pushed, reason="task_failure")
    assert started_by_xcom(given).found == ["run_1", "run_2", "run_3", "run_4"]
    assert {pull["task_ids"] for pull in given["ti"].pulls} == {"resize", "crop", "again"}


def test_tasks_that_have_not_started_a_run_are_no_problem() -> None:
    ids = started_by_xcom(context({"again": "run_4"}, reason="task_failure"))
    assert (ids.found, ids.empty, ids.failed) == (["run_4"], [], [])


def test_a_callback_of_a_dag_that_is_not_in_its_context_gives_no_runs() -> None:
    given = context({"resize": "run_1"}, dag=None, reason="task_failure")
    assert started_by_xcom(given) == RunIds()
    assert given["ti"].pulls == []


@pytest.mark.parametrize("given", [{}, ALERT, without_start()])
def test_where_there_is_no_xcom_nothing_is_wrong_yet(given) -> None:
    assert started_by_xcom(given) == RunIds()


# By search


@pytest.fixture
def add(server):
    """Add a run that a task of the Dag run has started."""

    def build(status: str = "EXECUTING", task_id: str = "resize", map_index: int = -1, **fields: Any) -> Any:
        made: Any = task_instance_of(context(None, task_id, map_index))
        given = {"idempotency_key": f"{made.start_of_keys}0", "tags": made.tags}
        return server.add_run(status, **given | fields)

    return build


@pytest.fixture
def pages(client, clock, log, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(started, "time", clock)

    def begin(given: Any, ids: RunIds | None = None, *, timeout: float = 30) -> Iterator[list[str]]:
        deadline = Deadline.after(timeout, now=clock.monotonic())
        ids = ids if ids is not None else RunIds()
        return started_by_search(given, ids, client, deadline=deadline, log=log, origin="Dag: ")

    return begin


@pytest.fixture
def search(pages):
    return lambda *given, **options: list(pages(*given, **options))


@pytest.mark.parametrize("given", [context(reason="task_failure"), ALERT])
def test_a_dag_run_finds_the_runs_of_all_its_tasks(add, search, log, given) -> None:
    runs = [add(), add(task_id="crop", map_index=0), add(task_id="crop", map_index=1)]
    [found] = search(given)
    assert set(found) == {run.id for run in runs}
    assert log.lines == []


def test_a_task_instance_finds_only_its_own(add, search) -> None:
    add()
    add(task_id="crop", map_index=0)
    own = add(task_id="crop", map_index=1)
    assert search(context(None, "crop", 1)) == [[own.id]]


def test_another_dag_run_finds_none(server, add, search, log) -> None:
    add()
    server.add_run("EXECUTING")
    given = context(reason="task_failure")
    given["dag_run"].run_id = "another"
    assert search(given) == []
    assert log.lines == []


def test_a_run_whose_status_is_new_is_found_among_those_that_have_ended(add, search) -> None:
    alive = add("PAUSED_BY_USER")
    for number in range(150):
        add("COMPLETED", map_index=number)
    assert search(ALERT) == [[alive.id]]


@pytest.mark.usefixtures("without_listed_keys")
def test_runs_that_are_listed_without_a_key_are_checked(add, search, network) -> None:
    ours = [add(), add(task_id="crop", map_index=0)]
    foreign = add(idempotency_key="order-17")
    [found] = search(ALERT)
    assert set(found) == {run.id for run in ours}
    assert foreign.cancel_requests == 0
    assert len(network.sent("GET /api/v3/runs/")) == 3


def test_the_list_is_read_again_as_it_lags(server, add, search, clock) -> None:
    server.list_lag = 2.0
    add(status="COMPLETED")
    early = add(task_id="crop", map_index=0)
    clock.sleep(3)
    late = add()
    begun = clock.now
    assert search(ALERT) == [[early.id], [late.id]]
    assert 2 < clock.now - begun <= 3


def test_what_is_known_is_not_given_again(add, search) -> None:
    known, other = add(), add(task_id="crop", map_index=0)
    ids = RunIds()
    ids.add(known.id, source="XCom")
    assert search(ALERT, ids) == [[other.id]]


def test_a_replay_by_someone_else_is_named_once_and_left_alone(server, add, search, log) -> None:
    replayed = server.replay(add(status="COMPLETED"))
    replayed.status = "EXECUTING"
    assert search(ALERT) == []
    assert log.leveled == [
        (
            "warning",
            "Dag: Not canceled, as they have the tag of this Dag run or task, but not its idempotency key "
            f"(replays, or runs with a key of their own): {replayed.id}",
        )
    ]


def test_a_list_that_is_down_is_a_reason_for_a_failure(add, search, network, answer) -> None:
    add()
    network.fault("GET /api/v1/runs", answer(500, {"error": "no database"}), times=1000)
    ids = RunIds()
    assert search(ALERT, ids) == []
    [reason] = ids.failed
    assert reason.startswith("the runs of this Dag run could not be listed: GET /api/v1/runs answered 500")


def test_a_list_that_is_down_the_second_time_keeps_what_was_found(
    add, search, network, answer, clock
) -> None:
    run = add()

    def fail(_: str) -> None:
        if clock.now > 1000:
            network.fault("GET /api/v1/runs", answer(500, {"error": "no database"}))

    network.before = fail
    ids = RunIds()
    assert search(ALERT, ids) == [[run.id]]
    assert len(ids.failed) == 1


def test_as_many_runs_as_one_bulk_action_takes_are_given_before_the_next_page_is_read_and_none_is_checked(
    server, add, pages, network, clock
) -> None:
    runs = []
    for number in range(650):
        clock.sleep(0.01)
        runs.append(add(map_index=number))
    newest = [run.id for run in reversed(runs)]
    found = pages(ALERT)
    assert next(found) == newest[:500]
    assert len(network.requests) == 5
    assert next(found) == newest[500:]
    assert list(found) == []
    assert network.sent("/v3/") == []


def test_the_deadline_ends_the_search(add, search, clock) -> None:
    run = add()
    ids = RunIds()
    assert search(ALERT, ids, timeout=1) == [[run.id]]
    assert clock.now == 1001
    assert len(ids.failed) == 1


def test_without_xcom_and_without_a_start_the_runs_cannot_be_found(search, network) -> None:
    ids = RunIds()
    assert search(without_start(), ids) == []
    assert ids.failed == [
        "the runs of this Dag run cannot be found: XCom is not available (its context has no task instance), "
        "and the context does not say when the Dag run started; give run_ids, or use a task's callback"
    ]
    assert network.requests == []


def test_with_xcom_alone_nothing_is_wrong(search, network) -> None:
    given = context({"resize": "run_1"})
    del given["dag_run"]
    ids = RunIds()
    assert search(given, ids) == []
    assert ids.failed == []
    assert network.requests == []
