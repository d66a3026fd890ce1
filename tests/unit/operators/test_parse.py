"""What a Dag's parse costs: each process of Airflow parses all Dags again and again."""

from __future__ import annotations

from textwrap import dedent

STARTS = """
    from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
    from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
    from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
    options = dict(task_identifier="resize", tags=["a"], delay="1h", metadata={"a": 1})
    RunTriggerTaskOperator(task_id="t", payload={"a": ["{{ ds }}"]}, deferrable=True, **options)
    RunTriggerTaskOperator.partial(task_id="m", **options).expand(payload=[1, 2])
    RunTriggerTaskBatchOperator(task_id="b", payloads=[1, "{{ ds }}"], deferrable=True, **options)
    RunTriggerTaskBatchOperator.partial(task_id="n", **options).expand(items=[[{}], [{}, {}]])
    ReplayTriggerRunOperator(task_id="r", run_id="run_1")
"""
CANCELS = """
    from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
    from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
    callback = CancelTriggerRunNotifier(xcom_task_ids="start")
    CancelTriggerRunOperator(
        task_id="x", run_ids=["run_1"], trigger_dev_conn_id="no connection", on_failure_callback=callback
    )
    CancelTriggerRunOperator.partial(task_id="stops").expand(run_ids=[["run_1"], ["run_2"]])
"""
TOKENS = """
    from airflow_provider_trigger.notifications.waitpoint import CompleteWaitpointTokenNotifier
    from airflow_provider_trigger.operators.waitpoint import (
        CompleteWaitpointTokenOperator, CreateWaitpointTokenOperator
    )
    callback = CompleteWaitpointTokenNotifier(xcom_task_ids="t", data={"failed": True})
    made = CreateWaitpointTokenOperator(task_id="k", timeout="5m", tags=["a"], on_failure_callback=callback)
    CreateWaitpointTokenOperator.partial(task_id="tokens").expand(timeout=["5m", 10])
    CompleteWaitpointTokenOperator(task_id="c", token_ids=made.output["id"], data={"a": [made.output["url"]]})
"""
SENSORS = """
    from airflow_provider_trigger.sensors.run import TriggerRunSensor
    from airflow_provider_trigger.sensors.waitpoint import WaitpointTokenSensor
    TriggerRunSensor(task_id="wait", run_ids=["run_1"], xcom_task_ids="m", deferrable=True)
    TriggerRunSensor.partial(task_id="waits").expand(run_ids=[["run_1"], ["run_2"]])
    WaitpointTokenSensor(task_id="w", token_id="waitpoint_1", deferrable=True)
    WaitpointTokenSensor.partial(task_id="e").expand(token_id=["waitpoint_1", "waitpoint_2"])
"""


def test_a_dags_parse_brings_no_client_and_no_trigger(parse, heavy) -> None:
    parsed = set(parse("".join(map(dedent, (STARTS, CANCELS, TOKENS, SENSORS)))))
    package = "airflow_provider_trigger"
    assert {
        f"{package}.{name}" for name in ("operators.run", "sensors.run", "notifications.cancel")
    } <= parsed
    assert not parsed & (heavy | {f"{package}.triggers.run", f"{package}.triggers.waitpoint", "asyncio"})
    assert not {name for name in parsed if name.startswith((f"{package}.testing", f"{package}.cancel."))}
