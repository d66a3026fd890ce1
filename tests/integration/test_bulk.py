"""More runs than a few hundred: bulk actions go first, and what they leave out is canceled one by one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest
from waiting import LONG, until

from airflow_provider_trigger.cancel import bulk
from airflow_provider_trigger.defaults import BULK_FROM
from airflow_provider_trigger.testing import TriggerDevServer

MANY = BULK_FROM + 1
AT_ONCE = 500  # runs in a bulk action


@pytest.fixture
def server() -> Iterator[TriggerDevServer]:
    with TriggerDevServer(rate_limit=None, bulk_duration=0.05, bulk_rate=None) as server:
        yield server


def add_runs(server: TriggerDevServer, count: int = MANY, *, age: float = 0) -> list[str]:
    """Add runs that execute, and were triggered some seconds ago."""
    runs = [server.add_run() for _ in range(count)]
    for run in runs:
        run.created_at -= timedelta(seconds=age)
    return [run.id for run in runs]


def sent(server: TriggerDevServer) -> Counter[str]:
    """How many requests of each kind the server got."""
    return Counter(
        f"bulk {record.method}" if "bulk-actions" in record.path else record.method
        for record in list(server.requests)
    )


def test_each_run_costs_one_check_and_little_more_and_no_other_run_is_touched(server, cancel):
    bystander, foreign = server.add_run(), server.add_run(environment="staging")
    ended = [server.add_run(status).id for status in ("COMPLETED", "EXPIRED")]
    run_ids = add_runs(server, AT_ONCE + 1)
    result = cancel(*run_ids, *ended, "run_unknown", foreign, on_not_found="ignore")
    assert result.error is None
    assert [one["run_id"] for one in result.results] == [*run_ids, *ended, "run_unknown", foreign.id]
    assert Counter(result.outcomes) == {"canceled": AT_ONCE + 1, "already_completed": 2, "not_found": 2}
    assert (bystander.status, foreign.status) == ("EXECUTING", "EXECUTING")
    assert sent(server)["bulk POST"] == 2
    own = Counter(
        (record.method, record.path.split("/")[4])
        for record in server.requests
        if "bulk-actions" not in record.path
    )
    assert {(own["GET", run_id], own["POST", run_id]) for run_id in run_ids} == {(1, 0)}


@pytest.mark.parametrize(
    "fault",
    [
        lambda server: setattr(server, "bulk_actions", False),
        lambda server: server.hang_next(None, path="bulk-actions"),
        lambda server: server.disconnect_next(None, path="bulk-actions"),
        lambda server: server.fail_next(None, 500, path="bulk-actions/", method="GET"),
    ],
    ids=["an older server", "no answer", "disconnect", "500 at its checks"],
)
def test_a_bulk_action_that_fails_takes_nothing_from_any_run(fault, server, connect, cancel):
    connect(timeout=6, retry_for=60)
    fault(server)
    assert Counter(cancel(*add_runs(server)).outcomes) == {"canceled": MANY}


def test_an_accepted_bulk_action_is_not_reported_as_not_sent_when_the_task_is_killed(
    server, make_operator, execute, monkeypatch
):
    monkeypatch.setattr(bulk, "NO_PROGRESS_AFTER", LONG)
    server.bulk_duration = LONG
    operator = make_operator(*add_runs(server))

    def kill() -> None:
        until(lambda: sent(server)["bulk GET"], "the action is checked")
        operator.on_kill()

    threading.Thread(target=kill, daemon=True).start()
    result = execute(operator)
    assert sent(server)["POST"] == 0
    (bulk_id,) = server.bulk
    assert len(result.results) == MANY
    reasons = tuple(f"cancel requested {by} bulk action {bulk_id}" for by in ("by", "only by"))
    assert [one["error"] for one in result.results if not one["error"].startswith(reasons)] == []
