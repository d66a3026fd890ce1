"""What tests take from Airflow, which is elsewhere in some of its versions, and a Dag."""

from __future__ import annotations

from airflow_provider_trigger._compat import BaseOperator, airflow_version

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow.models.dag import DAG
try:
    from airflow.sdk.exceptions import (
        AirflowRescheduleException,
        AirflowTaskTimeout,
        TaskDeferralError,
        TaskDeferred,
    )
except ImportError:  # before 3.2
    from airflow.exceptions import (
        AirflowRescheduleException,
        AirflowTaskTimeout,
        TaskDeferralError,
        TaskDeferred,
    )

__all__ = ["DAG", "AirflowRescheduleException", "AirflowTaskTimeout", "TaskDeferralError", "TaskDeferred"]

IS_AIRFLOW_2 = airflow_version().startswith("2.")
AIRFLOW_URL = f"AIRFLOW__{'WEBSERVER' if IS_AIRFLOW_2 else 'API'}__BASE_URL"
"""The variable for the URL of Airflow's UI."""


def dag_of(*task_ids: str) -> DAG:
    """Make a Dag of tasks that do nothing."""
    with DAG("d", schedule=None) as dag:
        for task_id in task_ids:
            BaseOperator(task_id=task_id)
    return dag
