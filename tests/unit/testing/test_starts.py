"""How runs begin: keys, delays, versions, by a clock that the test sets; which requests are valid."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from fake_clock import START, Clock

from airflow_provider_trigger.testing import ServerRun, TriggerDevServer
from airflow_provider_trigger.testing.routes.calls import InvalidBodyError
from airflow_provider_trigger.testing.routes.tasks import read_request

DAY = 86400


@pytest.fixture
def server(clock: Clock) -> TriggerDevServer:
    server = TriggerDevServer(clock=clock.time)
    server.on_task("parked", start_after=None)
    return server


def trigger(server: TriggerDevServer, task: str = "parked", **arguments: Any) -> tuple[ServerRun, bool]:
    options = {"idempotencyKey": "k"} | arguments.pop("options", {})
    return server.trigger(task, options=options, **arguments)


# Idempotency keys


@pytest.mark.parametrize(
    ("lifetime", "seconds"), [("2s", 2), ("1h", 3600), (None, 30 * DAY), ("", 30 * DAY), ("5", 30 * DAY)]
)
def test_how_long_a_key_is_kept(
    server: TriggerDevServer, clock: Clock, lifetime: str | None, seconds: float
) -> None:
    options = {} if lifetime is None else {"idempotencyKeyTTL": lifetime}
    first, _ = trigger(server, options=options)
    clock.now += seconds - 0.1
    assert trigger(server) == (first, True)
    clock.now += 0.2
    second, is_cached = trigger(server)
    assert (is_cached, second is first, first.idempotency_key) == (False, False, None)


# Delays and lifetimes


@pytest.mark.parametrize("delay", ["1h", datetime.fromtimestamp(START + 3600, UTC).isoformat()])
def test_a_delayed_run(server: TriggerDevServer, clock: Clock, delay: str) -> None:
    run, _ = trigger(server, "resize", options={"delay": delay})
    clock.now += 3599
    assert (run.status, run.delayed_until.timestamp()) == ("DELAYED", START + 3600)
    clock.now += 1
    assert run.status == "QUEUED"
    clock.now += 1
    assert run.status == "COMPLETED"


def test_a_run_expires_only_while_it_is_queued(server: TriggerDevServer, clock: Clock) -> None:
    options = {"ttl": "10s", "idempotencyKey": None}
    queued, _ = trigger(server, options=options)
    delayed, _ = trigger(server, options=options | {"delay": "1m"})
    server.on_task("slow", after=None)
    executing, _ = trigger(server, "slow", options=options)
    clock.now += 9
    assert queued.status == "QUEUED"
    clock.now += 2
    assert (queued.status, delayed.status, executing.status) == ("EXPIRED", "DELAYED", "EXECUTING")
    assert queued.error == {"message": "Run expired because the TTL was reached"}
    assert queued.terminated
    clock.now += 60
    assert (delayed.status, executing.status) == ("EXPIRED", "EXECUTING")


# Versions


def test_an_unknown_task_waits_for_a_version(server: TriggerDevServer, clock: Clock) -> None:
    server.unknown_task("resize")
    run, _ = trigger(server, "resize", options={"ttl": "3s"})
    delayed, _ = trigger(server, "resize", options={"delay": "1h", "idempotencyKey": "d"})
    assert run.status == "QUEUED"
    clock.now += 13
    assert (run.status, delayed.status) == ("PENDING_VERSION", "DELAYED")
    clock.now += 3600
    assert delayed.status == "PENDING_VERSION"
    server.deploy("resize")
    assert run.status == "PENDING_VERSION"
    clock.now += 0.2
    assert run.status == "QUEUED"
    clock.now += 1
    assert (run.status, delayed.status, run.version) == ("COMPLETED", "COMPLETED", "20261125.2")


# Requests


@pytest.mark.parametrize(
    ("sent", "kind", "payload"),
    [
        ('{"json":{"a":"1"},"meta":{"values":{"a":["bigint"]}}}', "application/super+json", {"a": "1"}),
        ('{"json":null}', "application/super+json", None),
        ('{"json":1}', "application/json", '{"json":1}'),
        ('{"json":1}', "text/plain", '{"json":1}'),
        ("no JSON", "application/super+json", "no JSON"),
        ('{"value":1}', "application/super+json", '{"value":1}'),
        ({"json": 1}, "application/super+json", {"json": 1}),
    ],
)
def test_the_payloads_of_the_vendors_sdk(sent, kind: str, payload) -> None:
    request = read_request(json.dumps({"payload": sent, "options": {"payloadType": kind}}).encode())
    assert (request.payload, request.options) == (payload, {"payloadType": kind})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (None, 'Expected object, received null at "options"'),
        ({"queue": "q"}, 'Expected object, received string at "options.queue"'),
        ({"maxDuration": True}, 'Expected number, received boolean at "options.maxDuration"'),
        ({"debounce": {"key": "k"}}, 'does not support debouncing at "options.debounce"'),
        ({"ttl": -1, "machine": "x"}, 'at "options.machine"; Number must be greater'),
    ],
)
def test_invalid_options(options, message: str) -> None:
    with pytest.raises(InvalidBodyError) as raised:
        read_request(json.dumps({"options": options}).encode())
    assert (message in str(raised.value), raised.value.status) == (True, 400)
