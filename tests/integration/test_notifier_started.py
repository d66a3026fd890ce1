"""Cancel what tasks of this provider have started: the operator, the notifier, and it without arguments."""

from __future__ import annotations

import asyncio
import time

import pytest
from airflow import __version__
from run_operator import batch
from waiting import LONG

from airflow_provider_trigger.cancel import bulk
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.run import search

# Two tasks that start runs and leave them alone; then one that fails.
STARTS = """
first = RunTriggerTaskOperator(task_id="first", task_identifier="endless", wait_for_completion=False)
second = RunTriggerTaskOperator.partial(
    task_id="second", task_identifier="endless", wait_for_completion=False
).expand(payload=[1, 2])
waited = RunTriggerTaskOperator(task_id="waited", task_identifier="quick", poll_interval=0.05)

@task
def work():
    raise RuntimeError("something failed at night")
"""


@pytest.fixture(autouse=True)
def tasks(server):
    server.on_task("endless", after=None, start_after=0)
    server.on_task("quick", output=["run_of_the_output"])


def of_the_dag_run(server):
    return [run for run in server.runs.values() if run.task_identifier == "endless"]


def test_operator_cancels_the_runs_that_tasks_have_started_and_not_their_outputs(server, run_tasks):
    bystander, _ = server.trigger("endless")
    result = run_tasks(
        STARTS
        + """
work()
cancel = CancelTriggerRunOperator(
    task_id="cancel", xcom_task_ids=["first", "second", "waited"], trigger_rule="all_done"
)
[first, second, waited] >> cancel
"""
    )
    outcomes = [one["outcome"] for one in result.xcoms["cancel"]]
    assert outcomes == ["canceled"] * 3 + ["already_completed"]
    assert [run.status for run in of_the_dag_run(server)] == ["EXECUTING"] + ["CANCELED"] * 3
    assert bystander.cancel_requests == 0
    assert not any("run_of_the_output" in request.path for request in server.requests)


def test_operator_reads_the_return_value_where_a_key_is_given(server, run_tasks):
    run = server.add_run()
    server.on_task("lists", output=[run.id])
    result = run_tasks("""
        lists = RunTriggerTaskOperator(task_id="lists", task_identifier="lists", poll_interval=0.05)
        lists >> CancelTriggerRunOperator(
            task_id="cancel", xcom_task_ids="lists", xcom_key="return_value"
        )
    """)
    assert [one["run_id"] for one in result.xcoms["cancel"]] == [run.id]
    assert run.status == "CANCELED"


def test_notifier_cancels_the_runs_that_the_named_tasks_have_started(server, run_tasks):
    run_tasks(
        STARTS
        + """
@task(on_failure_callback=CancelTriggerRunNotifier(xcom_task_ids=["first", "waited"]))
def fail():
    raise RuntimeError("something failed at night")

[first, second, waited] >> fail()
"""
    )
    assert sorted(run.status for run in of_the_dag_run(server)) == ["CANCELED", "EXECUTING", "EXECUTING"]
    assert not any("run_of_the_output" in request.path for request in server.requests)


DAG_CALLBACK = (
    STARTS.replace("work():", "work(params):").replace("    raise", '    if params["fails"]:\n        raise')
    + "\n[first, second, waited] >> work()\n"
)
WITH_CALLBACK = {"dag": "params={'fails': True}, on_failure_callback=CancelTriggerRunNotifier()"}


def test_a_dags_callback_without_arguments_cancels_what_this_dag_run_has_started(server, run_tasks, said):
    # Of another Dag run of the same Dag, and of an application.
    assert run_tasks(DAG_CALLBACK, {"fails": False}, **WITH_CALLBACK).state == "success"
    foreign, _ = server.trigger("endless", options={"tags": ["airflow_dag:a_dag"]})
    others = of_the_dag_run(server)
    assert len(others) == 4
    result = run_tasks(DAG_CALLBACK, {"fails": True}, **WITH_CALLBACK)
    assert result.state == "failed"
    ours = [run for run in of_the_dag_run(server) if run not in others]
    assert len(ours) == 3
    assert {run.status for run in others} == {"EXECUTING"}
    assert sum(run.cancel_requests for run in others) == foreign.cancel_requests == 0
    # Airflow 3.0.4 tells the callback of a Dag nothing of its Dag run.
    assert {run.status for run in ours} == {"EXECUTING" if __version__ == "3.0.4" else "CANCELED"}
    if __version__ != "3.0.4":
        assert said.lines(f"Dag '{result.dag_id}', Dag run ", "Trigger.dev runs: 3 canceled")


