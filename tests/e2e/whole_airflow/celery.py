"""How large teams run Airflow: Celery workers behind Redis, and more than one triggerer."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import environ
from pathlib import Path

import redis
from whole_airflow.processes import Process, free_port, wait_until
from whole_airflow.versions import AIRFLOW_COMMAND

PACKAGE = "redis-server"  # Debian's
WORKERS = ("worker-1", "worker-2")


@contextmanager
def redis_server() -> Iterator[str]:
    """Run a private Redis, in a directory of its own; yield its URL."""
    binary = shutil.which("redis-server")
    assert binary, f"Redis is not installed; on Debian: apt-get install {PACKAGE}"
    port = free_port()
    directory = Path(tempfile.mkdtemp(prefix="airflow-e2e-redis-"))
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", ""]
    process = Process("redis", [binary, *options], environment=environ, log=directory / "redis.log")
    process.start()

    def answers() -> bool:
        process.check()
        try:
            return bool(redis.Redis(port=port).ping())
        except redis.ConnectionError:
            return False

    try:
        wait_until(answers, timeout=30, what=lambda: f"Redis:\n{process.output()[-2000:]}")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.stop()
        shutil.rmtree(directory, ignore_errors=True)


def environment(*, broker: str, database: str) -> dict[str, str]:
    """Return the configuration of the CeleryExecutor."""
    return {
        "AIRFLOW__CELERY__BROKER_URL": broker,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
        "AIRFLOW__CELERY__SYNC_PARALLELISM": "1",
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": "6",
    }


def components(home: Path) -> Mapping[str, list[str]]:
    """Return the processes beside the usual four: two workers, and a second triggerer."""

    def worker(name: str) -> list[str]:
        options = ["--celery-hostname", f"{name}@%h", "--pid", str(home / f"{name}.pid"), "--skip-serve-logs"]
        return [AIRFLOW_COMMAND, "celery", "worker", *options]

    second_triggerer = [AIRFLOW_COMMAND, "triggerer", "--skip-serve-logs"]
    return {**{name: worker(name) for name in WORKERS}, "triggerer-2": second_triggerer}
