"""How runs begin: keys, delays, versions, replays; by a clock that the test sets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from fake_clock import START, Clock

from airflow_provider_trigger.testing import UNSET, ServerRun, TriggerDevServer
from airflow_provider_trigger.testing.engine.states import ALIVE, FINAL

DAY = 86400
RELEASING = ("FAILED", "CRASHED", "TIMED_OUT", "SYSTEM_FAILURE", "EXPIRED")


@pytest.fixture
def server(clock: Clock) -> TriggerDevServer:
    server = TriggerDevServer(clock=clock.time)
    server.on_task("parked", start_after=None)
    return server


def trigger(server: TriggerDevServer, task: str = "parked", **arguments: Any) -> tuple[ServerRun, bool]:
    options = {"idempotencyKey": "k"} | arguments.pop("options", {})
    return server.trigger(task, options=options, **arguments)


# Idempotency keys


@pytest.mark.parametrize("status", [*ALIVE, *FINAL])
def test_which_states_release_a_key(server: TriggerDevServer, status: str) -> None:
    first, _ = trigger(server, payload=1)
    first.status = status
    second, is_cached = trigger(server, payload=2)
    released = status in RELEASING
    assert (is_cached, second is first) == (not released, not released)
    assert first.idempotency_key == (None if released else "k")
    assert trigger(server) == (second, True)
    assert (second.payload, second.idempotency_key) == (2 if released else 1, "k")


def test_an_expired_run_that_was_canceled_keeps_its_key(server: TriggerDevServer) -> None:
    run, _ = trigger(server)
    run.status = "EXPIRED"
    run.cancel()
    assert run.status == "CANCELED"
    assert trigger(server) == (run, True)


def test_a_key_belongs_to_an_environment_and_a_task(server: TriggerDevServer) -> None:
    made = [trigger(server), trigger(server, "other"), trigger(server, environment="dev")]
    assert [is_cached for _, is_cached in made] == [False] * 3
    assert trigger(server, environment="dev") == (made[2][0], True)


@pytest.mark.parametrize(
    ("lifetime", "seconds"), [("2s", 2), ("1h", 3600), (None, 30 * DAY), ("", 30 * DAY), ("5", 30 * DAY)]
)
def test_how_long_a_key_is_kept(
    server: TriggerDevServer, clock: Clock, lifetime: str | None, seconds: float
) -> None:
    options = {} if lifetime is None else {"idempotencyKeyTTL": lifetime}
    first, _ = trigger(server, options=options)
    clock.now += seconds - 0.1
    assert trigger(server) == (first, True)
    clock.now += 0.2
    second, is_cached = trigger(server)
    assert (is_cached, second is first, first.idempotency_key) == (False, False, None)


@pytest.mark.parametrize("key", ["", None])
def test_no_key(server: TriggerDevServer, key: str | None) -> None:
    made = [trigger(server, options={"idempotencyKey": key}) for _ in range(2)]
    assert made[0][0] is not made[1][0]
    assert {(run.idempotency_key, is_cached) for run, is_cached in made} == {(None, False)}


def test_reset(server: TriggerDevServer, clock: Clock) -> None:
    run, _ = trigger(server)
    clock.now += 1
    assert server.reset_key("k", "other") is None
    assert server.reset_key("k", "parked", environment="dev") is None
    assert server.reset_key("k", "parked") is run
    assert server.reset_key("k", "parked") is None
    assert (run.status, run.idempotency_key) == ("QUEUED", None)
    assert run.updated_at > run.created_at
    assert trigger(server)[0] is not run


def test_an_added_run_may_hold_a_key(server: TriggerDevServer) -> None:
    run = server.add_run("EXECUTING", task_identifier="parked", idempotency_key="k")
    assert trigger(server) == (run, True)


# Delays and lifetimes


@pytest.mark.parametrize("delay", ["1h", datetime.fromtimestamp(START + 3600, UTC).isoformat()])
def test_a_delayed_run(server: TriggerDevServer, clock: Clock, delay: str) -> None:
    run, _ = trigger(server, "resize", options={"delay": delay})
    clock.now += 3599
    assert (run.status, run.delayed_until.timestamp()) == ("DELAYED", START + 3600)
    clock.now += 1
    assert run.status == "QUEUED"
    clock.now += 1
    assert run.status == "COMPLETED"


@pytest.mark.parametrize("delay", ["soon", "5", "2020-01-01T00:00:00Z", ""])
def test_a_useless_delay_is_ignored(server: TriggerDevServer, delay: str) -> None:
    run, _ = trigger(server, options={"delay": delay})
    assert (run.status, run.delayed_until) == ("QUEUED", None)


def test_a_run_expires_only_while_it_is_queued(server: TriggerDevServer, clock: Clock) -> None:
    options = {"ttl": "10s", "idempotencyKey": None}
    queued, _ = trigger(server, options=options)
    delayed, _ = trigger(server, options=options | {"delay": "1m"})
    server.on_task("slow", after=None)
    executing, _ = trigger(server, "slow", options=options)
    clock.now += 9
    assert queued.status == "QUEUED"
    clock.now += 2
    assert (queued.status, delayed.status, executing.status) == ("EXPIRED", "DELAYED", "EXECUTING")
    assert queued.error == {"message": "Run expired because the TTL was reached"}
    assert queued.terminated
    clock.now += 60
    assert (delayed.status, executing.status) == ("EXPIRED", "EXECUTING")


@pytest.mark.parametrize("ttl", ["abc", "", None])
def test_a_useless_lifetime_is_ignored(server: TriggerDevServer, clock: Clock, ttl: str | None) -> None:
    run, _ = trigger(server, options={"ttl": ttl})
    clock.now += 30 * DAY
    assert run.status == "QUEUED"


def test_reschedule(server: TriggerDevServer, clock: Clock) -> None:
    run, _ = trigger(server, "resize", options={"delay": "1h", "ttl": "5m"})
    added = server.add_run("DELAYED")
    clock.now += 1
    for delayed in (run, added):
        assert server.reschedule(delayed, clock.time() + 10)
        assert (delayed.status, delayed.updated_at.timestamp()) == ("DELAYED", clock.time())
    clock.now += 12
    assert (run.status, added.status) == ("COMPLETED", "COMPLETED")
    assert not server.reschedule(run, clock.time() + 10)


# Versions


def test_an_unknown_task_waits_for_a_version(server: TriggerDevServer, clock: Clock) -> None:
    server.unknown_task("resize")
    run, _ = trigger(server, "resize", options={"ttl": "3s"})
    delayed, _ = trigger(server, "resize", options={"delay": "1h", "idempotencyKey": "d"})
    assert run.status == "QUEUED"
    clock.now += 13
    assert (run.status, delayed.status) == ("PENDING_VERSION", "DELAYED")
    clock.now += 3600
    assert delayed.status == "PENDING_VERSION"
    server.deploy("resize")
    assert run.status == "PENDING_VERSION"
    clock.now += 0.2
    assert run.status == "QUEUED"
    clock.now += 1
    assert (run.status, delayed.status, run.version) == ("COMPLETED", "COMPLETED", "20261125.2")


def test_what_was_due_before_is_not_changed_by_a_deployment(server: TriggerDevServer, clock: Clock) -> None:
    before, _ = trigger(server, "resize")
    clock.now += 0.15
    server.unknown_task("resize")
    clock.now += 1
    after, _ = trigger(server, "resize", options={"idempotencyKey": "2"})
    clock.now += 1
    assert (before.status, after.status) == ("COMPLETED", "PENDING_VERSION")


def test_no_worker_asks(server: TriggerDevServer, clock: Clock) -> None:
    server.unknown_task("parked")
    run, _ = trigger(server)
    clock.now += 1000
    assert run.status == "QUEUED"


def test_an_unknown_queue_stays_unknown(server: TriggerDevServer, clock: Clock) -> None:
    server.unknown_queue("q")
    run, _ = trigger(server, "resize", options={"queue": {"name": "q"}})
    other, _ = trigger(server, "resize", options={"queue": {"name": "r"}, "idempotencyKey": "2"})
    clock.now += 1
    server.deploy("resize")
    clock.now += 1
    assert (run.status, other.status) == ("PENDING_VERSION", "COMPLETED")


# Replays


def test_what_a_replay_keeps(server: TriggerDevServer, clock: Clock) -> None:
    kept = {"queue": {"name": "q"}, "concurrencyKey": "c", "machine": "micro", "region": "r", "test": True}
    dropped = {"ttl": "1h", "delay": "1h", "maxAttempts": 2, "maxDuration": 5, "priority": 1}
    shared = {"tags": ["b", "a"], "metadata": {"m": 1}}
    run, _ = trigger(server, payload={"p": None}, options=kept | dropped | shared)
    run.cancel()
    again = server.replay(run)
    assert again is not run
    assert (run.status, run.idempotency_key, again.status) == ("CANCELED", "k", "QUEUED")
    assert (again.idempotency_key, again.ttl, again.delayed_until) == (None, None, None)
    assert (again.task_identifier, again.payload, again.metadata) == ("parked", {"p": None}, {"m": 1})
    assert (again.tags, again.options) == (("a", "b"), kept | {"tags": ["a", "b"], "metadata": {"m": 1}})


@pytest.mark.parametrize("status", [*ALIVE, *FINAL])
def test_every_run_can_be_replayed(server: TriggerDevServer, clock: Clock, status: str) -> None:
    run = server.add_run(status, task_identifier="resize")
    again = server.replay(run)
    assert again.payload is UNSET
    clock.now += 1
    assert (run.status, again.status) == (status, "COMPLETED")
