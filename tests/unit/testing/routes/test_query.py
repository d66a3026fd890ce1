"""The query of the local server, where the contract tests have no recording."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from fake_clock import Clock
from in_process import routed

from airflow_provider_trigger.api.endpoints.query import query_runs
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.engine.states import ALIVE, FINAL


def post(server: TriggerDevServer, body: Any, **options: Any) -> Response:
    answer = routed(server, "POST", "/api/v1/query", body, **options)
    return Response(status=answer.status_code, headers=dict(answer.headers), body=bytes(answer.body))


def select(server: TriggerDevServer, condition: str, *, columns: str = "run_id", **more: Any) -> Any:
    body = {"query": f"SELECT {columns} FROM runs WHERE {condition}", "scope": "environment"}
    answered = post(server, body | more)
    assert answered.status == 200, answered.body
    return [next(iter(row.values())) if len(row) == 1 else row for row in answered.json()["results"]]


def queried(server: TriggerDevServer, *run_ids: str) -> list[Run]:
    call = query_runs(run_ids)
    return call.read(post(server, call.request.json))


def test_the_query_of_this_package_is_answered(server: TriggerDevServer, clock: Clock) -> None:
    server.add_run("EXECUTING", run_id="run_1", task_identifier="resize")
    server.add_run("QUEUED", run_id="run_2")
    server.add_run("PENDING_VERSION", run_id="run_3")
    clock.now += 10
    runs = {run.id: run for run in queried(server, "run_1", "run_2", "run_3", "run_4")}
    assert sorted(runs) == ["run_1", "run_2", "run_3"]
    for run_id, run in runs.items():
        shown = server.runs[run_id]
        assert (run.status, run.attempt_count) == (shown.status, shown.attempt_count)
        assert run.created_at is not None
        assert abs((run.created_at - shown.created_at).total_seconds()) < 0.001
        assert (run.started_at is None) == (shown.started_at is None)
    assert runs["run_1"].task_identifier == "resize"


def test_a_run_without_a_version_shows_when_it_was_queued_first(
    server: TriggerDevServer, clock: Clock
) -> None:
    server.add_run("QUEUED", run_id="run_1", then=[(400, "PENDING_VERSION")])
    server.unknown_task("resize")
    server.on_task("resize", start_after=0)
    delayed, _ = server.trigger("resize", options={"delay": "100s"})
    added_at = datetime.fromtimestamp(clock.time(), UTC)
    clock.now += 500
    rows = select(server, f"run_id IN ('run_1', '{delayed.id}')", columns="status, queued_at")
    assert [row["status"] for row in rows] == ["Pending version"] * 2
    queued = [datetime.fromisoformat(row["queued_at"] + "+00:00") - added_at for row in rows]
    assert [one.total_seconds() for one in queued] == [0, 100]


@pytest.mark.parametrize("status", [*ALIVE, *FINAL])
def test_it_has_its_own_words_and_the_client_knows_them(server: TriggerDevServer, status: str) -> None:
    server.add_run(status, run_id="run_1")
    (word,) = select(server, "run_id = 'run_1'", columns="status")
    assert word == status[0] + status[1:].lower().replace("_", " ")
    assert queried(server, "run_1")[0].status == status


def test_runs_are_found_by_their_tag_and_their_root(server: TriggerDevServer) -> None:
    root = server.add_run(run_id="root", tags=["it's \\ a, tag"])
    child = server.add_run(run_id="child", parent=root, tags=["it"])
    server.add_run(run_id="grandchild", parent=child)
    assert select(server, r"has(tags, 'it\'s \\ a, tag')") == ["root"]
    assert select(server, "root_run_id = 'root'", columns="run_id, parent_run_id, depth") == [
        {"run_id": "child", "parent_run_id": "root", "depth": 1},
        {"run_id": "grandchild", "parent_run_id": "child", "depth": 2},
    ]
    assert select(server, "root_run_id IN ('root', 'other')") == ["child", "grandchild"]
    assert select(server, "root_run_id = 'child'") == []
    assert select(server, "parent_run_id = 'root'") == ["child"]
    assert select(server, "parent_run_id IN ('root','child')") == ["child", "grandchild"]
    assert select(server, "run_id = 'root'", columns="parent_run_id, root_run_id") == [
        {"parent_run_id": None, "root_run_id": None}
    ]


def test_it_lags_behind(server: TriggerDevServer, clock: Clock) -> None:
    server.query_lag = 1.0
    run = server.add_run("QUEUED", run_id="run_1")
    assert queried(server, "run_1") == []
    clock.now += 1
    run.cancel()
    assert [run.status for run in queried(server, "run_1")] == ["QUEUED"]
    clock.now += 1
    assert [run.status for run in queried(server, "run_1")] == ["CANCELED"]


def test_it_can_lose_the_end_of_a_run_for_ever(server: TriggerDevServer, clock: Clock) -> None:
    runs = [server.add_run("EXECUTING", run_id=f"run_{number}") for number in (1, 2)]
    server.lose_in_query("run_1")
    clock.now += 1
    for run in runs:
        run.cancel()
    clock.now += 3600
    assert [run.status for run in queried(server, "run_1", "run_2")] == ["EXECUTING", "CANCELED"]
    assert server.runs["run_1"].status == "CANCELED"


def test_it_looks_back_seven_days_unless_a_period_says_more(server: TriggerDevServer, clock: Clock) -> None:
    server.add_run("EXECUTING", run_id="run_1")
    clock.now += 8 * 86400
    assert select(server, "run_id IN ('run_1')") == []
    assert select(server, "run_id IN ('run_1')", period="30d") == ["run_1"]
    assert [run.id for run in queried(server, "run_1")] == ["run_1"]


def test_it_only_shows_the_runs_of_the_keys_environment(server: TriggerDevServer) -> None:
    server.add_run(run_id="run_1", environment="other")
    call = query_runs(["run_1"])
    assert queried(server, "run_1") == []
    assert len(call.read(post(server, call.request.json, env="other"))) == 1


@pytest.mark.parametrize(
    "query",
    [
        None,
        "",
        "SELECT run_id FROM runs",
        *(
            f"SELECT run_id FROM runs WHERE {condition}"
            for condition in ("run_id IN ()", "run_id IN ('run_1'", "run_id = 'run_1' OR 1=1", "tags = 'a'")
        ),
    ],
)
def test_other_sql_is_rejected(server: TriggerDevServer, query: Any) -> None:
    answered = post(server, {"query": query, "scope": "environment"})
    assert answered.status == 400
    assert answered.json()["error"].startswith("Syntax error at line 1:0: ")


def test_three_are_answered_at_once(server: TriggerDevServer) -> None:
    body = query_runs(["run_1"]).request.json
    assert post(server, body, at_once=3).status == 200
    answered = post(server, body, at_once=4)
    assert answered.status == 429
    assert "query concurrency of 3" in answered.json()["error"]


def test_an_older_server_has_no_query(server: TriggerDevServer) -> None:
    server.query = False
    answered = post(server, query_runs(["run_1"]).request.json)
    assert (answered.status, answered.headers["content-type"]) == (404, "text/html; charset=utf-8")
