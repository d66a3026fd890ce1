"""The secret key, after whatever other tests of the session have done."""

from __future__ import annotations

from pathlib import Path

from whole_airflow.airflow import WholeAirflow

from airflow_provider_trigger.testing import TriggerDevServer


def test_no_file_holds_the_secret_key(airflow: WholeAirflow, server: TriggerDevServer, home: Path) -> None:
    """Neither log nor output nor, on SQLite, the database; the connection is an environment variable."""
    run_ids = [server.add_run().id, "run_nobodyknows"]
    airflow.run_dag("operator_output", "secret", {"run_ids": run_ids})
    log = airflow.task_log("operator_output", "secret", "cancel")
    assert "run_nobodyknows" in log, "the search has to cover the task's log"

    key = server.secret_key.encode()
    files = [path for path in home.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in files if key in path.read_bytes()] == []
