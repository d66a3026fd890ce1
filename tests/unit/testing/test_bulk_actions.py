"""Bulk actions, by a clock that the test sets, and which requests for one are valid."""

from __future__ import annotations

import json

import pytest
from fake_clock import Clock

from airflow_provider_trigger.testing import BulkAction, ServerRun, TriggerDevServer
from airflow_provider_trigger.testing.routes.bulk_actions import read_request
from airflow_provider_trigger.testing.routes.calls import InvalidBodyError


@pytest.fixture
def server(clock: Clock) -> TriggerDevServer:
    return TriggerDevServer(clock=clock.time, bulk_duration=2, bulk_rate=None, acknowledge_after=5)


def begin(server: TriggerDevServer, *runs: ServerRun) -> BulkAction:
    return server.bulk.create([run.id for run in runs], environment=server.environment)


def counts(action: BulkAction) -> tuple[int, int, int]:
    total, success, failure = action.counts.values()
    return total, success, failure


def test_a_slow_one_cancels_over_time_and_raises_its_counts_for_each_100_runs(
    server: TriggerDevServer, clock: Clock
) -> None:
    server.bulk_rate = 50
    runs = [server.add_run("COMPLETED" if number == 3 else "QUEUED") for number in range(250)]
    action, seen = begin(server, *runs), []
    for _ in range(7):
        clock.now += 1
        canceled = sum(run.status == "CANCELED" for run in runs)
        seen.append((action.status, *counts(action), canceled))
    assert seen == [
        ("PENDING", 250, 0, 0, 0),
        ("PENDING", 250, 0, 0, 0),
        ("PENDING", 250, 0, 0, 49),
        ("PENDING", 250, 99, 1, 99),
        ("PENDING", 250, 99, 1, 149),
        ("PENDING", 250, 199, 1, 199),
        ("COMPLETED", 250, 249, 1, 249),
    ]


def test_it_processes_the_runs_of_its_environment_once_but_not_the_youngest(
    server: TriggerDevServer, clock: Clock
) -> None:
    run, foreign = server.add_run(), server.add_run(environment="dev")
    assert begin(server, run, foreign, run).members == (run,)
    assert server.bulk.create(["run_unknown"], environment=server.environment).members == ()
    server.bulk_lag = 1.5
    clock.now += 1.4
    assert begin(server, run).members == ()
    clock.now += 0.1
    assert begin(server, run).members == (run,)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\xff", "Invalid JSON"),
        ({"action": None}, "Invalid discriminator value. Expected 'cancel' | 'replay'"),
        ({"runIds": ["a", 1]}, 'Expected string, received number at "runIds[1]"'),
        (
            {"runIds": [], "name": "x" * 256},
            'element(s) at "runIds"; Name must be less than 255 characters at "name"',
        ),
        (b'{"action": "cancel", "filter": {"batch": "x"}}', "only cancels runs by their ids"),
    ],
)
def test_invalid_bulk_actions(body, message: str) -> None:
    if isinstance(body, dict):
        body = json.dumps({"action": "cancel", "runIds": ["a"]} | body).encode()
    with pytest.raises(InvalidBodyError) as raised:
        read_request(body)
    assert message in str(raised.value)
    assert raised.value.status == (501 if "only" in message else 400)
