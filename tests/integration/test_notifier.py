from __future__ import annotations

from airflow_names import IS_AIRFLOW_2

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


def test_a_callback_of_a_dag_says_what_to_use_where_it_has_no_xcom(server, run_tasks, said):
    run = server.add_run()
    callback = "CancelTriggerRunNotifier(xcom_task_ids='start')"
    tasks = """
        @task
        def start(params):
            return params["run_id"]

        @task
        def work():
            raise RuntimeError("something failed at night")

        start() >> work()
    """
    arguments = f"params={{'run_id': ''}}, on_failure_callback={callback}"
    result = run_tasks(tasks, {"run_id": run.id}, dag=arguments)
    has_xcom = IS_AIRFLOW_2
    assert (result.state, run.status) == ("failed", "CANCELED" if has_xcom else "EXECUTING")
    assert bool(said.lines("XCom is not available in this callback: ", "give run_ids")) is not has_xcom
