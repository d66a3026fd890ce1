"""A private PostgreSQL, of Debian's binaries, in a directory of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from whole_airflow.processes import Process, free_port, wait_until

PACKAGE = "postgresql"  # Debian's


def _binaries() -> Path:
    """Return the directory with the newest ``initdb`` and ``postgres``."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    raise AssertionError(f"PostgreSQL is not installed; on Debian: apt-get install {PACKAGE}")


class Postgres:
    """
    A cluster with one empty database, on the loopback address.

    It may be entered once. PostgreSQL refuses to run as root, so it runs as ``postgres`` when we are root.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.user = "postgres" if os.getuid() == 0 else None
        self.directory = Path(tempfile.mkdtemp(prefix="airflow-e2e-postgres-"))
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the database."""
        return f"postgresql+psycopg2://airflow@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Postgres:
        binaries = _binaries()
        as_user: dict[str, Any] = {}
        if self.user:
            as_user = {"user": self.user, "group": self.user, "extra_groups": []}
            shutil.chown(self.directory, self.user, self.user)
        data = self.directory / "data"
        options = ["-D", str(data), "-U", "airflow", "-A", "trust", "-N", "-E", "UTF8"]
        initdb = [str(binaries / "initdb"), *options]
        subprocess.run(initdb, check=True, capture_output=True, cwd="/", **as_user)
        settings = [f"port={self.port}", "listen_addresses=127.0.0.1"]
        settings += [f"unix_socket_directories={self.directory}"]
        settings += ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200"]
        self._process = process = Process(
            "postgres",
            [str(binaries / "postgres"), "-D", str(data), *(word for s in settings for word in ("-c", s))],
            environment=os.environ,
            log=self.directory.parent / f"{self.directory.name}.log",
            user=self.user,
            stop_signal=signal.SIGINT,  # PostgreSQL's "fast" shutdown
        )
        process.start()
        wait_until(self._answers, timeout=30, what=lambda: f"PostgreSQL:\n{process.output()[-2000:]}")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        self._process.check()
        state = self.directory / "data" / "postmaster.pid"
        return state.exists() and state.read_text().rstrip().endswith("\nready")

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop()
            self._process.log.unlink(missing_ok=True)
        shutil.rmtree(self.directory, ignore_errors=True)
