from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest


@dataclass
class DagRunResult:
    """What a Dag run left in Airflow's database."""

    state: str
    states: dict[str, list[str]]
    xcoms: dict[str, Any]


@pytest.fixture(scope="session")
def dags_folder() -> Path:
    """The Dags folder of an Airflow with a migrated database."""
    folder = Path(os.environ["AIRFLOW_HOME"]) / "dags"
    folder.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
    return folder


@pytest.fixture
def run_dag(dags_folder: Path) -> Callable[..., DagRunResult]:
    """Run a Dag's source, which has one Dag, with ``dag.test()``."""

    def run(source: str | Path, conf: dict[str, Any] | None = None) -> DagRunResult:
        for old in dags_folder.glob("*.py"):
            old.unlink()
        file = dags_folder / "a_dag.py"
        file.write_text(source.read_text() if isinstance(source, Path) else source)
        dag = _load(file)
        return _result(dag.test(run_conf=conf or {}))

    return run


def _load(file: Path) -> Any:
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before 3.2
        from airflow.models.dagbag import DagBag
    bag = DagBag(dag_folder=file)
    assert not bag.import_errors, bag.import_errors
    (dag,) = bag.dags.values()
    return dag


def _result(dag_run: Any) -> DagRunResult:
    try:
        from airflow.models.xcom import XComModel

        read = XComModel.deserialize_value
    except ImportError:  # 2.11, whose rows come deserialized
        from airflow.models.xcom import XCom as XComModel

        read = attrgetter("value")
    from airflow.utils.session import create_session

    states: dict[str, list[str]] = {}
    for ti in dag_run.get_task_instances():
        states.setdefault(ti.task_id, []).append(str(ti.state))
    with create_session() as session:
        xcoms = {
            row.task_id: read(row)
            for row in session.query(XComModel).filter_by(run_id=dag_run.run_id, key="return_value")
        }
    return DagRunResult(state=str(dag_run.state), states=states, xcoms=xcoms)
