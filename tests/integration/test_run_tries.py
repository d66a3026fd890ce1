"""Which run a task gets in another test of its Dag."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from airflow.cli import cli_parser
from airflow_names import IS_AIRFLOW_2


def test_each_test_of_a_dag_has_runs_of_its_own_also_with_one_date(server, run_tasks):
    with suppress(ImportError):  # 2.11 deletes the first Dag run, for which it must know the table of users
        import_module("airflow.providers.fab.auth_manager.models")
    server.on_task("resize", output=lambda payload: len(server.runs))
    tasks = """
        for retries in (0, 1):
            RunTriggerTaskOperator(
                task_id=f"start_{retries}",
                task_identifier="resize",
                poll_interval=0.1,
                deferrable=True,
                retries=retries,
            )
    """
    date_argument = "execution_date" if IS_AIRFLOW_2 else "logical_date"
    date: dict[str, Any] = {date_argument: datetime(2026, 1, 1, tzinfo=UTC)}
    results = [run_tasks(tasks, **date) for _ in range(2)]
    assert [sorted(result.xcoms.values()) for result in results] == [[1, 2], [3, 4]]
    command = cli_parser.get_parser().parse_args(["dags", "test", results[0].dag_id, "2026-01-01"])
    command.func(command)
    assert [run.status for run in server.runs.values()] == ["COMPLETED"] * 6
