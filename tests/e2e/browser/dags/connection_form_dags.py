"""A Dag with the connection that the test has made in the form."""

from __future__ import annotations

try:
    from airflow.sdk import DAG
except ImportError:  # Airflow 2.11
    from airflow import DAG

from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

with DAG("connection_form", schedule=None):
    CancelTriggerRunOperator(
        task_id="cancel",
        run_ids="{{ dag_run.conf['trigger_run_id'] }}",
        trigger_dev_conn_id="made_in_the_form",
    )
