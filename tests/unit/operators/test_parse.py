"""What a Dag's parse costs: each process of Airflow parses all Dags again and again."""

from __future__ import annotations

import pytest

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
        task_id="t", run_ids=["run_1"], trigger_dev_conn_id="no connection", on_failure_callback=callback
    )
    CancelTriggerRunOperator.partial(task_id="m").expand(run_ids=[["run_1"], ["run_2"]])
"""
TOKENS = """
    from airflow_provider_trigger.notifications.waitpoint import CompleteWaitpointTokenNotifier
    from airflow_provider_trigger.operators.waitpoint import (
        CompleteWaitpointTokenOperator, CreateWaitpointTokenOperator
    )
    callback = CompleteWaitpointTokenNotifier(xcom_task_ids="t", data={"failed": True})
    made = CreateWaitpointTokenOperator(task_id="t", timeout="5m", tags=["a"], on_failure_callback=callback)
    CreateWaitpointTokenOperator.partial(task_id="m").expand(timeout=["5m", 10])
    CompleteWaitpointTokenOperator(task_id="c", token_ids=made.output["id"], data={"a": [made.output["url"]]})
"""


@pytest.mark.parametrize(
    ("lines", "own"),
    [
        (STARTS, {"operators.run", "operators.batch"}),
        (CANCELS, {"operators.cancel", "notifications.cancel"}),
        (TOKENS, {"operators.waitpoint", "notifications.waitpoint"}),
    ],
    ids=["starts", "cancels", "tokens"],
)
def test_a_dags_parse_brings_no_client_and_no_trigger(lines: str, own: set[str], parse, heavy) -> None:
    parsed = set(parse(lines))
    assert {f"airflow_provider_trigger.{name}" for name in own} <= parsed
    assert not parsed & (heavy | {"airflow_provider_trigger.triggers.run", "asyncio"})
    unused = ("airflow_provider_trigger.testing", "airflow_provider_trigger.cancel.")
    assert not {name for name in parsed if name.startswith(unused)}
