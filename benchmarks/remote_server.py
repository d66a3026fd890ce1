"""A local Trigger.dev server in a process of its own, so that it does not share the measured one's time."""

from __future__ import annotations

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
    The server as the measuring process sees it.

    :param url: where it is
    :param secret_key: its key
    """

    url: str
    secret_key: str
    _pipe: Connection

    def add_runs(self, count: int, status: str = "EXECUTING") -> list[str]:
        """Add runs and return their ids."""
        return self._ask("add_runs", count, status)

    def requests(self) -> list[tuple[str, str, int | None, float]]:
        """Return method, path, status and time of each request so far, and forget them."""
        return self._ask("requests")

    def statuses(self) -> dict[str, int]:
        """Return how many runs there are of each status."""
        return self._ask("statuses")

    def take_tokens(self, count: int) -> int:
        """Take tokens as another user of the key, and return how many are left."""
        return self._ask("take_tokens", count)

    def _ask(self, what: str, *arguments: Any) -> Any:
        self._pipe.send((what, arguments))
        return self._pipe.recv()


@contextmanager
def remote_server(**options: Any) -> Iterator[RemoteServer]:
    """
    Start a server in another process.

    :param options: of :class:`~airflow_provider_trigger.testing.TriggerDevServer`
    """
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, options), daemon=True)
    process.start()
    try:
        yield RemoteServer(*ours.recv(), ours)
    finally:
        ours.send(("stop", ()))
        process.join()


def _serve(pipe: Connection, options: dict[str, Any]) -> None:
    with TriggerDevServer(**options) as server:
        pipe.send((server.url, server.secret_key))
        while (question := pipe.recv())[0] != "stop":
            pipe.send(_answer(server, *question))


def _answer(server: TriggerDevServer, what: str, arguments: tuple[Any, ...]) -> Any:
    if what == "add_runs":
        count, status = arguments
        return [server.add_run(status=status).id for _ in range(count)]
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
