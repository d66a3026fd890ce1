"""Keys of few rights: what they may do, as measured, what an error says, and what is not sent again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from in_process import Network

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.endpoints.batches import batch_item, trigger_batch
from airflow_provider_trigger.api.endpoints.bulk_actions import cancel_runs_in_bulk
from airflow_provider_trigger.api.endpoints.events import list_events
from airflow_provider_trigger.api.endpoints.query import query_runs
from airflow_provider_trigger.api.endpoints.realtime import snapshot_run
from airflow_provider_trigger.api.endpoints.runs import (
    cancel_run,
    list_runs_page,
    replay_run,
    reschedule_run,
    retrieve_run,
)
from airflow_provider_trigger.api.endpoints.tasks import reset_idempotency_key, trigger_task
from airflow_provider_trigger.api.endpoints.waitpoint_tokens import create_token, retrieve_token
from airflow_provider_trigger.api.errors import AuthenticationError, PermissionDeniedError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.masking import SecretKey
from airflow_provider_trigger.testing import TriggerDevServer

Calls = dict[str, tuple[Call[Any], str]]
READ: Calls = {
    "get": (retrieve_run("run_1"), "read:runs"),
    "list": (list_runs_page(created_from=None), "read:runs"),
    "events": (list_events("run_1"), "read:runs"),
    "realtime": (snapshot_run("run_1"), "read:runs"),
}
START: Calls = {
    "trigger": (trigger_task("work", options={}), "trigger:tasks"),
    "trigger another": (trigger_task("rest", options={}), "trigger:tasks"),
    "batch": (trigger_batch([batch_item("work", options={})]), "batchTrigger:tasks"),
}
WRITE: Calls = {
    "cancel": (cancel_run("run_1"), "write:runs"),
    "bulk": (cancel_runs_in_bulk(["run_1"], name="x"), "write:runs"),
    "reset": (reset_idempotency_key("a/b", task_identifier="work"), "write:runs"),
    "replay": (replay_run("run_1"), "write:runs"),
}
OTHERS: Calls = {
    "query": (query_runs(["run_1"]), "read:query"),
    "reschedule": (reschedule_run("run_1", delay="1h"), "admin"),
    "token": (create_token(), "write:waitpoints"),
    "get token": (retrieve_token("waitpoint_1"), "read:waitpoints"),
}
CALLS = READ | START | WRITE | OTHERS
MEASURED = {
    "trigger:tasks batchTrigger:tasks read:runs": READ.keys() | START.keys(),
    "read:runs write:runs": READ.keys() | WRITE.keys(),
    "trigger:tasks:work": {"trigger"},
    "read:runs write:runs trigger:tasks batchTrigger:tasks": READ.keys() | START.keys() | WRITE.keys(),
}


@pytest.fixture
def server(clock) -> TriggerDevServer:
    return TriggerDevServer(clock=clock.time)


@pytest.fixture
def network(server: TriggerDevServer, answer) -> Network:
    return Network(server, answer)


@pytest.fixture
def client(connect, server, network: Network) -> Callable[..., TriggerDevClient]:
    return lambda key=None, scopes="": connect(network, key=key or SecretKey(server.add_key(scopes.split())))[
        0
    ]


@pytest.mark.parametrize("scopes", MEASURED)
def test_a_key_of_few_rights_may_do_as_much_as_on_the_server_and_else_an_error_names_the_right(
    scopes: str, client, server
) -> None:
    server.add_run("EXECUTING", run_id="run_1", idempotency_key="a/b", task_identifier="work")
    made = client(scopes=scopes)
    for name, (call, right) in CALLS.items():
        if name in MEASURED[scopes]:
            made.call(call)
            continue
        kind = AuthenticationError if name == "reschedule" else PermissionDeniedError
        with pytest.raises(kind) as raised:
            made.call(call)
        assert str(raised.value).endswith(f": the key may lack the right {right}")


@pytest.mark.parametrize("name", ["query", "bulk", "list", "reset"])
def test_after_a_403_no_call_is_made_for_10_minutes_whose_absence_costs_only_speed(
    name: str, client, server, network: Network, clock
) -> None:
    call, _ = CALLS[name]
    key = SecretKey(server.add_key([]))
    texts = set()
    for _ in range(2):
        for made in (client(key), client(key)):
            with pytest.raises(PermissionDeniedError) as raised:
                made.call(call)
            texts.add(str(raised.value))
        clock.sleep(599.9)
    assert (len(network.requests), len(texts)) == (1, 1)
    clock.sleep(0.1)
    with pytest.raises(PermissionDeniedError):
        made.call(call)
    assert len(network.requests) == 2
    key.replace(server.secret_key)
    server.add_run("EXECUTING", run_id="run_1")
    made.call(call)


@pytest.mark.parametrize("name", ["cancel", "trigger", "batch", "get", "replay", "token"])
def test_what_matters_to_a_user_is_tried_each_time(name: str, client, network: Network) -> None:
    made = client()
    for _ in range(2):
        with pytest.raises(PermissionDeniedError):
            made.call(CALLS[name][0])
    assert len(network.requests) == 2
