"""Whole trees of runs are canceled at once, and not level by level as the server does it."""

from __future__ import annotations

from collections import Counter

import pytest

from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.testing import ServerRun, TriggerDevServer


@pytest.fixture(params=[True, False], ids=["query", "no query"])
def query(request: pytest.FixtureRequest, server: TriggerDevServer) -> None:
    """The server has the query, or not."""
    server.query = request.param


@pytest.fixture
def cancel_all(cancel):
    """Cancel runs with their descendants."""
    return lambda *runs, **options: cancel(*runs, include_descendants=True, **options)


@pytest.fixture
def tree(server: TriggerDevServer) -> list[ServerRun]:
    """40 runs on 4 levels: 3 children each, whose parents execute and acknowledge late."""
    runs = [server.add_run(acknowledge_after=30)]
    for number in range(39):
        status = "EXECUTING" if number < 12 else ("QUEUED", "DELAYED", "WAITING")[number % 3]
        runs.append(server.add_run(status, parent=runs[number // 3], acknowledge_after=30))
    assert runs[-1].depth == 3
    return runs


def is_alive(*runs: ServerRun) -> list[bool]:
    return [run.status != "CANCELED" for run in runs]


def test_all_runs_of_a_tree_are_canceled_at_once_and_each_once(query, server, cancel_all, tree, said) -> None:
    result = cancel_all(tree[4], tree[0], tree[1])
    assert result.error is None
    assert not any(is_alive(*tree))
    cancels = Counter(one.path.split("/")[-2] for one in server.requests if one.path.endswith("/cancel"))
    assert cancels == {run.id: 1 for run in tree}
    assert {run.life.parents_cancel for run in tree} == {None}
    assert [one["run_id"] for one in result.results[:3]] == [tree[4].id, tree[0].id, tree[1].id]
    parents = {one["run_id"]: one["parent_run_id"] for one in result.results[3:]}
    assert parents == {run.id: run.parent.id for run in tree if run.parent and run not in (tree[1], tree[4])}
    assert all(
        said.lines(f"{child} (hello-task, child of {parent}): canceled") for child, parent in parents.items()
    )
    assert not said.lines("may be missing")


def test_children_of_a_parent_that_completes_are_canceled_before_and_after_its_end(query, server, cancel_all):
    ended = server.add_run("COMPLETED")
    child = server.add_run("COMPLETED", parent=ended)
    ends = server.add_run(acknowledge_after=0.3, completes_despite_cancel=True)
    below = [
        server.add_run(status, parent=one) for one in (child, ends) for status in ("QUEUED", "EXECUTING")
    ]
    result = cancel_all(ended, ends, wait_for_termination=True, poll_interval=0.05)
    assert (ends.status, result.of(ends)["outcome"]) == ("COMPLETED", "already_completed")
    assert not any(is_alive(*below))
    assert child.cancel_requests == 0


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


def test_of_a_run_that_is_a_child_only_its_own_descendants_are_canceled(query, server, cancel_all) -> None:
    root = server.add_run()
    child, sibling = (server.add_run(parent=root) for _ in range(2))
    mine = [server.add_run("QUEUED", parent=child)]
    mine.append(server.add_run("QUEUED", parent=mine[0]))
    nephew = server.add_run("QUEUED", parent=sibling)
    result = cancel_all(child)
    assert is_alive(root, sibling, nephew, child, *mine) == [True, True, True, False, False, False]
    assert [one.get("parent_run_id") for one in result.results] == [None, child.id, mine[0].id]


def test_descendants_are_waited_for_and_one_that_vanishes_is_no_failure(server, cancel_all) -> None:
    parent = server.add_run("QUEUED")
    child = server.add_run(parent=parent, acknowledge_after=0.8)
    gone = server.add_run("QUEUED", parent=parent)
    server.fail_next(None, 404, body={"error": "Resource not found"}, path=f"*/{gone.id}/cancel")
    result = cancel_all(parent, wait_for_termination=True, poll_interval=0.05)
    assert (result.error, child.terminated) == (None, True)
    assert (result.of(child)["terminated"], result.of(gone)["outcome"]) == (True, "not_found")


def test_a_notifier_cancels_trees(connection, make_context, tree, said) -> None:
    CancelTriggerRunNotifier(run_ids=[tree[0].id], include_descendants=True)(make_context())
    assert not any(is_alive(*tree))
    assert said.lines("40 Trigger.dev runs: 40 canceled")
