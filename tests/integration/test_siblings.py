"""Whose runs are canceled where a task, or a group of tasks, is mapped."""

from __future__ import annotations

TASKS = """
@task
def numbers():
    return [0, 1, 2]

@task(on_failure_callback=CancelTriggerRunNotifier(xcom_task_ids="work", xcom_key="run_id"))
def work(number, ti, params):
    ti.xcom_push(key="run_id", value=params["mapped_task"][number])
    if number == 2:  # once the others have pushed theirs
        raise RuntimeError("one of three failed")

work.expand(number=numbers())

def mapped_group(name, callback=None, last=None):

    @task_group(group_id=name)
    def group(number):

        @task
        def start(number, params):
            return params[name][number]

        @task(on_failure_callback=callback)
        def fail_one(number):
            if number == 1:
                raise RuntimeError("one of three failed")

        started = start(number)
        failed = started >> fail_one(number)
        if last:
            failed >> CancelTriggerRunOperator(
                task_id="cancel",
                trigger_rule="all_done",
                **{"run_ids": started} if last == "run_ids" else {"xcom_task_ids": f"{name}.start"},
            )

    return group.expand(number=[0, 1, 2])

mapped_group("callback", CancelTriggerRunNotifier(xcom_task_ids="callback.start"))
mapped_group("run_ids", last="run_ids")
mapped_group("task_ids", last="task_ids")
mapped_group("behind") >> CancelTriggerRunOperator(
    task_id="cancel", xcom_task_ids="behind.start", trigger_rule="all_done"
)
"""
# By their names, how the three runs end.
ENDS = {
    "mapped_task": ["EXECUTING", "EXECUTING", "CANCELED"],
    "callback": ["EXECUTING", "CANCELED", "EXECUTING"],
    "run_ids": ["CANCELED"] * 3,
    "task_ids": ["CANCELED"] * 3,
    "behind": ["CANCELED"] * 3,
}


def test_a_mapped_instance_cancels_its_own_runs_and_who_is_behind_all_of_them(server, run_tasks):
    runs = {name: [server.add_run() for _ in range(3)] for name in ENDS}
    ids = {name: [run.id for run in of_name] for name, of_name in runs.items()}
    run_tasks(TASKS, ids, dag=f"params={ ({name: [] for name in ENDS})!r}")
    assert {name: [run.status for run in of_name] for name, of_name in runs.items()} == ENDS
    assert all(run.cancel_requests < 2 for run in server.runs.values())
