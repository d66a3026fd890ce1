"""All that a whole Airflow leaves and shows: files, the rows of its database, the answers of its API."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy
from whole_airflow.rest import Api


def files(home: Path) -> dict[str, str]:
    """Return what each file holds; one that has just gone, as SQLite's journals do, is left out."""
    texts = {}
    for path in home.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink():
                texts[f"file {path.relative_to(home)}"] = path.read_bytes().decode("latin-1")
    return texts


def rows(database: str) -> dict[str, str]:
    """
    Return what each table holds.

    :param database: its SQLAlchemy URL
    """
    engine = sqlalchemy.create_engine(database)
    try:
        with engine.connect() as connection:
            return {
                f"table {name}": "\n".join(
                    " ".join(map(_text, row))
                    for row in connection.execute(sqlalchemy.text(f'SELECT * FROM "{name}"'))
                )
                for name in sqlalchemy.inspect(engine).get_table_names()
            }
    finally:
        engine.dispose()


def _text(value: object) -> str:
    return bytes(value).decode("latin-1") if isinstance(value, (bytes, memoryview)) else str(value)


def answers(api: Api, dag_id: str, run_id: str) -> dict[str, str]:
    """
    Return what the API tells of a Dag run, and of what is not of any one Dag run.

    :param api: of the whole Airflow
    :param dag_id: the Dag's id
    :param run_id: the Dag run's id
    """
    dag_run = f"/dags/{dag_id}/dagRuns/{run_id}"
    found: dict[str, Any] = {path: api.call("GET", path) for path in (dag_run, f"/dags/{dag_id}/details")}
    for listing in ("/connections", "/eventLogs", "/importErrors", "/dagWarnings", "/variables"):
        found |= _pages(api, listing)
    for connection in found["/connections from 0"]["connections"]:
        path = f"/connections/{connection['connection_id']}"
        found[path] = api.call("GET", path)
    found |= _pages(api, f"{dag_run}/taskInstances")
    for ti in api.task_instances(dag_id, run_id):
        found |= _answers_of_task(api, f"{dag_run}/taskInstances/{ti['task_id']}", ti["try_number"])
    return {f"answer {path}": json.dumps(answer, ensure_ascii=False) for path, answer in found.items()}


def _answers_of_task(api: Api, path: str, try_number: int) -> Iterator[tuple[str, Any]]:
    headers = {"Accept": "application/json"}
    log = f"{path}/logs/{try_number}"
    yield path, api.call("GET", path)
    yield log, api.call("GET", log, params={"full_content": "true"}, headers=headers)
    entries = api.call("GET", f"{path}/xcomEntries")["xcom_entries"]
    for entry in entries:
        yield f"{path}/xcomEntries/{entry['key']}", api.call("GET", f"{path}/xcomEntries/{entry['key']}")


def _pages(api: Api, path: str) -> Iterator[tuple[str, Any]]:
    for offset, answer in api.pages(path):
        yield f"{path} from {offset}", answer
