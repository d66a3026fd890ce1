"""Without arguments: what this Dag run, or this task instance, has started, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_airflow import TaskInstance, context_of
from waiting import until

from airflow_provider_trigger._compat import BaseOperator
from airflow_provider_trigger.api.models import ListedRun
from airflow_provider_trigger.cancel import record
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.run import search

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow.models.dag import DAG

TASKS = ("first", "second")


@pytest.fixture(autouse=True)
def without_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "LIST_LAG", 0.05)


@pytest.fixture
def log(keep_log):
    return keep_log(CancelTriggerRunNotifier)


@pytest.fixture
def dag() -> DAG:
    with DAG("a_dag", schedule=None) as dag:
        for task_id in TASKS:
            RunTriggerTaskOperator(
                task_id=task_id, task_identifier="resize", wait_for_completion=False, deferrable=False
            )
        BaseOperator(task_id="other")
    return dag


@pytest.fixture
def start(connection: str, server, dag: DAG) -> Callable[..., Any]:
    """Start a run that never ends, as a task of this Dag run or of another; return it and the context."""
    server.on_task("resize", after=None)

    def run(task_id: str, *, start: int = 0, **fields: Any) -> tuple[Any, Any]:
        ti = TaskInstance(task_id, task=dag.get_task(task_id), **fields)
        context = context_of(ti, start=start, dag=dag)
        task: Any = dag.get_task(task_id)
        run_id = task.execute(context)
        return server.runs[run_id], context

    return run


def is_canceled(*runs: Any) -> list[bool]:
    return [run.status == "CANCELED" for run in runs]


@pytest.mark.parametrize("has_xcom", [True, False])
def test_in_a_tasks_callback_it_is_about_what_this_task_instance_has_started(
    has_xcom: bool, start, log
) -> None:
    mine, context = start("first")
    others = [start("second")[0], start("first", map_index=3)[0], start("first", start=1)[0]]
    if not has_xcom:  # it is found by its tag
        context["ti"].xcoms.clear()
    CancelTriggerRunNotifier()(context)
    assert is_canceled(mine, *others) == [True, False, False, False]
    assert mine.cancel_requests == 1
    assert log.leveled[-1] == (
        "info",
        "Dag 'a_dag', Dag run 'manual_1', task 'first': 1 Trigger.dev run: 1 canceled",
    )


@pytest.mark.parametrize("include", [False, True])
def test_what_the_found_runs_have_started_is_canceled_on_request_only(
    include: bool, start, log, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "LOOK_INTERVAL", 0.05)
    mine, context = start("first")
    context["ti"].xcoms.clear()
    child = server.add_run("QUEUED", parent=server.add_run("COMPLETED", parent=mine))
    CancelTriggerRunNotifier(include_descendants=include)(context)
    assert is_canceled(mine, child) == [True, include]
    assert log.of("error") == []


@pytest.mark.parametrize("lists", [True, False])
def test_they_are_found_by_their_tag_first_and_by_xcom_if_that_fails(
    lists: bool, start, log, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, context = start("first")
    hold, seen, pull = threading.Event(), [], context["ti"].xcom_pull

    def xcom_pull(**options: Any) -> Any:
        seen.append(log.of("info"))
        if lists:
            until(lambda: mine.status == "CANCELED", "it is canceled by its tag", limit=9)
        hold.wait(60 if lists else 2.2)
        return pull(**options)

    context["ti"].xcom_pull = xcom_pull
    if not lists:
        server.fail_next(None, 400, path="/api/v1/runs?*")
    CancelTriggerRunNotifier(timeout=2)(context)
    hold.set()
    assert is_canceled(mine) == [True]
    where = "Dag 'a_dag', Dag run 'manual_1', task 'first': "
    assert seen[0] == [f"{where}Canceling the Trigger.dev runs of the tag {mine.tags[-1]!r}, and of XCom"]
    level, text = log.leveled[-1]
    problem = "XCom was not read to its end" if lists else "the runs of this Dag run could not be listed"
    assert level == "error"
    assert text.startswith(f"{where}1 Trigger.dev run: 1 canceled - runs whose ids could not be read may")
    assert problem in text


def test_a_connection_that_airflow_gives_late_leaves_half_of_the_time(
    start, log, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, context = start("first")
    context["ti"].xcoms.clear()  # it is found by its tag only
    get = TriggerDevHook.get_connection

    def get_late(_: Any, conn_id: str) -> Any:
        time.sleep(1.5)
        return get(conn_id)

    monkeypatch.setattr(TriggerDevHook, "get_connection", get_late)
    CancelTriggerRunNotifier(timeout=1)(context)
    assert is_canceled(mine) == [True]


def test_a_run_of_an_earlier_try_is_this_task_instances_too(start, log) -> None:
    before, _ = start("first")
    after, context = start("first", try_number=2, max_tries=1)  # after a clear
    assert before is not after
    CancelTriggerRunNotifier()(context)
    assert is_canceled(before, after) == [True, True]


def test_in_a_dags_callback_without_a_task_instance_it_finds_them_by_their_tag(start, log) -> None:
    first, context = start("first")
    second, _ = start("second")
    del context["ti"]
    CancelTriggerRunNotifier()(context | {"reason": "timed_out"})
    assert is_canceled(first, second) == [True, True]
    assert log.of("warning") == log.of("error") == []


def test_a_replay_that_someone_else_made_is_left_alone_with_a_warning(start, log, server) -> None:
    mine, context = start("first")
    replay = server.replay(mine)
    assert replay.tags == mine.tags
    CancelTriggerRunNotifier()(context)
    assert is_canceled(mine, replay) == [True, False]
    assert log.of("warning") == [
        "Dag 'a_dag', Dag run 'manual_1', task 'first': Not canceled, as they have the tag of this Dag run "
        f"or task, but not its idempotency key (replays, or runs with a key of their own): {replay.id}"
    ]


def test_what_has_ended_is_a_success_and_not_canceled(start, log, server) -> None:
    server.on_task("resize", start_after=0, after=0)
    ended, context = start("first")
    context["ti"].xcoms.clear()
    CancelTriggerRunNotifier()(context)
    assert (ended.cancel_requests, log.of("error")) == (0, [])


def test_where_nothing_was_started_nothing_is_canceled(connection: str, server, log, dag: DAG) -> None:
    other = server.add_run("EXECUTING")
    for task_id in ("first", "other"):
        context = context_of(TaskInstance(task_id, task=dag.get_task(task_id)), dag=dag)
        CancelTriggerRunNotifier()(context)
    assert other.cancel_requests == 0
    assert {one.path.partition("?")[0] for one in server.requests} == {"/api/v1/runs"}
    assert log.of("error") == []


def test_where_nothing_can_be_found_the_log_says_so(connection: str, server, log, dag: DAG) -> None:
    context: Any = {"dag": dag, "run_id": "manual_1", "reason": "task_failure"}
    CancelTriggerRunNotifier()(context)
    assert server.requests == []
    level, text = log.leveled[-1]
    assert level == "error"
    assert "the runs of this Dag run cannot be found" in text
    assert "give run_ids, or use a task's callback" in text


def test_its_time_limit_counts_for_the_search_too(start, log, server) -> None:
    _, context = start("first")
    context["ti"].xcoms.clear()
    server.hang_next(None)
    CancelTriggerRunNotifier(timeout=0.5)(context)
    assert log.leveled[-1][0] == "error"
    assert "could not be listed" in log.leveled[-1][1]


def test_without_a_dag_run_the_runs_in_xcom_are_all(start, log, server) -> None:
    mine, context = start("first")
    before = len(server.requests)
    del context["dag_run"]
    CancelTriggerRunNotifier()(context)
    assert (is_canceled(mine), log.of("error")) == ([True], [])
    assert not any("/api/v1/runs?" in request.path for request in server.requests[before:])


@pytest.mark.parametrize("argument", ["run_ids", "xcom_task_ids"])
def test_an_empty_list_cancels_nothing_and_is_a_warning(start, log, server, argument: str) -> None:
    mine, context = start("first")
    before = len(server.requests)
    given: Any = {argument: []}
    CancelTriggerRunNotifier(**given)(context)
    assert is_canceled(mine) == [False]
    assert len(server.requests) == before
    assert [text for text in log.of("warning") if f"{argument} is an empty list" in text]


def test_a_search_without_an_answer_holds_up_no_run_that_xcom_names(
    start, log, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, context = start("first")

    def pages(*_: Any, **__: Any) -> Iterator[list[ListedRun]]:
        until(lambda: mine.status == "CANCELED", "it is canceled by its id in XCom", limit=9)
        yield []

    monkeypatch.setattr(search.RunFilter, "pages", pages)
    CancelTriggerRunNotifier()(context)
    assert is_canceled(mine) == [True]
    assert log.of("error") == []
