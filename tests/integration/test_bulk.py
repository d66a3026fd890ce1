"""More runs than a handful: bulk actions go ahead, and what they leave undone is done one by one."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import AuthenticationError
from airflow_provider_trigger.cancel import bulk
from airflow_provider_trigger.cancel.cancellation import BULK_FROM, Cancellation
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


def test_what_bulk_missed_is_asked_at_once_and_before_most_looks(server, client):
    """Of two actions the second missed the runs that were triggered last."""
    server.bulk_lag = 3600
    run_ids = add_runs(server, bulk.MAX_SIZE + 400)
    for run_id in run_ids[:-20]:
        server.runs[run_id].created_at -= timedelta(hours=2)
    results = Cancellation(client=client, run_ids=run_ids, max_concurrency=1).run()
    assert {result.outcome.value for result in results} == {"canceled"}
    sent = [record for record in list(server.requests) if "bulk-actions" not in record.path]
    assert [record.method for record in sent[:40]] == ["GET", "POST"] * 20
    looks = [record.path.split("/")[4] for record in sent if record.method == "GET"]
    # The 20 once more, when all are asked to stop.
    assert looks == [*reversed(run_ids[bulk.MAX_SIZE :]), *reversed(run_ids[: bulk.MAX_SIZE]), *run_ids[-20:]]


def test_with_little_time_what_bulk_missed_is_canceled_all_the_same():
    """The bucket allows looks at fewer than half of the runs within the time."""
    bucket = {"rate_limit": 250, "refill": 50, "refill_interval": 10}
    with TriggerDevServer(**bucket, bulk_lag=3600, bulk_duration=0.05) as server:
        run_ids = add_runs(server, bulk.MAX_SIZE + 100)
        for run_id in run_ids[:-20]:
            server.runs[run_id].created_at -= timedelta(hours=2)
        with TriggerDevClient(base_url=server.url, secret_key=server.secret_key) as client:
            Cancellation(client=client, run_ids=run_ids, time_limit=3).run()
        assert {run.status for run in server.runs.values()} == {"CANCELED"}


def test_runs_of_a_bulk_action_that_failed_are_asked_before_the_first_look(server, client):
    run_ids = add_runs(server, bulk.MAX_SIZE + MANY)
    server.fail_next(1, 503, path="bulk-actions", method="POST")
    assert outcomes(client, run_ids) == {"canceled": len(run_ids)}
    own = [record.method for record in list(server.requests) if "bulk-actions" not in record.path]
    asked = own.count("POST")
    assert asked in (bulk.MAX_SIZE, MANY)
    assert own == ["POST"] * asked + ["GET"] * len(run_ids)


def test_where_a_look_after_bulk_fails_the_run_is_asked_afterwards(server, client):
    server.bulk_lag = 3600
    old, fresh = add_runs(server), add_runs(server, 1)
    for run_id in old:
        server.runs[run_id].created_at -= timedelta(hours=2)
    server.fail_next(1, 503, path=fresh[0], method="GET")
    assert outcomes(client, [*old, *fresh]) == {"canceled": MANY + 1}
    assert methods(server)["POST"] == 1


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
