"""A local server of waitpoint tokens in this process and in virtual time, behind the default connection."""

from __future__ import annotations

import json
from typing import Any

import pytest
from in_process import Network

from airflow_provider_trigger.testing import TriggerDevServer

KEY = "tr_prod_marker"
TOKENS = "/api/v1/waitpoints/tokens"
UNKNOWN = "waitpoint_unknown"


@pytest.fixture
def waitpoints(clock) -> TriggerDevServer:
    return TriggerDevServer(clock=clock.time, secret_key=KEY)


@pytest.fixture
def wired(waitpoints: TriggerDevServer, wire, answer, monkeypatch: pytest.MonkeyPatch) -> Network:
    connection = {"conn_type": "trigger_dev", "host": "https://trigger.test", "password": KEY}
    monkeypatch.setenv("AIRFLOW_CONN_TRIGGER_DEV_DEFAULT", json.dumps(connection))
    wire.script = made = Network(waitpoints, answer)
    return made


@pytest.fixture
def tokens(waitpoints: TriggerDevServer, clock) -> dict[str, Any]:
    """A token of each kind, by what becomes of it when it is completed."""
    made = {name: waitpoints.create_token()[0] for name in ("completed", "already_completed")}
    made["timed_out"] = waitpoints.create_token(timeout="1s")[0]
    waitpoints.complete_token(made["already_completed"].id, {"by": "somebody"})
    clock.now += 5.0
    return made


def secret_of(token: Any) -> str:
    """Return by what whoever has a token's address can complete it."""
    secret: str = token.path.rpartition("/callback/")[2]
    assert len(secret) > 20
    return secret
