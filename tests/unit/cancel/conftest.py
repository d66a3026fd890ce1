"""Whole cancellations in this process and in virtual time, by a real client and the local server."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import virtual_clock
from in_process import Network, client, network, server
from virtual_crew import virtual_crews

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import AnswerTimeoutError
from airflow_provider_trigger.api.exchange import Reply, Send
from airflow_provider_trigger.cancel.cancellation import Cancellation
from airflow_provider_trigger.cancel.outcome import no_action
from airflow_provider_trigger.cancel.settings import CancelSettings

__all__ = ["client", "network", "server"]

BEGIN = 1000.0
REPLIES = {"lost": requests.ConnectionError(), "no answer": requests.ReadTimeout()}


class Clock(virtual_clock.Clock):
    """The clock of the simulation, also in the place of the module ``time``."""

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGIN

    def time(self) -> float:
        return self.wall()

    def after(self, seconds: float, act: Callable[[], object]) -> None:
        """Let something happen so many seconds after the test began."""
        self.at(BEGIN + seconds, act)


class Line:
    """
    Carries the requests of a client that works in virtual time, each at once, and its answer after a latency.

    ``sent`` has each request by name, and when it was sent, in seconds since the test began. A request
    without an answer takes all the time that it has.
    """

    def __init__(self, client: TriggerDevClient, network: Network, clock: Clock, answer: Any) -> None:
        self.latency = 0.0
        self.sent: list[tuple[str, float]] = []
        self.timeouts: list[float] = []
        self.counts: list[int] = []
        self._answer = answer
        self._client = client
        self._network = network
        self._clock = clock

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.sent]

    def of(self, name: str) -> list[str]:
        """Return the names of the requests so far that begin with a text."""
        return [one for one in self.names if one.startswith(name)]

    def at(self, name: str) -> list[float]:
        """Return when requests were sent whose names begin with a text."""
        return [at for one, at in self.sent if one.startswith(name)]

    def fault(self, name: str, *reply: Any, times: int = 1, arrives: bool = False) -> None:
        """
        Answer the next requests of a name otherwise, see :meth:`in_process.Network.fault`.

        :param reply: a status, a body and headers; or ``lost``, ``no answer``, or what is raised instead
        """
        what, _, id_ = name.partition(" ")
        paths = {
            "cancel": f"/{id_}/cancel",
            "check": f"GET /api/v3/runs/{id_}",
            "query": "/query",
            "any": "/runs/",
        }
        bulk = {"bulk": "POST /api/v1/bulk-actions", "bulk-check": "GET /api/v1/bulk-actions/"}
        made = self._answer(*reply) if isinstance(reply[0], int) else REPLIES.get(reply[0], reply[0])
        self._network.fault((paths | bulk)[what], made, times=times, arrives=arrives)

    @staticmethod
    def outcomes(work: Cancellation) -> dict[str, str]:
        """Return the outcome of each run."""
        return {result.run_id: result.outcome.value for result in work.results}

    def send(self, step: Send, answer: Callable[[Reply], None]) -> None:
        self.sent.append((_name(step.request.method, step.request.path), self._clock.now - BEGIN))
        self.timeouts.append(step.timeout)
        reply = self._client.send(step)
        took = step.timeout if isinstance(reply, AnswerTimeoutError) else self.latency
        self._clock.at(self._clock.now + took, lambda: answer(reply))


def _name(method: str, path: str) -> str:
    *_, before, last = path.split("/")
    if "bulk-actions" in path:
        return "bulk" if method == "POST" else "bulk-check"
    if last == "query":
        return last
    return f"cancel {before}" if last == "cancel" else f"check {last}"


@pytest.fixture
def clock(go_by, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which client, server and cancellation go; the backoff of a call is 0.5, 1, 2, 4 s …"""
    clock = Clock()
    monkeypatch.setattr("airflow_provider_trigger.api.client.time", clock)
    monkeypatch.setattr("tenacity.wait.random", SimpleNamespace(uniform=lambda _, most: most))
    go_by(clock)
    return clock


@pytest.fixture
def line(client: TriggerDevClient, network: Network, clock: Clock, answer) -> Iterator[Line]:
    line = Line(client, network, clock, answer)
    with virtual_crews(line, clock) as line.counts:
        yield line


@pytest.fixture
def prepare(client: TriggerDevClient, line: Line, clock: Clock):
    """Prepare a cancellation that will run in virtual time, without threads; ``stop_at`` in seconds."""

    def prepare(
        run_ids: Iterable[str], *, stop_at: float = math.inf, action_for: Any = no_action, **options: Any
    ) -> Cancellation:
        def is_stopped() -> bool:
            return clock.now >= BEGIN + stop_at

        settings = CancelSettings(**options)
        return Cancellation(client, run_ids, settings, is_stopped=is_stopped, action_for=action_for)

    return prepare


@pytest.fixture
def cancel(prepare) -> Callable[..., Cancellation]:
    """Cancel runs, and return the cancellation that has ended."""

    def cancel(run_ids: Iterable[str], **options: Any) -> Cancellation:
        work: Cancellation = prepare(run_ids, **options)
        work.run()
        return work

    return cancel


@pytest.fixture
def add(server) -> Callable[..., list[str]]:
    """Add runs to the server, by default queued; return their ids."""

    def add(*run_ids: str, status: str = "QUEUED", **attributes: Any) -> list[str]:
        return [server.add_run(status, run_id=run_id, **attributes).id for run_id in run_ids]

    return add
