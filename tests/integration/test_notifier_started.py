"""Cancel what tasks of this provider have started: the operator, the notifier, and it without arguments."""

from __future__ import annotations

import pytest
from airflow import __version__

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


def test_operator_and_notifier_cancel_runs_that_tasks_have_started_and_no_output(server, run_tasks):
    bystander, original = server.trigger("endless")[0], server.add_run("FAILED", task_identifier="endless")
    result = run_tasks(
        STARTS
        + f"""
replay = ReplayTriggerRunOperator(task_id="replay", run_id="{original.id}", wait_for_completion=False)

@task(on_failure_callback=CancelTriggerRunNotifier(xcom_task_ids=["first", "waited"]))
def fail():
    raise RuntimeError("something failed at night")

cancel = CancelTriggerRunOperator(
    task_id="cancel", xcom_task_ids=["second", "waited", "replay"], trigger_rule="all_done"
)
[first, second, waited, replay] >> fail() >> cancel
"""
    )
    started = [run_id for name in ("second", "waited", "replay") for run_id in result.pushed[name, "run_id"]]
    assert [one["run_id"] for one in result.xcoms["cancel"]] == started
    outcomes = [one["outcome"] for one in result.xcoms["cancel"]]
    assert outcomes == ["canceled", "canceled", "already_completed", "canceled"]
    first = server.runs[result.pushed["first", "run_id"][0]]
    assert (first.status, first.cancel_requests) == ("CANCELED", 1)
    assert (bystander.cancel_requests, original.status) == (0, "FAILED")
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
