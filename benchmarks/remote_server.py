"""A local Trigger.dev server in a separate process, so that it does not use the measured one's time."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from airflow_provider_trigger.testing import TriggerDevServer


@dataclass
class RemoteServer:
    """
    The server, for the measuring process.

    :param url: its URL
    :param secret_key: its secret key
    """

    url: str
    secret_key: str
    _pipe: Connection

    def connections(self) -> dict[str, str]:
        """Return Airflow's connections to it, as environment variables: this provider's and an HTTP one."""
        bearer = {"Authorization": f"Bearer {self.secret_key}"}
        connections = {
            "TRIGGER_DEV_DEFAULT": {
                "conn_type": "trigger_dev",
                "host": self.url,
                "password": self.secret_key,
            },
            "TRIGGER_HTTP": {"conn_type": "http", "host": self.url, "extra": bearer},
        }
        return {f"AIRFLOW_CONN_{name}": json.dumps(value) for name, value in connections.items()}

    def add_runs(self, count: int, status: str = "EXECUTING", **options: Any) -> list[str]:
        """Add runs with the options of the server's method ``add_run``, and return their ids."""
        return self._call("add_runs", count, status, options)

    def add_tree(self, count: int, *, children: int, **options: Any) -> list[str]:
        """Add executing runs, so many of which each of the first ones has started; return their ids."""
        return self._call("add_tree", count, children, options)

    def add_runs_that_end(self, seconds: list[float]) -> list[str]:
        """Add runs that execute and complete after so many seconds each; return their ids."""
        return self._call("add_runs_that_end", seconds)

    def on_task(self, task_identifier: str, **behavior: Any) -> None:
        """Say what a task does, as the server's method of this name."""
        self._call("on_task", task_identifier, behavior)

    def runs(self) -> list[tuple[str, str, Any, float]]:
        """Return id, task, payload and end of each run that has ended, the end in seconds since 1970."""
        return self._call("runs")

    def requests(self) -> list[tuple[str, str, int | None, float]]:
        """Return method, path, status and time of each request since the last call."""
        return self._call("requests")

    def statuses(self) -> dict[str, int]:
        """Return the number of runs by status."""
        return self._call("statuses")

    def take_tokens(self, count: int) -> int:
        """Use up tokens of the rate limit as another client, and return how many are left."""
        return self._call("take_tokens", count)

    def _call(self, what: str, *arguments: Any) -> Any:
        self._pipe.send((what, arguments))
        return self._pipe.recv()


@contextmanager
def remote_server(**options: Any) -> Iterator[RemoteServer]:
    """
    Start a server in another process.

    :param options: of :class:`~airflow_provider_trigger.testing.TriggerDevServer`
    """
    pipe, server_pipe = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(server_pipe, options), daemon=True)
    process.start()
    try:
        url, secret_key = pipe.recv()
        yield RemoteServer(url, secret_key, pipe)
    finally:
        pipe.send(("stop", ()))
        process.join()


def _serve(pipe: Connection, options: dict[str, Any]) -> None:
    with TriggerDevServer(**options) as server:
        pipe.send((server.url, server.secret_key))
        while (request := pipe.recv())[0] != "stop":
            pipe.send(_answer(server, *request))


def _answer(server: TriggerDevServer, what: str, arguments: tuple[Any, ...]) -> Any:
    if what == "add_runs":
        count, status, options = arguments
        return [server.add_run(status=status, **options).id for _ in range(count)]
    if what == "add_tree":
        count, children, options = arguments
        runs = [server.add_run("EXECUTING", **options)]
        while len(runs) < count:
            runs.append(server.add_run("EXECUTING", parent=runs[(len(runs) - 1) // children], **options))
        return [run.id for run in runs]
    if what == "add_runs_that_end":
        (seconds,) = arguments
        return [server.add_run("EXECUTING", then=[(after, "COMPLETED")]).id for after in seconds]
    if what == "on_task":
        task_identifier, behavior = arguments
        return server.on_task(task_identifier, **behavior)
    if what == "runs":
        return [
            (run.id, run.task_identifier, run.payload, run.finished_at.timestamp())
            for run in list(server.runs.values())
            if run.finished_at is not None
        ]
    if what == "requests":
        records = [(record.method, record.path, record.status, record.time) for record in server.requests]
        server.requests.clear()
        return records
    if what == "take_tokens":
        return server.take_tokens(*arguments)
    counts: dict[str, int] = {}
    for run in list(server.runs.values()):
        counts[run.status] = counts.get(run.status, 0) + 1
    return counts
