"""Airflow's names, from where this version has them. No Dag is in here."""

from __future__ import annotations

from airflow import __version__

try:
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG, BaseOperator, task, task_group
except ImportError:  # Airflow 2.11
    from airflow import DAG
    from airflow.decorators import task, task_group
    from airflow.models.baseoperator import BaseOperator
    from airflow.operators.empty import EmptyOperator

AIRFLOW = tuple(int(part) for part in __version__.split(".")[:2])
HAS_DEADLINE_ALERTS = AIRFLOW >= (3, 2)
HAS_LOOPS = AIRFLOW >= (3, 4)
HAS_WATCHERS = AIRFLOW >= (3, 0)

__all__ = [
    "DAG",
    "HAS_DEADLINE_ALERTS",
    "HAS_LOOPS",
    "HAS_WATCHERS",
    "BaseOperator",
    "EmptyOperator",
    "task",
    "task_group",
]
