"""The secret key, after whatever other tests of the session have done."""

from __future__ import annotations

import contextlib
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
    assert [path for path in home.rglob("*") if key in content(path)] == []


def content(path: Path) -> bytes:
    """Return what a file holds; nothing for one that has just gone, as SQLite's journals do."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_file() and not path.is_symlink():
            return path.read_bytes()
    return b""
