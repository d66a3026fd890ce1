"""Whose runs are canceled where a task, or a group of tasks, is mapped."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("connection")

START = """
try:
    from airflow.sdk import DAG, task, task_group
except ImportError:
    from airflow.decorators import task, task_group
    from airflow.models.dag import DAG
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

with DAG(dag_id="siblings_%s", schedule=None, params={"run_ids": []}):
"""

MAPPED = """
    @task
    def numbers():
        return [0, 1, 2]

    @task(on_failure_callback=CancelTriggerRunNotifier(xcom_task_ids="work", xcom_key="run_id"))
    def work(number, ti, params):
        ti.xcom_push(key="run_id", value=params["run_ids"][number])
        if number == 2:  # once the others have pushed theirs
            raise RuntimeError("one of three failed")

    work.expand(number=numbers())
"""

GROUP = """
    @task_group
    def one(number):

        @task
        def start(number, params):
            return params["run_ids"][number]

        @task(%s)
        def work(number):
            if number == 1:
                raise RuntimeError("one of three failed")

        started = start(number)
        started >> work(number)%s

    one.expand(number=[0, 1, 2])
"""

NOTIFIER = "on_failure_callback=CancelTriggerRunNotifier(xcom_task_ids='one.start')"
OPERATOR = " >> CancelTriggerRunOperator(task_id='cancel', trigger_rule='all_done', %s)"

BEHIND_GROUP = """
    behind = CancelTriggerRunOperator(task_id="cancel", xcom_task_ids="one.start", trigger_rule="all_done")
    dag.get_task("one.work") >> behind
"""


def statuses(runs):
    return [run.status for run in runs]


def test_a_mapped_task_that_fails_cancels_its_own_runs(server, run_dag):
    runs = [server.add_run() for _ in range(3)]
    run_dag(START % "mapped" + MAPPED, {"run_ids": [run.id for run in runs]})
    assert statuses(runs) == ["EXECUTING", "EXECUTING", "CANCELED"]


def test_in_a_mapped_group_a_callback_cancels_what_its_instance_started(server, run_dag):
    runs = [server.add_run() for _ in range(3)]
    run_dag(START % "callback" + GROUP % (NOTIFIER, ""), {"run_ids": [run.id for run in runs]})
    assert statuses(runs) == ["EXECUTING", "CANCELED", "EXECUTING"]


@pytest.mark.parametrize("source", ["run_ids=started", "xcom_task_ids='one.start'"])
def test_in_a_mapped_group_an_operator_cancels_what_its_instance_started(source, server, run_dag):
    runs = [server.add_run() for _ in range(3)]
    run_dag(START % source[0] + GROUP % ("", OPERATOR % source), {"run_ids": [run.id for run in runs]})
    assert statuses(runs) == ["CANCELED"] * 3
    assert [run.cancel_requests for run in runs] == [1] * 3


def test_a_task_behind_a_mapped_group_cancels_what_all_started(server, run_dag):
    runs = [server.add_run() for _ in range(3)]
    source = (START % "behind").replace("):\n", ") as dag:\n") + GROUP % ("", "") + BEHIND_GROUP
    run_dag(source, {"run_ids": [run.id for run in runs]})
    assert statuses(runs) == ["CANCELED"] * 3
