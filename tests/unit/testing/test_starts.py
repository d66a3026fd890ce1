"""How long idempotency keys are kept, by a clock that the test sets, and which requests are valid."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_clock import Clock

from airflow_provider_trigger.testing import ServerRun, TriggerDevServer
from airflow_provider_trigger.testing.routes.calls import InvalidBodyError
from airflow_provider_trigger.testing.routes.tasks import read_request

DAY = 86400


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
