"""More runs than a few hundred: bulk actions go first, and what they leave out is canceled one by one."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from waiting import until

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.endpoints.bulk_actions import MAX_SIZE
from airflow_provider_trigger.api.errors import AuthenticationError, NotFoundError
from airflow_provider_trigger.api.http import ServerSettings
from airflow_provider_trigger.cancel import bulk
from airflow_provider_trigger.cancel.cancellation import Cancellation
from airflow_provider_trigger.cancel.settings import CancelSettings
from airflow_provider_trigger.defaults import BULK_FROM, BULK_FROM_AT_A_STOP
from airflow_provider_trigger.run.checks import QUERY_ABOVE
from airflow_provider_trigger.run.drive import StoppedError, drive
from airflow_provider_trigger.run.steps import Cancel, Check
from airflow_provider_trigger.testing import TriggerDevServer

MANY = BULK_FROM + 1


@pytest.fixture
def server() -> Iterator[TriggerDevServer]:
    with TriggerDevServer(rate_limit=None, bulk_duration=0.05) as server:
        yield server


@pytest.fixture
def client(server: TriggerDevServer) -> Iterator[TriggerDevClient]:
    with new_client(server) as client:
        yield client


@pytest.fixture
def hasty_client(server: TriggerDevServer) -> Iterator[TriggerDevClient]:
    """A client that soon gives up; not for tests that count requests, as it also does on a busy machine."""
    with new_client(server, timeout=4, retry_for=4) as client:
        yield client


def new_client(server: TriggerDevServer, **options: Any) -> TriggerDevClient:
    settings = {"base_url": server.url, "secret_key": server.secret_key, "user_agent": "a test"} | options
    return TriggerDevClient(ServerSettings(**settings))


def cancellation(client: TriggerDevClient, run_ids: list[str], **options: Any) -> Cancellation:
    behavior = {name: options.pop(name) for name in ("is_stopped", "action_for") if name in options}
    return Cancellation(client, run_ids, CancelSettings(bulk_action_name="a test", **options), **behavior)


def add_runs(server: TriggerDevServer, count: int = MANY, status: str = "EXECUTING") -> list[str]:
    return [server.add_run(status).id for _ in range(count)]


def outcomes(client: TriggerDevClient, run_ids: list[str]) -> Counter[str]:
    results = cancellation(client, run_ids).run()
    assert [result.run_id for result in results] == run_ids
    print({result.error for result in results})  # shown where the test fails
    return Counter(result.outcome.value for result in results)


def methods(server: TriggerDevServer) -> Counter[str]:
    return Counter(
        "bulk" if "bulk-actions" in record.path else record.method for record in list(server.requests)
    )


def test_each_run_costs_one_check_and_little_more(server, client):
    run_ids = add_runs(server, 1001)
    assert outcomes(client, run_ids) == {"canceled": 1001}
    sent = methods(server)
    assert sent["GET"] == 1001
    assert sent["POST"] == 0
    assert sent["bulk"] <= 12
    assert {run.status for run in server.runs.values()} == {"CANCELED"}


def test_few_runs_need_no_bulk_action(server, client):
    outcomes(client, add_runs(server, BULK_FROM))
    assert methods(server) == {"POST": BULK_FROM, "GET": BULK_FROM}


def test_each_outcome_is_reported_as_without_bulk(server, client):
    elsewhere = server.add_environment("staging")
    other = server.add_run("EXECUTING", environment=elsewhere)
    run_ids = [
        *add_runs(server),
        server.add_run("COMPLETED").id,
        server.add_run("EXPIRED").id,
        "run_unknown",
        other.id,
    ]
    assert outcomes(client, run_ids) == {"canceled": MANY, "already_completed": 2, "not_found": 2}
    assert other.status == "EXECUTING"


def test_nothing_but_the_named_runs_is_touched(server, client):
    bystander = server.add_run("EXECUTING")
    outcomes(client, add_runs(server))
    assert bystander.status == "EXECUTING"


def test_runs_that_bulk_misses_are_canceled_one_by_one(server, client):
    server.bulk_lag = 3600
    old, fresh = add_runs(server), add_runs(server, 20)
    for run_id in old:
        server.runs[run_id].created_at -= timedelta(hours=2)
    assert outcomes(client, [*old, *fresh]) == {"canceled": MANY + 20}
    assert methods(server)["POST"] == 20


def test_what_bulk_missed_is_canceled_at_once_and_before_most_checks(server, client):
    """Of two actions the second missed the runs that were triggered last."""
    server.bulk_lag = 3600
    run_ids = add_runs(server, MAX_SIZE + 400)
    for run_id in run_ids[:-20]:
        server.runs[run_id].created_at -= timedelta(hours=2)
    results = cancellation(client, run_ids, max_concurrency=1).run()
    assert {result.outcome.value for result in results} == {"canceled"}
    sent = [
        (record.method, record.path.split("/")[4])
        for record in list(server.requests)
        if "bulk-actions" not in record.path
    ]
    # Of the first action some may be checked while the second one is still pending.
    begin = sent.index(("GET", run_ids[-1]))
    assert begin < MAX_SIZE / 2
    assert sent[begin : begin + 40] == [
        (method, run_id) for run_id in reversed(run_ids[-20:]) for method in ("GET", "POST")
    ]
    checks = [run_id for method, run_id in sent if method == "GET"]
    second = [run_id for run_id in checks if run_id in run_ids[MAX_SIZE:]]
    # The 20 once more, after their own cancels.
    assert second == [*reversed(run_ids[MAX_SIZE:]), *reversed(run_ids[-20:])]
    assert [run_id for run_id in checks if run_id not in second] == run_ids[MAX_SIZE - 1 :: -1]


def test_with_little_time_what_bulk_missed_is_canceled_all_the_same():
    """The bucket allows checks of fewer than half of the runs within the time."""
    bucket: dict[str, Any] = {"rate_limit": 250, "refill": 50, "refill_interval": 20}
    with TriggerDevServer(**bucket, bulk_lag=3600, bulk_duration=0.05) as server:
        run_ids = add_runs(server, MAX_SIZE + 100)
        for run_id in run_ids[:-20]:
            server.runs[run_id].created_at -= timedelta(hours=2)
        with new_client(server) as client:
            cancellation(client, run_ids, time_limit=12).run()
        assert {run.status for run in server.runs.values()} == {"CANCELED"}


def test_where_the_first_bulk_action_fails_all_runs_are_canceled_one_by_one_before_the_checks(server, client):
    run_ids = add_runs(server, MAX_SIZE + MANY)
    server.fail_next(1, 503, path="bulk-actions", method="POST")
    assert outcomes(client, run_ids) == {"canceled": len(run_ids)}
    own = [record.method for record in list(server.requests) if "bulk-actions" not in record.path]
    assert (own.count("POST"), own.count("GET")) == (len(run_ids), len(run_ids))
    # Cancels in flight may be overtaken by the first checks.
    assert "GET" not in own[: len(run_ids) - 31]


def test_where_a_check_after_bulk_fails_once_the_run_is_canceled_afterwards(server, client):
    server.bulk_lag = 3600
    old, fresh = add_runs(server), add_runs(server, 1)
    for run_id in old:
        server.runs[run_id].created_at -= timedelta(hours=2)
    server.fail_next(1, 503, path=fresh[0], method="GET")
    assert outcomes(client, [*old, *fresh]) == {"canceled": MANY + 1}
    assert methods(server)["POST"] == 1


def test_where_bulk_sees_no_run_no_check_is_wasted(server, client):
    server.bulk_lag = 3600
    assert outcomes(client, add_runs(server)) == {"canceled": MANY}
    sent = methods(server)
    assert (sent["POST"], sent["GET"]) == (MANY, MANY)


def test_an_older_server_without_bulk_actions_needs_one_request_more(server, client):
    server.bulk_actions = False
    assert outcomes(client, add_runs(server)) == {"canceled": MANY}
    assert methods(server) == {"bulk": 1, "POST": MANY, "GET": MANY}


@pytest.mark.parametrize(
    "fault",
    [
        lambda server: server.fail_next(None, 503, path="bulk-actions"),
        lambda server: server.fail_next(None, 403, path="bulk-actions"),
        lambda server: server.malformed_next(None, path="bulk-actions"),
        lambda server: server.malformed_next(None, "{}", "application/json", path="bulk-actions"),
        lambda server: server.hang_next(None, path="bulk-actions"),
        lambda server: server.disconnect_next(None, path="bulk-actions"),
        lambda server: server.fail_next(None, 500, path="bulk-actions/", method="GET"),
    ],
    ids=["503", "403", "HTML", "no id", "no answer", "disconnect", "500 at its checks"],
)
def test_a_bulk_action_that_fails_takes_nothing_from_any_run(fault, server, hasty_client):
    fault(server)
    assert outcomes(hasty_client, add_runs(server)) == {"canceled": MANY}


def test_a_bulk_action_without_progress_is_not_waited_for(server, client, monkeypatch):
    monkeypatch.setattr(bulk, "NO_PROGRESS_AFTER", 0.2)
    server.bulk_duration = None
    assert outcomes(client, add_runs(server)) == {"canceled": MANY}
    # No check shows anything before the cancels.
    assert (methods(server)["POST"], methods(server)["GET"]) == (MANY, MANY)


def test_a_slow_bulk_action_with_progress_is_waited_for_where_there_is_time(server, client, monkeypatch):
    monkeypatch.setattr(bulk, "NO_PROGRESS_AFTER", 2.5)
    server.bulk_rate = MANY / 4
    assert outcomes(client, add_runs(server)) == {"canceled": MANY}
    assert (methods(server)["POST"], methods(server)["GET"]) == (0, MANY)


def test_a_bulk_action_that_is_aborted_halfway_costs_the_other_runs_their_own_cancels(server, client):
    server.bulk_rate = 100
    run_ids = add_runs(server)

    def abort() -> None:
        until(
            lambda: any(action.counts["success"] > 50 for action in list(server.bulk.values())),
            "the action has canceled some runs",
        )
        server.bulk.abort(next(iter(server.bulk.values())))

    thread = threading.Thread(target=abort)
    thread.start()
    assert outcomes(client, run_ids) == {"canceled": MANY}
    thread.join()
    (action,) = server.bulk.values()
    assert methods(server)["POST"] == MANY - action.counts["success"]
    assert methods(server)["POST"] < MANY - 50


def test_the_runs_of_an_aborted_bulk_action_are_canceled_one_by_one(server, client):
    server.bulk_duration = 3600
    aborted = threading.Event()

    def abort() -> None:
        until(lambda: server.bulk, "there is a bulk action")
        server.bulk.abort(next(iter(server.bulk.values())))
        aborted.set()

    threading.Thread(target=abort).start()
    assert outcomes(client, add_runs(server)) == {"canceled": MANY}
    assert aborted.is_set()


def test_a_rejected_key_ends_it_after_one_request_more(server):
    run_ids = add_runs(server)
    with (
        new_client(server, secret_key="tr_prod_another") as client,
        pytest.raises(AuthenticationError),
    ):
        cancellation(client, run_ids).run()
    assert len(server.requests) == 2


def test_it_can_be_stopped_while_a_bulk_action_goes_on(server, client):
    server.bulk_duration = 3600
    run_ids = add_runs(server)
    work = cancellation(client, run_ids, is_stopped=lambda: methods(server)["bulk"] > 1)
    results = work.run()
    assert work.stopped
    assert {result.outcome.value for result in results} == {"failed"}
    assert methods(server)["POST"] == 0


# Of a wait in a worker


def wait_steps(*steps: Any) -> Any:
    replies = []
    for step in steps:
        replies.append((yield step))
    return replies


@pytest.mark.parametrize("has_query", [True, False])
def test_a_wait_cancels_many_runs_in_bulk_and_checks_them_by_a_query(server, client, has_query):
    server.query = has_query
    ids = (*add_runs(server, QUERY_ABOVE), "run_unknown")
    steps = wait_steps(Cancel(run_ids=ids), Check(run_ids=ids, is_fresh=True))
    replies: Any = drive(steps, client)
    results, seen = replies
    assert [one for one, result in results.items() if result.outcome.value != "canceled"] == ["run_unknown"]
    assert set(seen) == set(ids)
    assert isinstance(seen.pop("run_unknown"), NotFoundError)
    assert {run.status for run in seen.values()} == {"CANCELED"}
    checks = [record for record in server.requests if record.path.startswith("/api/v3/runs/")]
    assert (methods(server)["bulk"] > 0, len(checks) < QUERY_ABOVE) == (True, has_query)


def test_a_stop_ends_the_cancel_of_a_waits_runs(server, client):
    server.bulk_duration = 3600
    steps = wait_steps(Cancel(run_ids=tuple(add_runs(server, BULK_FROM_AT_A_STOP + 1))))
    with pytest.raises(StoppedError):
        drive(steps, client, is_stopped=lambda: bool(server.bulk))
    assert methods(server)["POST"] == 0
