from __future__ import annotations

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.tasks import reset_idempotency_key

RESET = reset_idempotency_key("key-1", task_identifier="resize")
UNKNOWN = "No runs found with idempotency key: key-1 and task: resize"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b"<html>Not Found", errors.NotTriggerDevError),
        (404, {"error": "Not Found"}, errors.NotTriggerDevError),
        (404, {"error": "Not found"}, errors.NotFoundError),
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
