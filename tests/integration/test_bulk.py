"""More runs than a handful: bulk actions go ahead, and what they leave undone is done one by one."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest

from airflow_provider_trigger.api import bulk
from airflow_provider_trigger.api.cancellation import BULK_FROM, Cancellation
from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import AuthenticationError
from airflow_provider_trigger.testing import TriggerDevServer

MANY = BULK_FROM + 1


@pytest.fixture
def server() -> Iterator[TriggerDevServer]:
    with TriggerDevServer(rate_limit=None, bulk_duration=0.05) as server:
        yield server


@pytest.fixture
def client(server: TriggerDevServer) -> Iterator[TriggerDevClient]:
    with TriggerDevClient(
        base_url=server.url, secret_key=server.secret_key, timeout=1, retry_for=1
    ) as client:
        yield client


def add_runs(server: TriggerDevServer, count: int = MANY, status: str = "EXECUTING") -> list[str]:
    return [server.add_run(status).id for _ in range(count)]


def outcomes(client: TriggerDevClient, run_ids: list[str]) -> Counter[str]:
    results = Cancellation(client=client, run_ids=run_ids).run()
    assert [result.run_id for result in results] == run_ids
    return Counter(result.outcome.value for result in results)


def methods(server: TriggerDevServer) -> Counter[str]:
    return Counter(
        "bulk" if "bulk-actions" in record.path else record.method for record in list(server.requests)
    )


def test_each_run_costs_one_look_and_little_more(server, client):
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


def test_each_outcome_is_told_as_without_bulk(server, client):
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


def test_where_bulk_sees_none_no_look_is_wasted(server, client):
    server.bulk_lag = 3600
    assert outcomes(client, add_runs(server)) == {"canceled": MANY}
    sent = methods(server)
    assert (sent["POST"], sent["GET"]) == (MANY, MANY)


def test_an_older_server_without_bulk_actions_will_do(server, client):
    server.bulk_actions = False
    assert outcomes(client, add_runs(server)) == {"canceled": MANY}
    assert methods(server) == {"bulk": 1, "POST": MANY, "GET": MANY}


@pytest.mark.parametrize(
    "fault",
    [
        lambda server: server.fail_next(None, 503, path="bulk-actions"),
        lambda server: server.fail_next(None, 403, path="bulk-actions"),
        lambda server: server.garbage_next(None, path="bulk-actions"),
        lambda server: server.garbage_next(None, "{}", "application/json", path="bulk-actions"),
        lambda server: server.never_answer_next(None, path="bulk-actions"),
        lambda server: server.hang_up_next(None, path="bulk-actions"),
        lambda server: server.fail_next(None, 500, path="bulk-actions/", method="GET"),
    ],
    ids=["503", "403", "HTML", "no id", "no answer", "hang-up", "unreadable afterwards"],
)
def test_a_bulk_action_that_fails_takes_nothing_from_any_run(fault, server, client):
    fault(server)
    assert outcomes(client, add_runs(server)) == {"canceled": MANY}


def test_a_bulk_action_that_stalls_is_not_waited_for(server, client, monkeypatch):
    monkeypatch.setattr(bulk, "STALLS_AFTER", 0.2)
    server.bulk_duration = 3600
    assert outcomes(client, add_runs(server)) == {"canceled": MANY}


def test_an_aborted_bulk_action_is_made_up_for(server, client):
    server.bulk_duration = 3600
    aborted = threading.Event()

    def abort() -> None:
        while not server.bulk:
            time.sleep(0.01)
        server.bulk.abort(next(iter(server.bulk.values())))
        aborted.set()

    threading.Thread(target=abort).start()
    assert outcomes(client, add_runs(server)) == {"canceled": MANY}
    assert aborted.is_set()


def test_a_rejected_key_ends_it_at_once(server):
    run_ids = add_runs(server)
    with (
        TriggerDevClient(base_url=server.url, secret_key="tr_prod_another") as client,
        pytest.raises(AuthenticationError),
    ):
        Cancellation(client=client, run_ids=run_ids).run()
    assert len(server.requests) == 1


def test_it_can_be_stopped_while_a_bulk_action_goes_on(server, client):
    server.bulk_duration = 3600
    run_ids = add_runs(server)
    started_at = time.monotonic()
    work = Cancellation(
        client=client, run_ids=run_ids, is_stopped=lambda: time.monotonic() > started_at + 0.5
    )
    results = work.run()
    assert time.monotonic() - started_at < 2
    assert work.stopped
    assert {result.outcome.value for result in results} == {"failed"}
    assert methods(server)["POST"] == 0
