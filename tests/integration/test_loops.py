"""Tasks in a task loop: each iteration has runs of its own, and who reads from outside gets all of them."""

from __future__ import annotations

import pytest
from airflow import __version__

pytestmark = pytest.mark.skipif(
    tuple(map(int, __version__.split(".")[:2])) < (3, 4), reason="this Airflow has no task loops"
)
LOOP = """
    @task_group
    def again():
        {body}

    loop = again.loop(max_iterations=3)
"""
START = """
        common = dict(task_identifier="count", {how})
        one = RunTriggerTaskOperator(task_id="one", **common)
        mapped = RunTriggerTaskOperator.partial(task_id="mapped", **common).expand(payload=[1, 2])
        batch = RunTriggerTaskBatchOperator(task_id="batch", payloads=[3, 4], **common)
        one >> mapped >> batch
"""
TASKS = ["again.one", "again.mapped", "again.batch"]


@pytest.mark.parametrize("deferrable", [False, True], ids=["waits", "defers"])
def test_each_iteration_has_its_own_runs_outputs_and_links(deferrable, server, run_tasks):
    server.on_task("count", output=lambda payload: len(server.runs))
    result = run_tasks(LOOP.format(body=START.format(how=f"poll_interval=0.1, deferrable={deferrable}")))
    assert (result.state, len(server.runs)) == ("success", 15)
    one, mapped, batch = [result.pushed[task_id, "run_id"] for task_id in TASKS]
    assert sorted([*one, *mapped, *(run_id for ids in batch for run_id in ids)]) == sorted(server.runs)
    for task_id, instances in zip(TASKS, (3, 6, 3), strict=True):
        for key in ("return_value", "run_url", "_link_TriggerRunLink"):
            assert len(set(map(str, result.pushed[task_id, key]))) == instances


def test_in_a_loop_an_xcom_is_that_of_the_iteration_and_behind_it_those_of_all(server, run_tasks):
    server.on_task("count", after=None)
    cancel = f'batch >> CancelTriggerRunOperator(task_id="cancel", xcom_task_ids={TASKS})'
    body = START.format(how="wait_for_completion=False") + "        " + cancel
    behind = f'TriggerRunSensor(task_id="all", xcom_task_ids={TASKS}, success_statuses=["CANCELED"])'
    result = run_tasks(LOOP.format(body=body) + f"    loop >> {behind}")
    assert [(run.status, run.cancel_requests) for run in server.runs.values()] == [("CANCELED", 1)] * 15
    assert sorted(run["run_id"] for run in result.xcoms["all"]) == sorted(server.runs)


@pytest.mark.parametrize(
    ("dag", "statuses"),
    [
        ("", ["EXECUTING", "EXECUTING", "CANCELED"]),
        ("on_failure_callback=CancelTriggerRunNotifier()", ["CANCELED"] * 3),
    ],
    ids=["the task's", "the Dag's"],
)
def test_a_notifier_cancels_what_the_iteration_or_the_dag_run_has_started(dag, statuses, server, run_tasks):
    server.on_task("count", after=None)
    by_hand = """
        @task(on_failure_callback=CancelTriggerRunNotifier())
        def by_hand(**context):
            made = RunTriggerTaskOperator(task_id="a", task_identifier="count", wait_for_completion=False)
            made.execute(context)
            if context["ti"].region_index == 2:
                raise RuntimeError("the third iteration fails")

        by_hand()
    """
    run_tasks(LOOP.format(body=by_hand), dag=dag)
    assert [run.status for run in server.runs.values()] == statuses
