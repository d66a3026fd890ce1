"""
A local server that answers in this process, without sockets, and a real client on it.

A ``conftest.py`` that imports its fixtures gives them to the tests in its folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import pytest
import requests
from fake_log import Log
from server_request import served
from starlette.requests import Request

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.routes.router import Router


@dataclass
class _Fault:
    part: str
    reply: Any
    times: int
    arrives: bool


def routed(server: TriggerDevServer, method: str, target: str, body: Any = None, *, env: str = "prod") -> Any:
    """
    Return what a server that was never started answers to a request with the key of an environment.

    :param body: JSON, or lines of it, which are a text
    """
    headers = {"authorization": f"Bearer {server.environments.find(env).secret_key}"}
    headers |= {"x-trigger-api-version": "2025-07-16", "content-type": "application/x-ndjson"}
    path, _, query = target.partition("?")
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "headers": sent, "query_string": query.encode()}
    lines = body if isinstance(body, str) else json.dumps(body)
    return Router(server).answer(Request(scope), path, body=lines.encode())


class Network:
    """
    Answers requests from a server that was never started, unless a fault comes first.

    :param server: has the runs; its clock gives the ``Date`` of each answer
    :param answer: makes what the wire takes of a status, a body and headers
    """

    def __init__(self, server: TriggerDevServer, answer: Callable[..., Any]) -> None:
        self.server = server
        self.requests: list[str] = []
        self.before: Callable[[str], None] = lambda request: None
        self._answer = answer
        self._router = Router(server)
        self._faults: list[_Fault] = []

    def fault(self, part: str, reply: Any, *, times: int = 1, arrives: bool = False) -> None:
        """
        Answer the next requests otherwise.

        :param part: of ``GET /api/…``, their method and path
        :param reply: an answer, or the error that comes instead
        :param times: how many requests
        :param arrives: whether they take effect all the same
        """
        self._faults.append(_Fault(part, reply, times, arrives))

    def repair(self) -> None:
        """Answer all requests as the server does."""
        self._faults.clear()

    def sent(self, part: str) -> list[str]:
        """Return the requests so far, of those that contain a text."""
        return [request for request in self.requests if part in request]

    def __call__(self, request: requests.PreparedRequest) -> Any:
        routed_request, path, body = served(request)
        shown = f"{request.method} {path}"
        self.requests.append(shown)
        self.before(shown)
        fault = next((one for one in self._faults if one.part in shown and one.times > 0), None)
        if fault is not None:
            fault.times -= 1
            if not fault.arrives:
                return fault.reply
        made = self._router.answer(routed_request, path, body=body)
        date = formatdate(self.server.clock(), usegmt=True)
        headers = {name.lower(): value for name, value in made.headers.items()} | {"date": date}
        answer = self._answer(made.status_code, bytes(made.body), headers)
        return answer if fault is None else fault.reply


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def server(clock) -> TriggerDevServer:
    """A server of the test's clock, whose workers acknowledge a cancel after 10 s."""
    return TriggerDevServer(clock=clock.time, acknowledge_after=10.0, secret_key="tr_prod_marker/of+the=test")


@pytest.fixture
def network(server: TriggerDevServer, answer) -> Network:
    return Network(server, answer)


@pytest.fixture
def client(connect, network: Network, clock) -> TriggerDevClient:
    """A client of the server; failures are given up after 120 s of the clock."""
    made: TriggerDevClient = connect(network)[0]
    return made
