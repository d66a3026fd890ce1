"""Which requests to trigger a task, and for a bulk action, are valid, where no recording says so."""

from __future__ import annotations

import json

import pytest

from airflow_provider_trigger.testing import UNSET
from airflow_provider_trigger.testing.routes import bulk_actions
from airflow_provider_trigger.testing.routes.calls import InvalidBodyError
from airflow_provider_trigger.testing.routes.tasks import read_request


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (None, 'Expected object, received null at "options"'),
        ({"idempotencyKey": 1}, 'Expected string, received number at "options.idempotencyKey"'),
        ({"queue": "q"}, 'Expected object, received string at "options.queue"'),
        ({"queue": {"name": 1}}, 'at "options.queue"'),
        ({"delay": 5}, 'Expected string, received number at "options.delay"'),
        ({"maxAttempts": "3"}, 'Expected number, received string at "options.maxAttempts"'),
        ({"maxDuration": True}, 'Expected number, received boolean at "options.maxDuration"'),
        ({"debounce": {"key": "k"}}, 'does not support debouncing at "options.debounce"'),
        ({"ttl": -1, "machine": "x"}, 'at "options.machine"; Number must be greater'),
    ],
)
def test_invalid_options(options, message: str) -> None:
    with pytest.raises(InvalidBodyError) as raised:
        read_request(json.dumps({"options": options}).encode())
    assert (message in str(raised.value), raised.value.status) == (True, 400)


@pytest.mark.parametrize(("size", "status"), [(262_136, None), (262_137, 413)])
def test_large_metadata(size: int, status: int | None) -> None:
    body = json.dumps({"options": {"metadata": {"a": "x" * size}}}).encode()
    if status is None:
        assert read_request(body).payload is UNSET
    else:
        with pytest.raises(InvalidBodyError, match="maximum size of 262144 bytes") as raised:
            read_request(body)
        assert raised.value.status == status


def test_valid_requests() -> None:
    request = read_request(b'{"payload": null, "options": {"tags": "solo", "ttl": 60, "new": 1}}')
    assert (request.payload, request.options) == (None, {"tags": ["solo"], "ttl": "60s", "new": 1})
    assert read_request(b"{}").options == {}


@pytest.mark.parametrize(
    ("sent", "kind", "payload"),
    [
        ('{"json":{"a":"1"},"meta":{"values":{"a":["bigint"]}}}', "application/super+json", {"a": "1"}),
        ('{"json":null}', "application/super+json", None),
        ('{"json":1}', "application/json", '{"json":1}'),
        ('{"json":1}', "text/plain", '{"json":1}'),
        ("no JSON", "application/super+json", "no JSON"),
        ("[1]", "application/super+json", "[1]"),
        ('{"value":1}', "application/super+json", '{"value":1}'),
        ({"json": 1}, "application/super+json", {"json": 1}),
    ],
)
def test_the_payloads_of_the_vendors_sdk(sent, kind: str, payload) -> None:
    request = read_request(json.dumps({"payload": sent, "options": {"payloadType": kind}}).encode())
    assert (request.payload, request.options) == (payload, {"payloadType": kind})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\xff", "Invalid JSON"),
        (b"[]", "Validation error: Expected object, received array"),
        ({"action": None}, "Invalid discriminator value. Expected 'cancel' | 'replay'"),
        ({"action": ["cancel"]}, 'at "action"'),
        ({"runIds": "a"}, 'Expected array, received string at "runIds"'),
        ({"runIds": ["a", 1]}, 'Expected string, received number at "runIds[1]"'),
        ({"name": True}, 'Expected string, received boolean at "name"'),
        (
            {"runIds": [], "name": "x" * 256},
            'element(s) at "runIds"; Name must be less than 255 characters at "name"',
        ),
        (b'{"action": "cancel", "filter": {"batch": "x"}}', "only cancels runs by their ids"),
        ({"action": "replay"}, "only cancels runs by their ids"),
    ],
)
def test_invalid_bulk_actions(body, message: str) -> None:
    if isinstance(body, dict):
        body = json.dumps({"action": "cancel", "runIds": ["a"]} | body).encode()
    with pytest.raises(InvalidBodyError) as raised:
        bulk_actions.read_request(body)
    assert message in str(raised.value)
    assert raised.value.status == (501 if "only" in message else 400)


def test_a_valid_bulk_action() -> None:
    ids = [f"run_{number}" for number in range(500)]
    body = json.dumps({"action": "cancel", "runIds": ids, "name": "x" * 255}).encode()
    request = bulk_actions.read_request(body)
    assert (request.run_ids, request.name) == (ids, "x" * 255)
