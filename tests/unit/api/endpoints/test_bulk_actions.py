from __future__ import annotations

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.endpoints.bulk_actions import (
    MAX_SIZE,
    cancel_runs_in_bulk,
    retrieve_bulk_action,
)
from airflow_provider_trigger.api.models.bulk_actions import BulkAction

ACTION = {"id": "bulk_1", "status": "PENDING", "counts": {"total": 3, "success": 1, "failure": 1}}


def test_a_bulk_action_takes_500_ids() -> None:
    assert MAX_SIZE == 500


def test_a_bulk_cancel_names_each_run_and_must_not_be_sent_twice() -> None:
    request = cancel_runs_in_bulk(("run_1", "run_2"), name="a name").request
    assert (request.method, request.path) == ("POST", "/api/v1/bulk-actions")
    assert request.json == {"action": "cancel", "runIds": ["run_1", "run_2"], "name": "a name"}
    assert (dict(request.params), request.repeatable) == ({}, False)


def test_a_bulk_cancel_is_accepted_with_an_id(response) -> None:
    assert cancel_runs_in_bulk(["run_1"], name="n").read(response(202, {"id": "bulk_1"})) == "bulk_1"


@pytest.mark.parametrize("body", [{}, {"id": None}, {"id": 7}])
def test_without_an_id_a_bulk_cancel_is_not_accepted(response, body) -> None:
    with pytest.raises(errors.UnexpectedAnswerError) as raised:
        cancel_runs_in_bulk(["run_1"], name="n").read(response(202, body))
    assert str(raised.value) == "POST /api/v1/bulk-actions answered a bulk action without an id"


def test_an_older_server_does_not_know_bulk_actions(response) -> None:
    with pytest.raises(errors.ResponseError, match="answered 404"):
        cancel_runs_in_bulk(["run_1"], name="n").read(response(404, b"<html>"))


def test_a_check_of_a_bulk_action_is_a_get_that_may_be_repeated() -> None:
    request = retrieve_bulk_action("bulk/1").request
    assert (request.method, request.path) == ("GET", "/api/v1/bulk-actions/bulk%2F1")
    assert (dict(request.params), request.json, request.repeatable) == ({}, None, True)


def test_a_bulk_action_is_read(response) -> None:
    action = retrieve_bulk_action("bulk_1").read(response(200, ACTION))
    assert action == BulkAction(status="PENDING", success=1, failure=1)


@pytest.mark.parametrize("body", [{}, ACTION | {"counts": None}, ACTION | {"status": 7}])
def test_what_is_not_a_bulk_action_is_unexpected(response, body) -> None:
    with pytest.raises(errors.UnexpectedAnswerError) as raised:
        retrieve_bulk_action("bulk_1").read(response(200, body))
    text = "GET /api/v1/bulk-actions/bulk_1 answered something that is not a bulk action"
    assert str(raised.value) == text


def test_a_bulk_action_that_is_not_found_is_an_error(response) -> None:
    with pytest.raises(errors.NotFoundError):
        retrieve_bulk_action("bulk_1").read(response(404, {"error": "Not found"}))
