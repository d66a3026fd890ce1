"""Airflow's names, from where this version has them. No Dag is in here."""

from __future__ import annotations

try:
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG, BaseOperator, task
except ImportError:  # Airflow 2.11
    from airflow import DAG
    from airflow.decorators import task
    from airflow.models.baseoperator import BaseOperator
    from airflow.operators.empty import EmptyOperator

__all__ = ["DAG", "BaseOperator", "EmptyOperator", "task"]