def test_a_tasks_callback_without_arguments_cancels_what_this_task_has_started(server, run_tasks, said):
    run_tasks(
        """
        first = RunTriggerTaskOperator(
            task_id="first", task_identifier="endless", wait_for_completion=False
        )

        def fail(context, result=None):
            raise RuntimeError("something failed at night")

        first >> RunTriggerTaskOperator.partial(
            task_id="second",
            task_identifier="endless",
            wait_for_completion=False,
            post_execute=fail,
            on_failure_callback=CancelTriggerRunNotifier(),
        ).expand(payload=[1, 2])
        """
    )
    runs = of_the_dag_run(server)
    assert [run.status for run in runs] == ["EXECUTING", "CANCELED", "CANCELED"]
    assert [run.cancel_requests for run in runs] == [0, 1, 1]
    assert len(said.lines("task 'second'", "1 Trigger.dev run: 1 canceled")) == 2


# Without Airflow's database


@pytest.fixture
def started(run_try, server):
    """Start a run in a Dag run, and return it."""

    def start(started_at="2026-01-01T06:00:02Z", **ti):
        operator = RunTriggerTaskOperator(
            task_id="start", task_identifier="endless", wait_for_completion=False
        )
        return server.runs[run_try(operator, started_at=started_at, **ti).output]

    return start


def alert(started_at="2026-01-01T06:00:02Z"):
    """The context of a deadline alert."""
    dag_run = {
        "dag_id": "a_dag",
        "dag_run_id": "manual_1",
        "start_date": started_at,
        "logical_date": "2026-01-01T06:00:00Z",
    }
    return {"dag_run": dag_run, "deadline": {"id": "1"}}


def notify(context, **arguments):
    asyncio.run(CancelTriggerRunNotifier(**arguments).async_notify(context))


def test_a_deadline_alert_cancels_exactly_this_dag_runs_runs(server, started, said):
    ours = [started(), started(task_id="other"), started(map_index=3)]
    others = [started("2026-01-01T06:00:03Z"), server.replay(ours[0]), server.trigger("endless")[0]]
    notify(alert())
    assert [run.status for run in ours] == ["CANCELED"] * 3
    assert [run.cancel_requests for run in others] == [0] * 3
    assert said.lines("Dag 'a_dag', Dag run 'manual_1': 3 Trigger.dev runs: 3 canceled")


def test_a_run_that_the_list_does_not_show_yet_is_canceled_in_a_second_round(server, started, said):
    server.list_lag = 1.5
    run = started()
    notify(alert())
    assert run.status == "CANCELED"
    lists = [one for one in server.requests if one.method == "GET" and "filter" in one.path]
    assert len(lists) == 2


@pytest.mark.parametrize("does_bulk", [True, False], ids=["bulk worker on", "off"])
def test_many_runs_are_canceled_by_few_bulk_actions_and_confirmed_by_queries(
    does_bulk, server, run_try, said, monkeypatch
):
    monkeypatch.setattr(search, "_PAGE_WITHIN", LONG)  # also on a busy machine
    monkeypatch.setattr(bulk, "NO_PROGRESS_AFTER", 5.0 if does_bulk else 0.2)
    server.rate_limit = None
    server.list_lag = server.query_lag = 0.2
    server.bulk_duration, server.bulk_rate = (0.1 if does_bulk else None), None
    payloads = list(range(310))
    start = batch(payloads=payloads, task_identifier="endless", wait_for_completion=False)
    run_try(start, started_at="2026-01-01T06:00:02Z")
    time.sleep(server.list_lag)  # the list shows them all
    before = len(server.requests)
    notify(alert(), timeout=120)  # a busy machine
    assert said.lines("Dag 'a_dag', Dag run 'manual_1': 310 Trigger.dev runs: 310 canceled")
    sent = [request.path for request in server.requests[before:]]
    assert sent.count("/api/v1/bulk-actions") <= 2  # and one for those that the list shows by then
    assert sum(run.cancel_requests for run in server.runs.values()) == (0 if does_bulk else 310)
    assert [path for path in sent if path.startswith("/api/v3/runs/")] == []
    assert sent.count("/api/v1/query") < 20


def test_a_replay_by_the_operator_is_found_by_xcom_only(server, run_tasks):
    original = server.add_run("FAILED", task_identifier="endless")
    run_tasks(
        """
        replay = ReplayTriggerRunOperator(
            task_id="replay", run_id="{{ params.run_id }}", wait_for_completion=False
        )
        replay >> CancelTriggerRunOperator(task_id="cancel", xcom_task_ids="replay")
        """,
        {"run_id": original.id},
    )
    first, replay = server.runs.values()
    assert (first.status, replay.status) == ("FAILED", "CANCELED")
