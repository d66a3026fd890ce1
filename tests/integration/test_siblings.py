"""Whose runs are canceled where a task, or a group of tasks, is mapped."""

from __future__ import annotations

import pytest

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

group = one.expand(number=[0, 1, 2])
"""

NOTIFIER = "on_failure_callback=CancelTriggerRunNotifier(xcom_task_ids='one.start')"
OPERATOR = " >> CancelTriggerRunOperator(task_id='cancel', trigger_rule='all_done', %s)"

BEHIND_GROUP = """
group >> CancelTriggerRunOperator(task_id="cancel", xcom_task_ids="one.start", trigger_rule="all_done")
"""


def statuses(server, run_tasks, tasks):
    """Run a Dag whose tasks have three runs, and return how these end."""
    runs = [server.add_run() for _ in range(3)]
    run_tasks(tasks, {"run_ids": [run.id for run in runs]}, dag="params={'run_ids': []}")
    assert all(run.cancel_requests < 2 for run in runs)
    return [run.status for run in runs]


def test_a_mapped_task_that_fails_cancels_its_own_runs(server, run_tasks):
    assert statuses(server, run_tasks, MAPPED) == ["EXECUTING", "EXECUTING", "CANCELED"]


def test_in_a_mapped_group_a_callback_cancels_what_its_instance_started(server, run_tasks):
    assert statuses(server, run_tasks, GROUP % (NOTIFIER, "")) == ["EXECUTING", "CANCELED", "EXECUTING"]


@pytest.mark.parametrize("source", ["run_ids=started", "xcom_task_ids='one.start'"])
def test_in_a_mapped_group_an_operator_cancels_what_its_instance_started(source, server, run_tasks):
    assert statuses(server, run_tasks, GROUP % ("", OPERATOR % source)) == ["CANCELED"] * 3


def test_a_task_behind_a_mapped_group_cancels_what_all_started(server, run_tasks):
    assert statuses(server, run_tasks, GROUP % ("", "") + BEHIND_GROUP) == ["CANCELED"] * 3
