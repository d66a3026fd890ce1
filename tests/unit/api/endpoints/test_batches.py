from __future__ import annotations

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.endpoints.batches import (
    MAX_BATCH_SIZE,
    MAX_ITEMS_AT_ONCE,
    batch_item,
    retrieve_batch,
    trigger_batch,
)

BATCH = {"id": "batch_1", "status": "COMPLETED", "runCount": 1, "runs": ["run_1"], "processing": {}}
WITH_KEY = batch_item("resize", payload=1, options={"idempotencyKey": "k"})


def test_what_the_server_takes_at_once() -> None:
    assert (MAX_ITEMS_AT_ONCE, MAX_BATCH_SIZE) == (20, 500_000)


def test_an_item_has_a_payload_only_if_it_is_given() -> None:
    assert WITH_KEY == {"task": "resize", "payload": 1, "options": {"idempotencyKey": "k"}}
    null = batch_item("resize", payload=None, options={})
    assert null == {"task": "resize", "payload": None, "options": {}}
    assert batch_item("resize", options={"delay": "1h"}) == {"task": "resize", "options": {"delay": "1h"}}


def test_a_batch_may_be_sent_twice_only_if_each_item_has_a_key() -> None:
    request = trigger_batch((WITH_KEY,)).request
    assert (request.method, request.path, request.json) == (
        "POST",
        "/api/v2/tasks/batch",
        {"items": [WITH_KEY]},
    )
    assert request.repeatable
    for options in ({}, {"idempotencyKey": ""}):
        assert not trigger_batch([WITH_KEY, batch_item("resize", options=options)]).request.repeatable


def test_a_batch_is_accepted_with_an_id(response) -> None:
    assert trigger_batch([WITH_KEY]).read(response(202, {"id": "batch_1", "runCount": 1})) == "batch_1"


@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": ""}, {"id": 7}])
def test_without_an_id_it_is_not(response, body) -> None:
    with pytest.raises(errors.UnexpectedAnswerError) as raised:
        trigger_batch([WITH_KEY]).read(response(202, body))
    assert str(raised.value) == "POST /api/v2/tasks/batch answered a batch without an id"


def test_a_batch_is_retrieved_with_its_runs(response) -> None:
    call = retrieve_batch("batch_1")
    assert (call.request.method, call.request.path) == ("GET", "/api/v2/batches/batch_1")
    assert call.request.repeatable
    assert call.read(response(200, BATCH)).run_ids == ("run_1",)


@pytest.mark.parametrize("body", [{}, BATCH | {"runs": None}, BATCH | {"id": "batch_2"}])
def test_what_is_not_this_batch_is_unexpected(response, body) -> None:
    with pytest.raises(errors.UnexpectedAnswerError, match="answered something that is not this batch"):
        retrieve_batch("batch_1").read(response(200, body))


def test_an_id_must_be_a_segment_of_a_path() -> None:
    assert retrieve_batch("batch/1").request.path == "/api/v2/batches/batch%2F1"
    with pytest.raises(errors.NotSentError, match="cannot be the id of a batch"):
        retrieve_batch("..")
