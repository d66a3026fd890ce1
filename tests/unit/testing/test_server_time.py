"""Durations and dates, and a server on which everything happens faster than usual, by the test's clock."""

from __future__ import annotations

import pytest
from fake_clock import START, Clock

from airflow_provider_trigger.testing import ServerRun, TriggerDevServer
from airflow_provider_trigger.testing.engine.server_time import ServerTime, read_delay, read_duration


def test_durations() -> None:
    valid = {"10s": 10, "1h30m": 5400, "2hr": 7200, "1w2d3h4m5s": 788645, "0s": 0}
    assert {text: read_duration(text) for text in valid} == valid
    for text in ("", None, "5", "s", "1s1m", "-1s", "1 h", "1.5h"):
        assert read_duration(text) is None


def test_delays() -> None:
    time = ServerTime(clock=Clock().time)
    valid = {
        "10s": START + 10,
        "2100-01-01": 4102444800,
        "2100-01-01T00:00:00.500Z": 4102444800.5,
        "2100-01-01T01:00:00+01:00": 4102444800,
    }
    assert {text: read_delay(text, time) for text in valid} == valid
    for text in ("2020-01-01T00:00:00Z", "soon", None):
        assert read_delay(text, time) is None


def test_a_delay_is_shorter_on_a_fast_server_and_a_date_is_none_the_earlier() -> None:
    fast = ServerTime(clock=Clock().time, speed=100)
    assert read_delay("10s", fast) == START + 0.1
    assert read_delay("2100-01-01", fast) == 4102444800


@pytest.fixture
def server(clock: Clock) -> TriggerDevServer:
    return TriggerDevServer(clock=clock.time, speed=100, refill_interval=10)


def changes(run: ServerRun, clock: Clock) -> list[tuple[float, str]]:
    """Return the statuses of a run, and how many seconds of real time after its trigger each came."""
    seen: list[tuple[float, str]] = []
    begun = clock.now
    for hundredths in range(2000):
        clock.now = begun + hundredths / 100 + 0.000_001
        if not seen or seen[-1][1] != run.status:
            seen.append((hundredths / 100, run.status))
    return seen


@pytest.mark.parametrize(
    ("behavior", "options", "ends"),
    [
        ({"after": 600}, {}, [(0, "QUEUED"), (1, "EXECUTING"), (7, "COMPLETED")]),
        (
            {"after": 200, "waiting": 300},
            {},
            [(0, "QUEUED"), (1, "EXECUTING"), (2, "WAITING"), (5, "EXECUTING"), (6, "COMPLETED")],
        ),
        (
            {"after": 100},
            {"delay": "10m"},
            [(0, "DELAYED"), (6, "QUEUED"), (7, "EXECUTING"), (8, "COMPLETED")],
        ),
        (
            {"after": 100, "failures": 1, "retry_after": 200},
            {},
            [(0, "QUEUED"), (1, "EXECUTING"), (2, "QUEUED"), (4, "EXECUTING"), (5, "COMPLETED")],
        ),
    ],
)
def test_runs(server: TriggerDevServer, clock: Clock, behavior, options, ends) -> None:
    server.on_task("train", **{"start_after": 100, **behavior})
    run, _ = server.trigger("train", options=options)
    assert changes(run, clock) == ends


def test_added_runs_and_cancels(server: TriggerDevServer, clock: Clock) -> None:
    run = server.add_run("QUEUED", then=[(100, "EXECUTING"), (300, "COMPLETED")])
    assert changes(run, clock) == [(0, "QUEUED"), (1, "EXECUTING"), (3, "COMPLETED")]
    slow, lost = server.add_run(acknowledge_after=50), server.add_run(acknowledge_after=None)
    for one in (slow, lost):
        one.cancel()
    clock.now += 0.49
    assert (slow.terminated, lost.terminated) == (False, False)
    clock.now += 0.02
    assert (slow.terminated, lost.terminated) == (True, False)
    clock.now += 0.1
    assert lost.terminated


def test_keys_urls_and_tokens(server: TriggerDevServer, clock: Clock) -> None:
    options = {"idempotencyKey": "k", "idempotencyKeyTTL": "100s"}
    first, _ = server.trigger("train", options=options)
    server.take_tokens(750)
    clock.now += 0.09
    assert server.take_tokens(0) == 0
    clock.now += 0.02
    assert server.take_tokens(0) == 250
    assert server.trigger("train", options=options) == (first, True)
    clock.now += 1
    assert server.trigger("train", options=options)[0] is not first


def test_bulk_actions_and_deployments(server: TriggerDevServer, clock: Clock) -> None:
    server.bulk_duration, server.bulk_rate, server.bulk_lag = 200, 1 / 100, 100
    runs = [server.add_run("QUEUED") for _ in range(2)]
    ids = [run.id for run in runs]
    assert server.bulk.create(ids, environment=server.environment).members == ()
    clock.now += 1
    action = server.bulk.create(ids, environment=server.environment)
    clock.now += 3.5
    assert [run.status for run in runs] == ["CANCELED", "QUEUED"]
    clock.now += 1
    assert (action.status, [run.status for run in runs]) == ("COMPLETED", ["CANCELED", "CANCELED"])
    server.unknown_task("train")
    run, _ = server.trigger("train")
    clock.now += 1
    server.deploy("train")
    clock.now += 0.003
    assert run.status in ("QUEUED", "EXECUTING")


@pytest.mark.parametrize("speed", [0, -1])
def test_an_invalid_speed_is_an_error(speed: float) -> None:
    with pytest.raises(ValueError, match=r"speed=.*must be above 0"):
        TriggerDevServer(speed=speed)
