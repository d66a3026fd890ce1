"""A world in virtual time, and a wire that carries nothing out of the process."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from textwrap import dedent, indent
from typing import Any

import pytest
import requests
import urllib3
from fake_log import Log
from hypothesis import HealthCheck, settings
from in_world import clock, pytest_pyfunc_call, server, world
from requests.adapters import HTTPAdapter

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.http import Response, ServerSettings

__all__ = ["clock", "pytest_pyfunc_call", "server", "world"]

BASE_URL = "https://trigger.test"
SECRET_KEY = "tr_prod_marker/of+the=test"
USER_AGENT = "unit-tests/1"

# On a busy machine neither the clock nor the first use of Unicode's tables says anything of the code.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that opens a connection, or listens for one."""

    def refuse(*_: Any) -> None:
        pytest.fail("a unit test uses a socket: let it run in a world (tests/world/in_world.py)")

    for name in ("connect", "connect_ex", "bind", "listen"):
        monkeypatch.setattr(socket.socket, name, refuse)


def encoded(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


@dataclass(frozen=True)
class Answer:
    """What a server answers: a status, a body (JSON, or bytes as they are) and headers."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Script = Callable[[requests.PreparedRequest], Answer | BaseException]


class Wire(HTTPAdapter):
    """Hands each request to a script, and keeps what was sent and how."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self.script = script
        self.sent: list[requests.PreparedRequest] = []
        self.options: list[dict[str, Any]] = []
        self.raw: list[urllib3.HTTPResponse] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        self.sent.append(request)
        self.options.append(options)
        answer = self.script(request)
        if isinstance(answer, BaseException):
            raise answer
        raw = urllib3.HTTPResponse(
            body=io.BytesIO(encoded(answer.body)),
            status=answer.status,
            headers=dict(answer.headers),
            preload_content=False,
        )
        self.raw.append(raw)
        return self.build_response(request, raw)

    @property
    def targets(self) -> list[str]:
        return [f"{request.method} {str(request.url).removeprefix(BASE_URL)}" for request in self.sent]


def in_turn(answers: Iterable[Answer | BaseException]) -> Script:
    """Return a script of these answers, the last of them again and again."""
    queue = list(answers)
    return lambda _: queue.pop(0) if len(queue) > 1 else queue[0]


@pytest.fixture(scope="session")
def answer() -> type[Answer]:
    return Answer


@pytest.fixture(scope="session")
def response() -> Callable[..., Response]:
    """Build what a driver hands to ``read``: a status, a body (JSON or bytes), and headers."""

    def build(status: int = 200, body: Any = b"", headers: Mapping[str, str] | None = None) -> Response:
        return Response(status=status, headers=headers or {}, body=encoded(body))

    return build


@pytest.fixture(scope="session")
def connect() -> Callable[..., tuple[TriggerDevClient, Wire]]:
    """Build a client and the wire that it is on, from answers or a script; ``key`` is one that can change."""

    def build(*script: Any, **settings: Any) -> tuple[TriggerDevClient, Wire]:
        given = {"base_url": BASE_URL, "secret_key": SECRET_KEY, "user_agent": USER_AGENT} | settings
        key = given.pop("key", None)
        own = {name: given.pop(name) for name in ("max_connections", "rate_limit") if name in given}
        client = TriggerDevClient(ServerSettings(**given), secret_key=key, **own)
        wire = Wire(script[0] if callable(script[0]) else in_turn(script))
        for scheme in ("https://", "http://"):
            client.transport._session.mount(scheme, wire)
        return client, wire

    return build


@pytest.fixture
def wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """The wire that every client is on, also one that is built elsewhere; set its ``script``."""
    if "world" in request.fixturenames:
        request.getfixturevalue("world")  # whose network it replaces
    wire = Wire(in_turn([Answer(body={"data": [], "pagination": {}})]))
    monkeypatch.setattr(HTTPAdapter, "send", lambda _, request, **options: wire.send(request, **options))
    # Its own ``send`` is defined by its class, and so is not replaced.
    return wire


@pytest.fixture
def answers(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, Any]]:
    """
    Let a server behind the default connection cancel every run but ``run_x``, which is unknown.

    :return: its other answers, statuses and bodies, by run id
    """
    fields = {"conn_type": "trigger_dev", "host": "trigger.test", "password": "tr_prod_marker"}
    monkeypatch.setenv("AIRFLOW_CONN_TRIGGER_DEV_DEFAULT", json.dumps(fields | {"extra": {"retry_for": 0}}))
    others: dict[str, tuple[int, Any]] = {"run_x": (404, {"error": "Run not found"})}

    def script(request: requests.PreparedRequest) -> Answer:
        run_id = str(request.url).split("/runs/")[1].split("/")[0]
        canceled = {"id": run_id, "status": "CANCELED", "taskIdentifier": "t"}
        return Answer(*others.get(run_id, (200, canceled)))

    wire.script = script
    return others


@pytest.fixture
def keep_log(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], Log]:
    """Keep what the objects of a class log."""

    def keep(kind: type) -> Log:
        log = Log()
        monkeypatch.setattr(kind, "log", log)
        return log

    return keep


# What any Dag costs, and then something of this package, in a process of its own.
_PARSE = """
import json, sys
touched = []
sys.addaudithook(lambda event, _: event in ("socket.connect", "socket.getaddrinfo") and touched.append(event))
try:
    from airflow.sdk import DAG, BaseOperator, BaseOperatorLink, BaseSensorOperator, PokeReturnValue, XComArg
except ImportError:
    from airflow.models.baseoperator import BaseOperator
    from airflow.models.baseoperatorlink import BaseOperatorLink
    from airflow.models.dag import DAG
    from airflow.models.xcom_arg import XComArg
    from airflow.sensors.base import BaseSensorOperator, PokeReturnValue
import airflow.exceptions
from airflow.configuration import conf
from airflow.triggers.base import BaseTrigger, TriggerEvent

class Plain(BaseSensorOperator):
    def __init__(self, ids=None, **arguments):
        super().__init__(**arguments)

with DAG("plain"):
    Plain(task_id="t")
    Plain.partial(task_id="m").expand(ids=[[1], [2]])
before = set(sys.modules)
with DAG("d"):
%s
print(json.dumps([sorted(set(sys.modules) - before), touched]))
"""


@pytest.fixture(scope="session")
def parse() -> Callable[[str], list[str]]:
    """Return the modules that some lines bring beyond those of Airflow; they open no socket."""

    def run(lines: str) -> list[str]:
        source = _PARSE % indent(dedent(lines), "    ")
        done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        modules, touched = json.loads(done.stdout.splitlines()[-1])
        assert touched == []
        return list(modules)

    return run


HEAVY = {"requests", "urllib3", "tenacity", "pydantic", "sqlalchemy", "asgiref"}
HEAVY |= {f"airflow_provider_trigger.{name}" for name in ("api.client", "hooks.trigger_dev")}


@pytest.fixture(scope="session")
def heavy() -> set[str]:
    """What a Dag's parse must not bring."""
    return HEAVY
