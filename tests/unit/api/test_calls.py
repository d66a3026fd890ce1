"""What no recording shows of what calls send, and which answers are not Trigger.dev's."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.bulk_actions import (
    cancel_runs_in_bulk,
    retrieve_bulk_action,
)
from airflow_provider_trigger.api.events import RunEvent, list_events
from airflow_provider_trigger.api.http import Call, Response
from airflow_provider_trigger.api.query import query_runs
from airflow_provider_trigger.api.runs import (
    cancel_run,
    list_newest_runs,
    list_runs_page,
    replay_run,
    reschedule_run,
    retrieve_run,
)
from airflow_provider_trigger.api.tasks import (
    batch_item,
    reset_idempotency_key,
    retrieve_batch,
    trigger_batch,
    trigger_task,
)

RUN = {"id": "run_1", "status": "QUEUED"}
BATCH: dict[str, Any] = {"id": "batch_1", "status": "PENDING", "runCount": 3, "runs": ["run_1", "run_2"]}
BULK = {"id": "bulk_1", "status": "PENDING", "counts": {"total": 10, "success": 4, "failure": 3}}
KEY = {"idempotencyKey": "k"}
ITEM = batch_item("resize", payload=1, options=KEY)
COLUMNS = (
    "run_id, status, task_identifier, attempt_count, triggered_at, dequeued_at, executed_at, completed_at"
)


def query(text: str) -> dict[str, str]:
    return {"query": text, "scope": "environment", "period": "365d"}


class Sent(NamedTuple):
    """A call, and what it sends: method and path, query, body, and whether it may be sent twice."""

    call: Call[Any]
    target: str
    params: Mapping[str, str] = MappingProxyType({})
    json: Any = None
    repeatable: bool = True


RUNS = ["run_1", "run_2"]
SENT = {
    "cancel": Sent(cancel_run("run/1"), "POST /api/v2/runs/run%2F1/cancel"),
    "check": Sent(retrieve_run("run/1"), "GET /api/v3/runs/run%2F1"),
    "replay": Sent(replay_run("run/1"), "POST /api/v1/runs/run%2F1/replay", repeatable=False),
    "list to try the server": Sent(list_newest_runs(), "GET /api/v1/runs", {"page[size]": "10"}),
    "list": Sent(list_runs_page(created_from=None), "GET /api/v1/runs", {"page[size]": "100"}),
    "query": Sent(
        query_runs(RUNS),
        "POST /api/v1/query",
        json=query(f"SELECT {COLUMNS} FROM runs WHERE run_id IN ('run_1','run_2')"),
    ),
    "batch, not all with keys": Sent(
        trigger_batch([ITEM, batch_item("t", options={})]),
        "POST /api/v2/tasks/batch",
        json={"items": [ITEM, {"task": "t", "options": {}}]},
        repeatable=False,
    ),
    "check of a batch": Sent(retrieve_batch("batch/1"), "GET /api/v2/batches/batch%2F1"),
    "bulk cancel by tag": Sent(
        cancel_runs_in_bulk(tag="a:b", name="n"),
        "POST /api/v1/bulk-actions",
        json={"action": "cancel", "filter": {"tag": "a:b"}, "name": "n"},
        repeatable=False,
    ),
    "check of a bulk action": Sent(retrieve_bulk_action("bulk/1"), "GET /api/v1/bulk-actions/bulk%2F1"),
}


@pytest.mark.parametrize("name", SENT)
def test_what_each_call_sends(name: str) -> None:
    call, target, params, json, repeatable = SENT[name]
    request = call.request
    assert f"{request.method} {request.path}" == target
    assert (request.params, request.json, request.url) == (params, json, None)
    assert request.repeatable is repeatable
    assert request.run_id == ("run/1" if "run%2F1" in target else None)


@pytest.mark.parametrize("key", ["", None])
def test_a_key_that_is_empty_is_none(key: str | None) -> None:
    options = {"idempotencyKey": key}
    assert not trigger_task("t", options=options).request.repeatable
    assert not trigger_batch([ITEM, batch_item("t", options=options)]).request.repeatable


@pytest.mark.parametrize("payload", [None, False, 0, "", [], {}])
def test_a_payload_that_is_empty_is_sent(payload: object) -> None:
    sent = {"payload": payload, "options": {}}
    assert trigger_task("t", payload=payload, options={}).request.json == sent
    assert batch_item("t", payload=payload, options={}) == {"task": "t"} | sent


# What comes back


@pytest.mark.parametrize("start", ["", "9" * 40, "9" * 5000, "soon", None])
def test_a_line_of_a_log_of_which_little_is_valid_is_no_failure(response, start: str | None) -> None:
    odd: dict[str, Any] = {"message": 1, "level": None, "startTime": start}
    [event] = list_events("run_1").read(response(200, {"events": [odd]}))
    assert event == RunEvent(message="", level="", started_at=None)


def without(answer: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != name}


LIST = list_runs_page(created_from=None)
NO_IDS: list[Any] = [{}, {"id": None}, {"id": ""}, {"id": 7}]
NO_TEXTS: list[Any] = [None, "", 7, ["QUEUED"], {"name": "QUEUED"}]
NO_PARTS: list[Any] = [None, 4.5, {}, [7], ["run_1", ""]]
# Of each call, answers with a success status, and what is said of them.
UNEXPECTED: list[tuple[Call[Any], list[Any], str]] = [
    (cancel_run("run_1"), [*NO_IDS, {"id": "run_2"}, {"ok": True}], "200 without the run's id"),
    (cancel_run("run/1"), [{"id": "run%2F1"}], "200 without the run's id"),
    (cancel_run("run_1"), [b"<html>"], "200 without valid JSON"),
    (retrieve_run("run_1"), [{}, *(RUN | {"id": value} for value in NO_TEXTS)], "a run without 'id'"),
    (retrieve_run("run_1"), [RUN | {"status": value} for value in NO_TEXTS], "a run without 'status'"),
    (retrieve_run("run_1"), [RUN | {"id": "run_2"}], "another run: 'run_2'"),
    (retrieve_run("run_1"), [RUN | {"id": "r" * 999}], f"another run: '{'r' * 50}'"),
    (reschedule_run("run_1", delay="1h"), [RUN | {"id": "run_2"}], "another run: 'run_2'"),
    (replay_run("run_1"), NO_IDS, "a run without an id"),
    (trigger_task("t", options={}), [*NO_IDS, {"isCached": True}], "a run without an id"),
    (
        reset_idempotency_key("key-1", task_identifier="t"),
        [*NO_IDS, {"id": "key-2"}],
        "200 without the idempotency key",
    ),
    (LIST, [{}, {"data": None}, {"data": {"0": RUN}}], "JSON without a list of runs in 'data'"),
    (LIST, [{"data": [it], "pagination": {}} for it in ({}, "run_1", {"id": ""})], "a run without 'id'"),
    (LIST, [{"data": [{"id": "run_1"}], "pagination": {}}], "a run without 'status'"),
    # Without it, more pages could be missed.
    (LIST, [{"data": []}, {"data": [], "pagination": []}], "a list of runs without 'pagination'"),
    (query_runs(["run_1"]), [{}, {"results": None}, {"results": {}}], "JSON without a list of 'results'"),
    (
        query_runs(["run_1"]),
        [{"results": [row]} for row in ("run_1", {"status": "Queued"}, {"run_id": "run_1", "status": ""})],
        "a run without 'run_id' or 'status'",
    ),
    (query_runs(["run_1"]), [{"results": [{"run_id": "run_3", "status": "Queued"}]}], "other runs"),
    (query_runs(["run_1"]), [{"results": [None]}], "a run without 'run_id' or 'status'"),
    (trigger_batch([ITEM]), NO_IDS, "a batch without an id"),
    (
        retrieve_batch("batch_1"),
        [
            BATCH | {"id": "batch_2"},
            *(without(BATCH, name) for name in BATCH),
            *(BATCH | {name: value} for name in BATCH for value in NO_PARTS),
        ],
        "something that is not this batch",
    ),
    (cancel_runs_in_bulk(["run_1"], name="n"), NO_IDS, "a bulk action without an id"),
    (
        retrieve_bulk_action("bulk_1"),
        [
            *(without(BULK, name) for name in ("status", "counts")),
            BULK | {"status": None},
            *(BULK | {"counts": counts} for counts in (None, [1, 2], {"success": 4}, {"failure": 3})),
            *(BULK | {"counts": {"success": it, "failure": 3}} for it in (None, "4", 4.5)),
            *(BULK | {"counts": {"success": 4, "failure": it}} for it in (None, "3", 3.5)),
        ],
        "something that is not a bulk action",
    ),
]


@pytest.mark.parametrize(
    ("call", "bodies", "text"), UNEXPECTED, ids=[f"{call.request}: {text}" for call, _, text in UNEXPECTED]
)
def test_a_success_that_is_not_trigger_devs_is_unexpected(
    response, call: Call[Any], bodies: list[Any], text: str
) -> None:
    for body in bodies:
        with pytest.raises(errors.UnexpectedAnswerError) as raised:
            call.read(response(200, body))
        assert str(raised.value).startswith(f"{call.request} answered {text}"), body
        assert raised.value.retryable


HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "date", "location", "x-request-id", "x-should-retry"]),
    st.sampled_from(["true", "false", "nan", "Wed, 25 Nov 2026 09:32:29 -0000"]) | st.text(max_size=20),
)
BODIES = [b'{"error": 1}', b'{"data": []}', b'{"id": "run_1", "status": "X"}', b'{"id": "run_1"}']
BODIES += [b'{"id": "run_1", "status": "CANCELED", "startedAt": "x"}']


@given(
    st.integers(100, 599),
    HEADERS,
    st.sampled_from(BODIES) | st.binary(max_size=50),
    st.sampled_from([sent.call for sent in SENT.values()]),
)
def test_whatever_comes_back_is_read_or_is_one_of_our_errors(
    status: int, headers: dict[str, str], body: bytes, call: Call[Any]
) -> None:
    text = "a result"
    try:
        result = call.read(Response(status=status, headers=headers, body=body))
        assert 200 <= status < 300 or result is None
    except errors.TriggerDevError as error:
        text = str(error)
    assert 0 < len(text) < 1000
