"""Which requests for a bulk action are valid."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_trigger.testing.routes.bulk_request import read_request
from airflow_provider_trigger.testing.routes.json_body import InvalidBodyError


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\xff", "Invalid JSON"),
        ([], "Validation error: Expected object, received array"),
        ({"action": None, "runIds": ["a"]}, "Invalid discriminator value. Expected 'cancel' | 'replay'"),
        ({"action": ["cancel"], "runIds": ["a"]}, 'at "action"'),
        ({"action": "cancel", "runIds": "a"}, 'Expected array, received string at "runIds"'),
        ({"action": "cancel", "runIds": ["a", 1]}, 'Expected string, received number at "runIds[1]"'),
        ({"action": "cancel", "runIds": ["a"], "name": True}, 'Expected string, received boolean at "name"'),
        (
            {"action": "cancel", "runIds": [], "name": "x" * 256},
            'element(s) at "runIds"; Name must be less than 255 characters at "name"',
        ),
    ],
)
def test_invalid_requests(body, message: str) -> None:
    with pytest.raises(InvalidBodyError) as raised:
        read_request(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "body", [{"action": "cancel", "filter": {"tag": "x"}}, {"action": "replay", "runIds": ["a"]}]
)
def test_what_the_provider_never_sends_is_not_implemented(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidBodyError, match="only cancels runs by their ids") as raised:
        read_request(json.dumps(body).encode())
    assert raised.value.status == 501


def test_valid_requests() -> None:
    ids = [f"run_{number}" for number in range(500)]
    request = read_request(json.dumps({"action": "cancel", "runIds": ids, "name": "x" * 255}).encode())
    assert (request.run_ids, request.name) == (ids, "x" * 255)
