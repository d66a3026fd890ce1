"""Whole trees of runs are canceled at once, and not level by level as the server does it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from waiting import LONG

from airflow_provider_trigger.api import exchange
from airflow_provider_trigger.cancel import search
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.testing import ServerRun, TriggerDevServer

QUERY = "/api/v1/query"

pytestmark = pytest.mark.usefixtures("quick_checks", "quick_looks")


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "LOOK_INTERVAL", 0.15)


@pytest.fixture
def cancel_all(cancel):
    """Cancel runs with their descendants."""
    return lambda *runs, **options: cancel(*runs, include_descendants=True, **options)


def add_tree(server: TriggerDevServer) -> list[ServerRun]:
    """Add 40 runs on 4 levels: 3 children each, whose parents execute and acknowledge late."""
    runs = [server.add_run(acknowledge_after=30)]
    for number in range(39):
        status = "EXECUTING" if number < 12 else ("QUEUED", "DELAYED", "WAITING")[number % 3]
        runs.append(server.add_run(status, parent=runs[number // 3], acknowledge_after=30))
    assert runs[-1].depth == 3
    return runs


@pytest.fixture
def tree(server: TriggerDevServer) -> list[ServerRun]:
    return add_tree(server)


def cancels(server) -> Counter[str]:
    return Counter(one.path.split("/")[-2] for one in server.requests if one.path.endswith("/cancel"))


def queries(server) -> list[Any]:
    return [one for one in server.requests if one.path == QUERY]


def is_alive(*runs: ServerRun) -> list[bool]:
    return [run.status != "CANCELED" for run in runs]


@pytest.fixture(params=["query", "no query", "forbidden", "down", "failing"])
def query(request: pytest.FixtureRequest, server) -> str:
    """The query works, or does not in one of several ways."""
    if request.param == "no query":
        server.query = False
    elif request.param == "forbidden":
        server.fail_next(None, 403, path=QUERY)
    elif request.param == "down":
        server.fail_next(None, 400, body={"error": "connect ECONNREFUSED"}, path=QUERY)
    elif request.param == "failing":
        server.fail_next(None, 500, path=QUERY)
    return str(request.param)


def test_all_runs_of_a_tree_are_canceled_at_once(query, server, cancel_all, tree, said) -> None:
    result = cancel_all(tree[0])
    assert result.error is None
    assert not any(is_alive(*tree))
    assert cancels(server) == {run.id: 1 for run in tree}
    assert {run.life.parents_cancel for run in tree} == {None}
    assert result.results[0]["run_id"] == tree[0].id
    assert "parent_run_id" not in result.results[0]
    parents = {one["run_id"]: one["parent_run_id"] for one in result.results[1:]}
    assert parents == {run.id: run.parent.id for run in tree[1:] if run.parent}
    assert all(said.lines(f"{run.id} (hello-task, child of {run.parent.id}): canceled") for run in tree[1:])
    assert bool(said.lines("as the query failed")) == (query != "query")
    assert not said.lines("may be missing")


def test_children_of_a_parent_that_had_completed_are_canceled(query, server, cancel_all) -> None:
    parent = server.add_run("COMPLETED")
    child = server.add_run("COMPLETED", parent=parent)
    grandchildren = [server.add_run(status, parent=child) for status in ("QUEUED", "EXECUTING")]
    result = cancel_all(parent)
    assert result.outcomes == ["already_completed", "canceled", "canceled"]
    assert [run.cancel_requests for run in (parent, child, *grandchildren)] == [1, 0, 1, 1]
    assert not any(is_alive(*grandchildren))


def test_a_parent_that_completes_in_spite_of_its_cancel_leaves_none_alive(query, server, cancel_all) -> None:
    parent = server.add_run(acknowledge_after=0.3, completes_despite_cancel=True)
    children = [server.add_run(status, parent=parent) for status in ("QUEUED", "EXECUTING", "DELAYED")]
    result = cancel_all(parent, wait_for_termination=True, poll_interval=0.05)
    assert (parent.status, result.of(parent)["outcome"]) == ("COMPLETED", "already_completed")
    assert not any(is_alive(*children))
    assert [run.cancel_requests for run in children] == [1, 1, 1]


def test_children_that_are_started_meanwhile_are_canceled(query, server, cancel_all, monkeypatch) -> None:
    server.query_lag = 0.1
    parent = server.add_run(acknowledge_after=30)
    late: list[ServerRun] = []
    cancel = parent.cancel

    def start_and_cancel() -> None:
        late.append(server.add_run("EXECUTING", parent=parent))
        late.append(server.add_run("QUEUED", parent=late[0]))
        cancel()

    monkeypatch.setattr(parent, "cancel", start_and_cancel)
    result = cancel_all(parent)
    assert len(late) == 2
    assert not any(is_alive(*late))
    assert [one["run_id"] for one in result.results] == [parent.id, *(run.id for run in late)]


def test_a_child_that_a_waited_for_parent_starts_last_is_canceled(server, cancel_all, meanwhile) -> None:
    parent = server.add_run(acknowledge_after=4, completes_despite_cancel=True)
    late: list[ServerRun] = []
    meanwhile(lambda: len(queries(server)) >= 3, lambda: late.append(server.add_run("QUEUED", parent=parent)))
    cancel_all(parent, wait_for_termination=True, poll_interval=0.1)
    assert parent.status == "COMPLETED"
    assert is_alive(*late) == [False]


def test_of_a_run_that_is_a_child_only_its_own_descendants_are_canceled(query, server, cancel_all) -> None:
    root = server.add_run()
    child, sibling = (server.add_run(parent=root) for _ in range(2))
    mine = [server.add_run("QUEUED", parent=child)]
    mine.append(server.add_run("QUEUED", parent=mine[0]))
    nephew = server.add_run("QUEUED", parent=sibling)
    result = cancel_all(child)
    assert is_alive(root, sibling, nephew, child, *mine) == [True, True, True, False, False, False]
    assert [one.get("parent_run_id") for one in result.results] == [None, child.id, mine[0].id]


def test_runs_of_the_list_that_are_descendants_count_once(query, server, cancel_all, tree) -> None:
    result = cancel_all(tree[4], tree[0], tree[1])
    assert [one["run_id"] for one in result.results[:3]] == [tree[4].id, tree[0].id, tree[1].id]
    assert len(result.results) == 40
    assert cancels(server) == {run.id: 1 for run in tree}


def test_descendants_are_waited_for(server, cancel_all) -> None:
    parent = server.add_run("QUEUED")
    child = server.add_run(parent=parent, acknowledge_after=0.8)
    result = cancel_all(parent, wait_for_termination=True, poll_interval=0.05)
    assert child.terminated
    assert [one["terminated"] for one in result.results] == [True, True]


def test_a_descendant_that_vanishes_is_no_failure(server, cancel_all) -> None:
    parent = server.add_run()
    child = server.add_run("QUEUED", parent=parent)
    server.fail_next(None, 404, body={"error": "Resource not found"}, path=f"*/{child.id}/cancel")
    result = cancel_all(parent)
    assert result.error is None
    assert result.outcomes == ["canceled", "not_found"]


def test_what_may_be_missed_is_a_warning(server, cancel_all, said) -> None:
    server.query = False
    parent = server.add_run("QUEUED")
    child = server.add_run("COMPLETED", parent=parent)
    server.fail_next(None, 500, path=f"/api/v3/runs/{child.id}")
    result = cancel_all(parent)
    assert result.error is None
    assert said.lines("Descendants may be missing, and still run", child.id)


def test_a_notifier_cancels_trees(connection, make_context, server, tree, said) -> None:
    CancelTriggerRunNotifier(run_ids=[tree[0].id], include_descendants=True)(make_context())
    assert not any(is_alive(*tree))
    assert said.lines("40 Trigger.dev runs: 40 canceled")


def test_a_notifier_ends_within_its_timeout_and_says_what_may_be_missing(
    connection, make_context, server, said, monkeypatch
) -> None:
    parent = server.add_run("QUEUED")
    server.hang_next(None, path=QUERY)
    monkeypatch.setattr(exchange, "_SHORTEST_TIMEOUT", LONG)  # the query may take all the time
    CancelTriggerRunNotifier(run_ids=[parent.id], include_descendants=True, timeout=3.5)(make_context())
    assert not any(is_alive(parent))
    assert said.lines("Descendants may be missing, and still run: the search was not finished")


def test_a_stop_ends_the_search(server, make_operator, execute, meanwhile) -> None:
    parent = server.add_run("QUEUED")
    server.hang_next(None, path=QUERY)
    operator = make_operator(parent, include_descendants=True)

    def is_time():
        is_checked = any(one.status and one.path.endswith(parent.id) for one in list(server.requests))
        return is_checked and queries(server)

    meanwhile(is_time, operator.on_kill)
    result = execute(operator)
    assert "Airflow stopped the task" in str(result.error)
    assert result.outcomes == ["canceled"]
