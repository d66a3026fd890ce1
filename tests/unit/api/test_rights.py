"""Keys of few rights: what they may do, as measured, and what an error says."""

from __future__ import annotations

from typing import Any

import pytest
from world import World

from airflow_provider_trigger.api import runs
from airflow_provider_trigger.api.errors import ResponseError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.tokens import create_token, retrieve_token
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

Calls = dict[str, tuple[Call[Any], str]]
READ: Calls = {
    "get": (runs.retrieve_run("run_1"), "read:runs"),
    "list": (runs.list_runs_page(created_from=None), "read:runs"),
    "events": (runs.list_events("run_1"), "read:runs"),
}
START: Calls = {
    "trigger": (runs.trigger_task("work", options={}), "trigger:tasks"),
    "batch": (runs.trigger_batch([runs.batch_item("work", options={})]), "batchTrigger:tasks"),
}
WRITE: Calls = {
    "cancel": (runs.cancel_run("run_1"), "write:runs"),
    "bulk": (runs.cancel_runs_in_bulk(["run_1"], name="x"), "write:runs"),
    "reset": (runs.reset_idempotency_key("a/b", task_identifier="work"), "write:runs"),
    "replay": (runs.replay_run("run_1"), "write:runs"),
}
OTHERS: Calls = {
    "query": (runs.query_runs(["run_1"]), "read:query"),
    "reschedule": (runs.reschedule_run("run_1", delay="1h"), "Invalid or missing API Key"),
    "token": (create_token({}), "write:waitpoints"),
    "get token": (retrieve_token("waitpoint_1"), "read:waitpoints"),
}
CALLS = READ | START | WRITE | OTHERS
MEASURED = {
    "trigger:tasks batchTrigger:tasks read:runs": READ.keys() | START.keys(),
    "read:runs write:runs": READ.keys() | WRITE.keys(),
    "trigger:tasks:work": {"trigger"},
    "read:runs write:runs trigger:tasks batchTrigger:tasks": READ.keys() | START.keys() | WRITE.keys(),
}


@pytest.mark.parametrize("scopes", MEASURED)
def test_a_key_of_few_rights_may_do_little_and_an_error_names_the_right(scopes: str, world: World) -> None:
    world.server.add_run("EXECUTING", run_id="run_1", idempotency_key="a/b", task_identifier="work")
    world.connect(world.server.add_key(scopes.split()))
    client = TriggerDevHook().get_client()
    for name, (call, right) in CALLS.items():
        if name in MEASURED[scopes]:
            client.call(call)
            continue
        with pytest.raises(ResponseError) as raised:
            client.call(call)
        text = f": the key may lack the right {right}" if ":" in right else right
        assert str(raised.value).endswith(text)
