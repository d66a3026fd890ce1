"""What no recording shows of the calls on waitpoint tokens."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.tokens import (
    complete_token,
    create_token,
    retrieve_token,
)

TOKEN_ID = "waitpoint_1"
URL = f"https://trigger.test/api/v1/waitpoints/tokens/{TOKEN_ID}/callback/5ec7e7"
CREATED = {"id": TOKEN_ID, "isCached": False, "url": URL}
SHOWN = {
    "id": TOKEN_ID,
    "url": URL,
    "status": "COMPLETED",
    "tags": [],
    "outputType": "application/super+json",
}


def test_neither_the_address_nor_the_data_is_shown(response) -> None:
    created = create_token().read(response(200, CREATED))
    token = retrieve_token(TOKEN_ID).read(
        response(200, SHOWN | {"output": '{"json":{"password":"hunter2"}}'})
    )
    assert (created.url, token.url, token.output) == (URL, URL, {"password": "hunter2"})
    for text in (repr(created), repr(token)):
        assert "5ec7e7" not in text
        assert "hunter2" not in text


@pytest.mark.parametrize(
    ("call", "answered"),
    [
        (create_token(), {"id": TOKEN_ID}),
        (retrieve_token(TOKEN_ID), SHOWN | {"id": "waitpoint_2"}),
        (retrieve_token(TOKEN_ID), {"id": TOKEN_ID}),
        (complete_token(TOKEN_ID, 1), {}),
    ],
)
def test_what_is_no_answer_of_trigger_dev_is_unexpected(response, call: Call[Any], answered: Any) -> None:
    with pytest.raises(errors.UnexpectedAnswerError) as raised:
        call.read(response(200, answered))
    assert "5ec7e7" not in str(raised.value)
