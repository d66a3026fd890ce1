"""More runs than a few hundred: bulk actions go first, and what they leave out is canceled one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from airflow_provider_trigger.testing import TriggerDevServer


@pytest.fixture
def server() -> Iterator[TriggerDevServer]:
    with TriggerDevServer(rate_limit=None, bulk_duration=0.05, bulk_rate=None) as server:
        yield server


def sent(server: TriggerDevServer, method: str, part: str) -> int:
    return sum(one.method == method and part in one.path for one in list(server.requests))


def test_few_bulk_actions_cancel_the_given_runs_and_no_other_ones(server, cancel):
    bystander, foreign = server.add_run(), server.add_run(environment="staging")
    ended = [server.add_run(status).id for status in ("COMPLETED", "EXPIRED")]
    run_ids = [server.add_run().id for _ in range(501)]
    result = cancel(*run_ids, *ended, "run_unknown", foreign, on_not_found="ignore")
    assert result.error is None
    assert [one["run_id"] for one in result.results] == [*run_ids, *ended, "run_unknown", foreign.id]
    assert Counter(result.outcomes) == {"canceled": 501, "already_completed": 2, "not_found": 2}
    assert (bystander.status, foreign.status) == ("EXECUTING", "EXECUTING")
    assert sent(server, "POST", "bulk-actions") == 2
    assert sent(server, "POST", "/cancel") < 20


@pytest.mark.parametrize(
    "fault",
    [
        lambda server: server.hang_next(None, path="bulk-actions"),
        lambda server: server.disconnect_next(None, path="bulk-actions"),
        lambda server: server.fail_next(None, 500, path="bulk-actions/", method="GET"),
    ],
    ids=["no answer", "disconnect", "500 at its checks"],
)
def test_a_bulk_action_that_fails_takes_nothing_from_any_run(fault, server, connect, cancel):
    connect(timeout=6, retry_for=60)
    fault(server)
    runs = [server.add_run() for _ in range(301)]
    assert Counter(cancel(*runs).outcomes) == {"canceled": 301}
