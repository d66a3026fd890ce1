"""A whole Airflow for benchmarks: the one of tests/e2e, with Dags and connections to measure."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from remote_server import RemoteServer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "e2e"))

from whole_airflow.airflow import WholeAirflow  # type: ignore[import-not-found]  # noqa: E402
from whole_airflow.postgres import Postgres  # type: ignore[import-not-found]  # noqa: E402
from whole_airflow.processes import wait_until  # type: ignore[import-not-found]  # noqa: E402
from whole_airflow.rest import OVER  # type: ignore[import-not-found]  # noqa: E402

__all__ = ["OVER", "Postgres", "WholeAirflow", "wait_until", "whole_airflow"]


@contextmanager
def whole_airflow(
    server: RemoteServer,
    *dag_ids: str,
    dags: str = "dags",
    database: str | None = None,
    **configuration: str,
) -> Iterator[WholeAirflow]:
    """
    Start an Airflow with Dags and all their connections; its files stay after an error.

    :param server: where the connections lead
    :param dag_ids: of the Dags to wait for
    :param dags: the directory beside this file that has them
    :param database: its SQLAlchemy URL; None for SQLite
    :param configuration: of Airflow, as environment variables
    """
    home = Path(tempfile.mkdtemp(prefix="airflow-provider-trigger-bench-")) / "airflow"
    # Dags and triggerer find measured_runs there.
    environment = server.connections() | {"PYTHONPATH": str(HERE)} | configuration
    with WholeAirflow(home, dags=[HERE / dags], environment=environment, database=database) as airflow:
        airflow.wait_for_dags(*dag_ids)
        yield airflow
    shutil.rmtree(home.parent)
