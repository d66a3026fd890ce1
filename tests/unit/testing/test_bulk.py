"""Bulk actions, by a clock that the test sets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_clock import START, Clock

from airflow_provider_trigger.testing import BulkAction, Run, TriggerDevServer
from airflow_provider_trigger.testing.bulk_filter import matching
from airflow_provider_trigger.testing.bulk_request import RefusedError, read_request
from airflow_provider_trigger.testing.states import ALIVE, FINAL

DAY = 86400


@pytest.fixture
def server(clock: Clock) -> TriggerDevServer:
    return TriggerDevServer(clock=clock, bulk_duration=2, acknowledge_after=5)


def begin(server: TriggerDevServer, *runs: Run, type: str = "CANCEL") -> BulkAction:
    return server.bulk.create(type, runs, environment=server.environment)


def counts(action: BulkAction) -> tuple[int, int, int]:
    total, success, failure = action.counts.values()
    return total, success, failure


def test_all_runs_have_their_turn_at_the_end(server: TriggerDevServer, clock: Clock) -> None:
    runs = [server.add_run(status) for status in ("QUEUED", "EXECUTING", "COMPLETED", "CANCELED")]
    action = begin(server, *runs)
    clock.now += 1.9
    assert (action.status, counts(action), action.completed_at) == ("PENDING", (4, 0, 0), None)
    assert [run.status for run in runs] == ["QUEUED", "EXECUTING", "COMPLETED", "CANCELED"]
    clock.now += 10
    assert [run.status for run in runs] == ["CANCELED", "CANCELED", "COMPLETED", "CANCELED"]
    assert (action.status, counts(action)) == ("COMPLETED", (4, 2, 2))
    assert action.completed_at is not None
    assert action.completed_at.timestamp() == START + 2
    assert runs[0].updated_at == action.completed_at
    assert runs[1].finished_at is not None
    assert runs[1].finished_at.timestamp() == START + 7
    assert runs[0].error == {"message": f"Bulk action {action.id} cancelled run"}


@pytest.mark.parametrize("status", ALIVE)
def test_what_was_over_by_then_counts_as_failure(server: TriggerDevServer, clock: Clock, status: str) -> None:
    early = server.add_run(status, then=[(1.9, "COMPLETED")])
    late = server.add_run(status, then=[(2.1, "COMPLETED")])
    action = begin(server, early, late)
    clock.now += 5
    assert counts(action) == (2, 1, 1)
    assert (early.status, late.status) == ("COMPLETED", "CANCELED")


def test_a_canceled_run_that_still_has_to_settle_counts_as_success(
    server: TriggerDevServer, clock: Clock
) -> None:
    run = server.add_run("EXECUTING")
    run.cancel()
    action = begin(server, run)
    clock.now += 2
    assert counts(action) == (1, 1, 0)
    assert run.error == {"message": "Canceled by user"}


def test_children_follow_for_the_same_reason(server: TriggerDevServer, clock: Clock) -> None:
    parent = server.add_run("EXECUTING")
    child = server.add_run("QUEUED", parent=parent)
    action = begin(server, parent)
    clock.now += 6.9
    assert child.status == "QUEUED"
    clock.now += 0.2
    assert (child.status, child.error) == ("CANCELED", parent.error)
    assert counts(action) == (1, 1, 0)


def test_an_aborted_one_cancels_nothing(server: TriggerDevServer, clock: Clock) -> None:
    run = server.add_run()
    action = begin(server, run)
    clock.now += 1
    assert server.bulk.abort(action)
    assert not server.bulk.abort(action)
    clock.now += 5
    assert (action.status, counts(action), action.completed_at) == ("ABORTED", (1, 0, 0), None)
    assert run.status == "EXECUTING"


def test_one_that_is_over_cannot_be_aborted(server: TriggerDevServer, clock: Clock) -> None:
    action = begin(server)
    clock.now += 2
    assert not server.bulk.abort(action)
    assert action.status == "COMPLETED"


def test_replays_are_new_runs(server: TriggerDevServer, clock: Clock) -> None:
    run = server.add_run("FAILED", task_identifier="a", tags=["x"], payload={"n": 1}, metadata={"m": 2})
    action = begin(server, run, type="REPLAY")
    aborted = begin(server, run, type="REPLAY")
    server.bulk.abort(aborted)
    server.bulk.replay_due()
    assert (list(server.runs), counts(action)) == ([run.id], (1, 0, 0))
    clock.now += 3
    for _ in range(2):
        server.bulk.replay_due()
    first, again = server.runs.values()
    assert (first, again.status) == (run, "QUEUED")
    assert (again.task_identifier, again.tags, again.payload, again.metadata) == (
        "a",
        ("x",),
        {"n": 1},
        {"m": 2},
    )
    assert (counts(action), counts(aborted)) == ((1, 1, 0), (1, 0, 0))


def test_the_youngest_runs_are_not_seen(server: TriggerDevServer, clock: Clock) -> None:
    run, _ = server.add_run(), server.add_run(environment="dev")
    assert list(server.bulk.visible(server.environment)) == [run.id]
    server.bulk_lag = 1.5
    clock.now += 1.4
    assert server.bulk.visible(server.environment) == {}
    clock.now += 0.1
    assert list(server.bulk.visible(server.environment)) == [run.id]


@given(
    status=st.sampled_from([*ALIVE, *FINAL]),
    cancel_at=st.floats(0, 5),
    looks=st.lists(st.floats(0, 5), max_size=6),
)
def test_looking_changes_nothing(status: str, cancel_at: float, looks: list[float]) -> None:
    ends = []
    for steps in (looks, []):
        clock = Clock()
        server = TriggerDevServer(clock=clock, acknowledge_after=1)
        parent = server.add_run(status)
        child = server.add_run("QUEUED", parent=parent, then=[(1, "EXECUTING"), (4, "COMPLETED")])
        server.bulk_duration = cancel_at
        actions = [begin(server, parent), begin(server, child)]
        for step in sorted(steps):
            clock.now = START + step
            _ = child.status, counts(actions[1])
        clock.now = START + 20
        ends.append((parent.state.status, child.state.status, [counts(action) for action in actions]))
        assert all(action.counts["success"] + action.counts["failure"] == 1 for action in actions)
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({"tag": "x"}, "a"),
        ({"tag": ["x", "y"]}, "ab"),
        ({"tag": "x,y"}, ""),
        ({"taskIdentifier": "t2"}, "b"),
        ({"taskIdentifier": ["t2", "t3"], "version": "1"}, ""),
        ({"status": "QUEUED"}, "a"),
        ({"status": ["QUEUED", "FROZEN"]}, "ab"),
        ({"status": "WAITING", "tag": "x"}, ""),
        ({"queue": {"type": "task", "name": "t2"}}, "b"),
        ({"isTest": False}, "ab"),
        ({"isTest": True}, ""),
        ({"region": "local"}, "ab"),
        ({"batch": "batch_x"}, ""),
        ({"period": "30d"}, "abo"),
        ({"period": "nonsense"}, "ab"),
        ({"from": (START - 60) * 1000}, "ab"),
        ({"to": (START - 60) * 1000}, "o"),
        ({"from": "2026-01-01", "to": "2100-01-01T00:00:00Z"}, "abo"),
    ],
)
def test_filters(server: TriggerDevServer, clock: Clock, wanted: dict[str, Any], fits: str) -> None:
    clock.now -= 8 * DAY
    server.add_run("QUEUED", run_id="o", tags=["z"], task_identifier="t3").status = "SOMETHING_NEW"
    clock.now += 8 * DAY
    server.add_run("QUEUED", run_id="a", tags=["x"], task_identifier="t1")
    server.add_run("WAITING", run_id="b", tags=["y"], task_identifier="t2")
    found = matching(server.runs.values(), wanted, now=clock.now)
    assert sorted(run.id for run in found) == sorted(fits)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\xff", "Invalid JSON"),
        ([], "Validation error: Expected object, received array"),
        ({"action": None, "runIds": ["a"]}, "Invalid discriminator value. Expected 'cancel' | 'replay'"),
        ({"action": ["cancel"], "runIds": ["a"]}, 'at "action"'),
        ({"action": "cancel", "runIds": "a"}, 'Expected array, received string at "runIds"'),
        ({"action": "cancel", "runIds": ["a", 1]}, 'Expected string, received number at "runIds[1]"'),
        ({"action": "cancel", "filter": None}, 'Expected object, received null at "filter"'),
        ({"action": "cancel", "filter": {"color": "x"}}, 'At least one filter must be provided at "filter"'),
        ({"action": "cancel", "filter": {"tag": 1}}, 'Invalid input at "filter.tag"'),
        ({"action": "cancel", "filter": {"status": "NO"}}, 'Invalid input at "filter.status"'),
        ({"action": "cancel", "filter": {"queue": "q"}}, 'Invalid input at "filter.queue"'),
        ({"action": "cancel", "filter": {"from": "soon"}}, 'Invalid input at "filter.from"'),
        ({"action": "cancel", "runIds": ["a"], "name": True}, 'Expected string, received boolean at "name"'),
        (
            {"action": "cancel", "runIds": [], "name": "x" * 256},
            'element(s) at "runIds"; Name must be less than 255 characters at "name"',
        ),
    ],
)
def test_what_is_refused(body: Any, message: str) -> None:
    with pytest.raises(RefusedError) as raised:
        read_request(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert message in str(raised.value)


def test_what_is_taken() -> None:
    ids = [f"run_{number}" for number in range(500)]
    request = read_request(json.dumps({"action": "replay", "runIds": ids, "name": "x" * 255}).encode())
    assert (request.type, request.run_ids, request.filter, request.name) == ("REPLAY", ids, None, "x" * 255)
