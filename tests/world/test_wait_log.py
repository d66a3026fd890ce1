"""What a wait logs of its runs, each of a few, many together, and when its runs are checked."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from world import World

from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor

GET = "GET /api/v3/runs/"


def operator(world: World, **arguments: Any) -> Any:
    given = {"task_id": "start", "task_identifier": "resize", "deferrable": False} | arguments
    return world.task(lambda: RunTriggerTaskOperator(**given))


def batch(world: World, count: int, **arguments: Any) -> Any:
    given = {"task_id": "start", "task_identifier": "resize", "deferrable": True} | arguments
    return world.task(lambda: RunTriggerTaskBatchOperator(payloads=list(range(count)), **given))


def lines(world: World, part: str) -> list[str]:
    return [line.partition(", attempt")[0] for line in world.log.lines if part in line]


@pytest.mark.parametrize(("poll_interval", "pauses"), [(7, {7.0}), (None, {2.0, 2.5})])
def test_when_a_run_is_checked(world: World, poll_interval: float | None, pauses: set[float]) -> None:
    world.server.on_task("resize", start_after=0, after=26)
    operator(world, poll_interval=poll_interval).run()
    checked = [one.at for one in world.network.sent if one.request.startswith(GET)]
    assert {round((later - earlier) * 2) / 2 for earlier, later in pairwise(checked)} == pauses


@pytest.mark.parametrize("is_canceled", [True, False])
def test_each_wait_for_a_version_is_a_warning_with_what_follows(world: World, is_canceled: bool) -> None:
    then = [(20, "QUEUED"), (40, "PENDING_VERSION"), (60, "QUEUED"), (80, "COMPLETED")]
    run = world.server.add_run("PENDING_VERSION", then=then)
    limit = 60 if is_canceled else None
    hook = TriggerDevHook()
    assert hook.wait_for_run(run.id, pending_version_timeout=limit, poll_interval=2).status == "COMPLETED"
    warnings = world.log.of("warning")
    assert len(warnings) == 2
    for warning in warnings:
        assert warning.startswith(f"Run {run.id} cannot start (PENDING_VERSION): no deployed version in ")
        end = ". After 60 s (pending_version_timeout) the wait ends" if is_canceled else "of the secret key"
        assert warning.endswith(end)


def test_of_several_runs_each_one_that_fails_and_the_cancel_of_the_others_is_a_line(world: World) -> None:
    world.server.on_task("resize", after=None)
    world.server.on_task("resize", times=1, after=11, error="boom")
    world.server.on_task("resize", times=1, after=10)
    batch(world, 3, cancel_others=True).run()
    failed, _, other = world.server.runs
    ends = [f"Run {failed} is FAILED", f"Run {other} is CANCELED"]
    assert [line for line in lines(world, "Run run_") if " is " in line] == ends
    assert lines(world, "Canceling ") == [f"Canceling run {other}: another run has failed"]


def test_the_line_of_five_minutes_says_since_when_no_check_has_shown_the_run(world: World) -> None:
    world.server.on_task("resize", start_after=0, after=390)
    operator(world, poll_interval=360).run()
    line, *_ = lines(world, " is still ")
    assert line.endswith("EXECUTING after 5 minutes; no check has shown it for 5 minutes")


def test_runs_that_go_on_are_a_line_each_five_minutes(world: World) -> None:
    world.server.on_task("resize", start_after=0, after=390)
    operator(world).run()
    first = next(iter(world.server.runs))
    assert lines(world, " is still ") == [f"Run {first} is still EXECUTING after 5 minutes"]
    ids = [world.server.add_run("EXECUTING", then=[(390, "COMPLETED")]).id for _ in range(2)]
    world.task(lambda: TriggerRunSensor(task_id="wait", run_ids=ids, deferrable=True)).run()
    assert f"Waiting for 2 runs ({', '.join(ids)})" in world.log.lines
    counts = ["0 of 2 runs have ended: 2 EXECUTING", "2 of 2 runs have ended: 2 COMPLETED"]
    assert lines(world, "have ended: ") == counts


def test_the_progress_of_a_batch_is_a_line_each_30_s(world: World) -> None:
    world.server.on_task("resize", start_after=0, after=40)
    world.server.on_task("resize", times=1, start_after=0, after=75, error="boom")
    batch(world, 3, fail_on="never").run()
    assert lines(world, "have ended: ") == [
        "0 of 3 runs have ended: 3 EXECUTING",
        "2 of 3 runs have ended: 2 COMPLETED, 1 EXECUTING",
        "3 of 3 runs have ended: 2 COMPLETED, 1 FAILED",
    ]


def test_of_checks_that_fail_some_the_log_says_how_many_and_who_is_seen_again(world: World) -> None:
    world.server.on_task("resize", after=200)
    task = batch(world, 3, deferrable=False, fail_on="never").begin()
    world.sleep(30)
    rejected, late, _ = world.server.runs
    now = world.hub.now
    world.network.fault("404", f"{GET}{rejected}")
    world.network.fault("404", f"{GET}{late}", start=now, end=now + 30)
    assert [one and "ok" for one in task.join().result or [None]][:1] == [None]
    assert lines(world, " have failed for 0 s; still waiting: ")[0].startswith("Status checks of run ")
    [line] = lines(world, " can be checked again after ")
    assert line.startswith(f"Run {late} ")


def test_each_run_has_an_outcome_of_its_own_at_the_time_limit(world: World) -> None:
    world.server.on_task("resize", after=None)
    world.server.on_task("resize", times=1, after=57)
    task = batch(world, 3, deferrable=False, poll_interval=50, timeout=60).begin()
    world.sleep(10)
    ended, alive, refused = world.server.runs
    world.network.fault("403", f"{refused}/cancel")
    assert task.join().state == "failed"
    assert [(one["run_id"], one["status"]) for one in task.pushed["results"]] == [
        (ended, "COMPLETED"),
        (alive, "CANCELED"),
        (refused, "EXECUTING"),
    ]
    assert lines(world, f"Canceling 3 runs ({ended}, {alive}, {refused}): the time limit was reached")


@pytest.mark.parametrize("is_seen", [True, False])
@pytest.mark.parametrize("has_ended", [True, False])
def test_a_wait_checks_its_run_once_more_at_its_limit(world: World, is_seen: bool, has_ended: bool) -> None:
    run = world.server.add_run("EXECUTING", then=[(59, "COMPLETED")] * has_ended)
    if not is_seen:
        world.network.outage(after=55)
    hook = TriggerDevHook()
    if is_seen and has_ended:
        assert hook.wait_for_run(run.id, timeout=60, poll_interval=50).status == "COMPLETED"
    else:
        with pytest.raises(TimeoutError) as raised:
            hook.wait_for_run(run.id, timeout=60, poll_interval=50)
        assert ("its last check failed: " in str(raised.value)) is not is_seen
    assert world.now < 75
    assert not world.network.requests("/cancel")


def test_an_outage_that_ends_between_two_requests_ends_no_wait(world: World) -> None:
    world.server.on_task("resize", after=300, output="done")
    task = operator(world, deferrable=True).begin()
    world.sleep(30)
    for part in (GET, "POST /api/v1/query"):
        world.network.fault("500", part)
    world.network.before = lambda request: request == "GET /api/v1/runs" and world.network.faults.clear()
    assert task.join().result == "done"
    assert world.network.requests("GET /api/v1/runs")


def test_a_check_that_fails_puts_the_cancel_of_a_run_without_a_version_off(world: World) -> None:
    world.server.on_task("resize", after=60)
    world.server.unknown_task("resize")
    task = operator(world, pending_version_timeout=120).begin()
    world.network.outage("lost", after=115, seconds=100)
    task.join()
    assert world.network.statuses() == ["CANCELED"]
    assert 215 < world.now < 240


def test_a_run_that_never_was_ends_a_wait_after_30_s_at_least(world: World) -> None:
    world.connect(retry_for=0)
    with pytest.raises(Exception, match="run_unknown answered 404"):
        TriggerDevHook().wait_for_run("run_unknown")
    assert 30 <= world.now < 45


@pytest.mark.parametrize(
    ("kind", "headers"),
    [("hang", {}), ("refused", {}), ("500", {}), ("429", {}), ("429", {"retry-after": "60"})],
)
@pytest.mark.parametrize("begins", [0, 2, 50])
@pytest.mark.parametrize("timeout", [3, 61])
def test_the_time_limit_of_own_code_holds_within_a_second_whatever_the_server_does(
    world: World, kind: str, headers: dict[str, str], begins: float, timeout: float
) -> None:
    run = world.server.add_run("EXECUTING")
    world.network.fault(kind, start=world.hub.now + begins, headers=headers)
    with pytest.raises(TimeoutError, match="timeout"):
        TriggerDevHook().wait_for_run(run.id, timeout=timeout)
    assert timeout <= world.now <= timeout + 1


@pytest.mark.parametrize(("latency", "timeout"), [(1.0, 1), (2.0, 2), (4.0, 10), (4.0, 60)])
def test_a_slow_server_shows_an_end_before_the_time_limit_of_own_code(
    world: World, latency: float, timeout: float
) -> None:
    run = world.server.add_run("EXECUTING", then=[(timeout / 2, "COMPLETED")])
    world.network.latency = (latency, latency)
    world.sleep(timeout / 2)
    assert TriggerDevHook().wait_for_run(run.id, timeout=timeout).status == "COMPLETED"
