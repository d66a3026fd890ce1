from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.models import TriggeredRun
from airflow_provider_trigger.api.tasks import NO_PAYLOAD, reset_idempotency_key, trigger_task

RESET = reset_idempotency_key("key-1", task_identifier="resize")
UNKNOWN = "No runs found with idempotency key: key-1 and task: resize"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_no_payload_stays_itself_when_it_is_copied(copied) -> None:
    assert copied(NO_PAYLOAD) is NO_PAYLOAD


@pytest.mark.parametrize("said", [{}, {"isCached": None}, {"isCached": "true"}])
def test_only_a_run_that_is_said_to_be_cached_is(response, said: dict[str, Any]) -> None:
    """The recordings have both booleans."""
    triggered = trigger_task("resize", options={}).read(response(200, {"id": "run_1"} | said))
    assert triggered == TriggeredRun(id="run_1", is_cached=False)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b"<html>Not Found", errors.NotTriggerDevError),
        (404, {"error": "Not Found"}, errors.NotTriggerDevError),
        (404, {"error": "Not found"}, errors.NotFoundError),
        (404, {"error": None}, errors.NotTriggerDevError),
        (404, {"error": [UNKNOWN]}, errors.NotTriggerDevError),
        (404, {"message": UNKNOWN}, errors.NotTriggerDevError),
        (404, UNKNOWN.encode(), errors.NotTriggerDevError),
        (400, {"error": UNKNOWN}, errors.ResponseError),
        (500, {"error": UNKNOWN}, errors.ServerError),
    ],
)
def test_only_trigger_devs_404_of_a_key_that_no_run_has_is_no_error(
    response, status: int, body, kind: type[errors.ResponseError]
) -> None:
    RESET.read(response(404, {"error": UNKNOWN}))
    with pytest.raises(errors.ResponseError) as raised:
        RESET.read(response(status, body))
    assert type(raised.value) is kind
    assert str(raised.value).startswith(f"POST /api/v1/idempotencyKeys/key-1/reset answered {status}: ")
