from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("connection")

TASK_CALLBACKS = """
@task
def start(params):
    return params["run_ids"][:2]

@task
def start_more(params):
    return {"id": params["run_ids"][2]}

@task(
    retries=1,
    on_retry_callback=CancelTriggerRunNotifier(xcom_task_ids="start"),
    on_failure_callback=[
        CancelTriggerRunNotifier(xcom_task_ids=["start", "start_more"], run_ids="{{ params.run_ids[3] }}")
    ],
)
def work():
    raise RuntimeError("something failed at night")

[start(), start_more()] >> work()
"""

# Arguments of a Dag; then its tasks.
DAG_CALLBACKS = """params={"run_ids": []},
    on_failure_callback=[
        CancelTriggerRunNotifier(run_ids="{{ params.run_ids[:1] }}"),
        CancelTriggerRunNotifier(xcom_task_ids="start"),
        CancelTriggerRunNotifier(run_ids="{{ params.run_ids[2] }}", xcom_task_ids="start"),
    ]"""
DAG_WITH_CALLBACKS = """
@task
def start(params):
    return params["run_ids"][1]

@task
def work():
    raise RuntimeError("something failed at night")

start() >> work()
"""


def test_callbacks_of_a_task_cancel_what_its_siblings_started(server, run_tasks, said):
    runs = [server.add_run() for _ in range(5)]
    result = run_tasks(TASK_CALLBACKS, {"run_ids": [run.id for run in runs]}, dag="params={'run_ids': []}")
    assert result.state == "failed"
    assert [run.status for run in runs] == ["CANCELED"] * 4 + ["EXECUTING"]
    for count in (2, 4):
        summary = f", task 'work': {count} Trigger.dev runs: {count} canceled"
        assert said.lines(f"Dag '{result.dag_id}', Dag run ", summary)
    assert said.lines(runs[3].id, "canceled, CANCELED", f"/runs/{runs[3].id}")
    assert runs[0].cancel_requests == 2


def test_callbacks_of_a_dag_say_what_to_use_where_there_is_no_xcom(server, run_tasks, said):
    from airflow import __version__

    runs = [server.add_run() for _ in range(4)]
    conf = {"run_ids": [run.id for run in runs]}
    result = run_tasks(DAG_WITH_CALLBACKS, conf, dag=DAG_CALLBACKS)
    assert result.state == "failed"
    has_xcom = __version__.startswith("2.")
    has_params = __version__ != "3.0.4"
    assert [run.status for run in runs] == [
        "CANCELED" if has_params else "EXECUTING",
        "CANCELED" if has_xcom else "EXECUTING",
        "CANCELED" if has_params else "EXECUTING",
        "EXECUTING",
    ]
    without_xcom = 0 if has_xcom else 2 if has_params else 1
    why = (
        "Dag callbacks under 'airflow dags test' have none"
        if has_params
        else "its context has no task instance"
    )
    reason = f"XCom is not available in this callback: {why}"
    found = said.lines(reason, "give run_ids", "CancelTriggerRunOperator")
    assert len(found) == 2 * without_xcom  # a line of its own, and in the summary
    assert len(said.lines("runs whose ids could not be read may still run")) == without_xcom
    lines = said.lines(f"Dag '{result.dag_id}', Dag run ", "Trigger.dev run")
    summaries = [line for line in lines if "Canceling" not in line]
    assert len(summaries) == (3 if has_params else 1)
    assert not [line for line in summaries if "task '" in line.split(" Trigger.dev run")[0]]
    assert not said.lines("nothing was canceled")
