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
        ({"action": "cancel", "filter": None}, 'Expected object, received null at "filter"'),
        ({"action": "cancel", "filter": {"color": "x"}}, 'At least one filter must be provided at "filter"'),
        ({"action": "cancel", "filter": {"tag": 1}}, 'Invalid input at "filter.tag"'),
        ({"action": "cancel", "filter": {"status": "NO"}}, 'Invalid input at "filter.status"'),
        ({"action": "cancel", "filter": {"queue": "q"}}, 'Invalid input at "filter.queue"'),
        ({"action": "cancel", "filter": {"from": "soon"}}, 'Invalid input at "filter.from"'),
        ({"action": "cancel", "runIds": ["a"], "name": True}, 'Expected string, received boolean at "name"'),
        (
            {"action": "cancel", "runIds": [], "name": "x" * 256},
            'element(s) at "runIds"; Name must be less than 255 characters at "name"',
        ),
    ],
)
def test_invalid_requests(body: Any, message: str) -> None:
    with pytest.raises(InvalidBodyError) as raised:
        read_request(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert message in str(raised.value)


def test_valid_requests() -> None:
    ids = [f"run_{number}" for number in range(500)]
    request = read_request(json.dumps({"action": "replay", "runIds": ids, "name": "x" * 255}).encode())
    assert (request.type, request.run_ids, request.filter, request.name) == ("REPLAY", ids, None, "x" * 255)
