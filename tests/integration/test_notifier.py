from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_provider_trigger._compat import BaseNotifier
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier

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


async def awaited(notifier, context):
    """Await it as the triggerer does, from 3.1 on; before, nobody does."""
    if hasattr(BaseNotifier, "__await__"):
        notifier.context = context
        await notifier
    else:
        await notifier.async_notify(context)


def test_alerts_that_hang_on_a_dead_server_do_not_hold_up_another(server, connect, said):
    """As the event loop's own threads are shared by all that is awaited in a triggerer."""
    run = server.add_run()
    with socket.socket() as dead:  # it lets connect, and never answers
        dead.bind(("127.0.0.1", 0))
        dead.listen(128)
        connect(conn_id="dead", host=f"http://127.0.0.1:{dead.getsockname()[1]}", timeout=20)

        def alert(run_id, timeout, **options):
            notifier = CancelTriggerRunNotifier(run_ids=[run_id], timeout=timeout, **options)
            return asyncio.create_task(awaited(notifier, {"deadline": {}}))

        async def main():
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
            hanging = [alert(f"run_{number}", 2, trigger_dev_conn_id="dead") for number in range(6)]
            await asyncio.sleep(0.3)
            await alert(run.id, 20)
            assert run.status == "CANCELED"
            assert not any(one.done() for one in hanging)
            await asyncio.gather(*hanging)

        asyncio.run(main())
    assert len(said.lines("1 Trigger.dev run: 1 failed - 1 run may still run (status unknown)")) == 6
