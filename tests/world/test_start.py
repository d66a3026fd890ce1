"""Exactly one run for each task instance, whatever is lost on the way, and over its retries."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
from airflow_names import AIRFLOW_URL
from world import World

from airflow_provider_trigger._compat import BaseOperator
from airflow_provider_trigger.exceptions import TriggerRunNotStartedError
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.testing.engine import settings

LOST = ("refused", "lost", "hang", "503", "page")


def one(**arguments: Any) -> Any:
    given = {"task_id": "start", "task_identifier": "resize"} | arguments
    return lambda: RunTriggerTaskOperator(**given)


def many(count: int, **arguments: Any) -> Any:
    given = {"task_id": "start", "task_identifier": "resize", "payloads": list(range(count))} | arguments
    return lambda: RunTriggerTaskBatchOperator(**given)


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", LOST)
def test_a_lost_start_is_sent_again_and_starts_one_run(world: World, kind: str, is_after: bool) -> None:
    world.server.on_task("resize", after=5, output="done")
    world.network.fault(kind, "/trigger", times=2, after=is_after)
    outcome = world.task(one()).run()
    assert (outcome.state, outcome.result, outcome.tries) == ("success", "done", 1)
    assert len(world.server.runs) == 1


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", LOST)
def test_a_batch_whose_answers_are_lost_has_each_run_once(world: World, kind: str, is_after: bool) -> None:
    world.server.on_task("resize", after=5, output="done")
    world.network.fault(kind, "POST /api/v", times=3, after=is_after)
    outcome = world.task(many(50)).run()
    assert outcome.state == "success"
    assert sorted(run.payload for run in world.server.runs.values()) == list(range(50))


ENDS_OF_A_LOST_START = {
    1: ": POST /api/v1/tasks/resize/trigger .* A run may exist: a retry, or another request with its ",
    2: ": items 0 to 1 of the batch: POST /api/v2/tasks/batch .* may exist: a retry gets them, and starts ",
    21: ": item 20 of the batch: POST /api/v1/tasks/resize/trigger .* may exist: a retry, or another ",
}


@pytest.mark.parametrize("count", ENDS_OF_A_LOST_START)
def test_where_the_answer_is_lost_for_good_the_error_says_who_gets_runs(world: World, count: int) -> None:
    world.server.on_task("resize", after=5)
    path = "/batch" if count == 2 else "/trigger"
    lost = world.network.fault("lost", path, after=True)
    task = world.task(many(count), retries=1).begin()
    world.until(lambda: task.outcome.state == "up_for_retry")
    error = str(task.outcome.error)
    assert re.search(ENDS_OF_A_LOST_START[count], error)
    assert error.count("may exist") == 1
    world.network.faults.remove(lost)
    assert task.join().state == "success"
    assert sorted(run.payload for run in world.server.runs.values() if run.status == "COMPLETED") == list(
        range(count)
    )


@pytest.mark.parametrize("kind", ["refused", "429", "403"])
def test_of_a_lost_start_that_then_fails_otherwise_a_run_may_exist(world: World, kind: str) -> None:
    world.server.on_task("resize", after=None)
    world.network.fault("hang", "/trigger", after=True, times=1)
    world.network.fault(kind, "/trigger")
    assert "A run may exist: a retry, or another request" in str(world.task(one()).run().error)


def test_a_lost_start_may_have_made_a_run_also_where_the_key_was_changed_after_it(world: World) -> None:
    world.server.on_task("resize", after=None)
    world.network.fault("lost", "/trigger", after=True, times=1)
    world.network.fault("401", "/trigger", times=2)
    world.network.fault("403", "/trigger")
    task = world.task(one()).begin()
    world.sleep(0.1)
    world.connect("tr_prod_the_new_one")
    assert "A run may exist: a retry, or another request" in str(task.join().error)
    assert "403" in str(task.outcome.error)


def test_a_search_that_the_server_rejects_is_no_rejected_start(world: World) -> None:
    world.server.on_task("resize", after=5)
    task = world.task(many(2, reuse_completed=True))
    assert task.run().state == "success"
    world.network.fault("422", "GET /api/v1/runs")
    outcome = task.clear().join()
    assert outcome.state == "failed"
    assert not isinstance(outcome.error, TriggerRunNotStartedError)


@pytest.mark.parametrize("kind", ["lost", "page", "503", "408", "499", "103"])
def test_without_a_key_a_lost_answer_fails_the_task_for_good(world: World, kind: str) -> None:
    world.network.fault(kind, "/trigger", after=True)
    outcome = world.task(one(idempotency_key=None), retries=1).run()
    text = "The request is not repeated, as it has no idempotency key, and a run may exist: look for it in "
    assert text in str(outcome.error)
    assert (outcome.tries, len(world.server.runs)) == (1, 1)


@pytest.mark.parametrize("kind", ["refused", "401", "403"])
def test_without_a_key_a_start_that_cannot_have_arrived_is_retried(world: World, kind: str) -> None:
    world.network.fault(kind, "/trigger", end=1100.0)
    outcome = world.task(one(idempotency_key=None), retries=3).run()
    assert (outcome.state, len(world.server.runs)) == ("success", 1)


def test_of_a_batch_with_too_few_runs_others_exist(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BATCH_AT_ONCE", 1)
    monkeypatch.setattr(settings, "BATCH_RATE", 0.001)
    outcome = world.task(many(3)).run()
    text = "shows only 0 of the 3 runs. Runs of these items may exist: a retry gets them"
    assert text in str(outcome.error)


def test_a_start_with_a_version_that_is_answered_500_says_that_it_may_not_exist(world: World) -> None:
    world.network.fault("500", "POST /api/v1/tasks")
    made = {"task_id": "start", "task_identifier": "resize", "lock_to_version": "20990101.1"}
    outcome = world.task(lambda: RunTriggerTaskOperator(**made)).run()
    assert "The version 20990101.1 (lock_to_version) may not exist" in str(outcome.error)


def test_an_error_of_a_batch_names_its_items(world: World) -> None:
    world.network.fault("403", "POST /api/v2/tasks/batch")
    outcome = world.task(many(3)).run()
    assert ": items 0 to 2 of the batch: POST /api/v2/tasks/batch answered 403" in str(outcome.error)
    assert "may exist" not in str(outcome.error)


@pytest.mark.parametrize("key", ["auto", None])
def test_a_server_that_is_down_at_the_start_leaves_the_retries(world: World, key: str | None) -> None:
    world.network.outage("refused", seconds=90)
    task = world.task(one(idempotency_key=key), retries=2)
    assert task.run().state == "success"
    assert task.outcome.tries > 1
    assert len(world.server.runs) == 1


@pytest.mark.parametrize("seed", range(8))
def test_after_a_kill_under_random_faults_each_item_has_one_run(world: World, seed: int) -> None:
    chance = world.chance
    chance.seed(seed)
    world.server.on_task("resize", after=chance.uniform(0, 30), output=lambda payload: payload * 2)
    for kind in ("lost", "hang", "503", "429", "page", "500"):
        world.network.fault(kind, rate=chance.uniform(0, 0.1), after=chance.random() < 0.5)
    payloads = [chance.randint(0, 9) for _ in range(chance.choice([5, 30, 70]))]
    task = world.task(many(0, payloads=payloads, deferrable=seed % 2 == 1), retries=1).begin()
    world.sleep(chance.uniform(0, 3))
    task.kill()
    outcome = task.join()
    assert (outcome.state, outcome.result) == ("success", [payload * 2 for payload in payloads])
    assert world.network.statuses() == ["COMPLETED"] * len(payloads)


def test_a_batch_is_sent_by_four_requests_at_a_time_and_the_ids_are_known_after_each(world: World) -> None:
    world.network.latency = (1.0, 1.0)
    task = world.task(many(200, wait_for_completion=False)).begin()
    world.until(lambda: len(world.network.requests("POST /api/v2/tasks/batch")) > 4)
    assert len(world.network.requests("POST /api/v2/tasks/batch")) == 8
    assert sum(run_id is not None for run_id in task.pushed["run_id"]) == 80
    assert [world.server.runs[run_id].payload for run_id in task.join().result] == list(range(200))


@pytest.mark.parametrize("moment", [0.001, 0.02, 0.04, 0.5, 20.0])
@pytest.mark.parametrize("deferrable", [False, True])
def test_the_retry_of_a_killed_process_has_its_run(world: World, moment: float, deferrable: bool) -> None:
    world.server.on_task("resize", after=300, output="done")
    task = world.task(one(deferrable=deferrable), retries=1).begin()
    world.sleep(moment)
    task.kill()
    outcome = task.join()
    assert (outcome.state, outcome.result) == ("success", "done")
    assert len(world.server.runs) == 1


@pytest.mark.parametrize("moment", [0.03, 0.06, 0.2, 1.0, 20.0])
def test_the_retry_of_a_killed_batch_starts_only_what_is_missing(world: World, moment: float) -> None:
    world.server.on_task("resize", after=120, output="done")
    task = world.task(many(80, deferrable=False), retries=1).begin()
    world.sleep(moment)
    task.kill()
    assert task.join().state == "success"
    assert len(world.server.runs) == 80


def test_a_retry_starts_a_new_run_in_place_of_one_that_failed(world: World) -> None:
    world.server.on_task("resize", after=5, error="boom")
    task = world.task(one(), retries=2)
    assert task.run().state == "failed"
    assert world.network.statuses() == ["FAILED"] * 3


def test_a_run_that_others_canceled_is_not_started_again(world: World) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(one(), retries=2).begin()
    world.sleep(10)
    next(iter(world.server.runs.values())).cancel()
    assert task.join().state == "failed"
    assert world.network.statuses() == ["CANCELED"]


@pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_process_that_only_seemed_dead_cancels_its_run(world: World, count: int, deferrable: bool) -> None:
    world.server.on_task("resize", times=count, after=None)
    world.server.on_task("resize", after=5)
    first = world.task(many(count, deferrable=False), retries=2).begin()
    world.sleep(60)
    task = world.task(many(count, deferrable=deferrable), retries=2)
    task.ti.try_number, task._dag_run = 2, first._dag_run
    task.begin()
    world.sleep(60)
    first.stop()  # it is still there: Airflow stops it as soon as it hears of it
    world.until(lambda: task.outcome.state == "up_for_retry")
    assert str(task.outcome.error).count("An earlier try has started it") == count
    assert task.join().state == "success"
    assert world.network.statuses() == ["CANCELED"] * count + ["COMPLETED"] * count


@pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_canceled_run_of_a_retry_is_not_started_again(world: World, count: int, deferrable: bool) -> None:
    world.server.on_task("resize", times=1, after=5, error="boom")
    world.server.on_task("resize", after=200)
    task = world.task(many(count, deferrable=deferrable), retries=2).begin()
    world.sleep(20)
    if task.is_running:  # so that the run of the other item is alive, and taken up
        task.kill()
    world.until(lambda: len(world.server.runs) > count)
    world.sleep(20)
    list(world.server.runs.values())[-1].cancel()
    assert task.join().state == "failed"
    assert (task.outcome.tries, len(world.server.runs)) == (2, count + 1)


def test_a_run_of_another_task_that_was_canceled_is_not_started_again(world: World) -> None:
    world.server.on_task("resize", after=None)
    world.task(one(idempotency_key="ours", wait_for_completion=False)).run()
    world.sleep(10)
    task = world.task(one(task_id="other", idempotency_key="ours"), retries=2).begin()
    world.sleep(10)
    next(iter(world.server.runs.values())).cancel()
    assert task.join().state == "failed"
    assert world.network.statuses() == ["CANCELED"]


@pytest.mark.parametrize("count", [1, 5])
def test_the_run_is_known_before_it_ends_and_outputs_are_in_order(world: World, count: int) -> None:
    world.server.on_task("resize", after=60, output=lambda payload: payload)
    task = world.task(many(count)).begin()
    world.sleep(30)
    pushed = task.pushed["run_id"]
    assert [world.server.runs[run_id].payload for run_id in pushed] == list(range(count))
    assert task.pushed["run_url"] == f"{world.network.url}/runs/{pushed[0]}"
    outcome = task.join()
    assert outcome.result == list(range(count))
    assert [one["run_id"] for one in task.pushed["results"]] == pushed


def test_a_batch_whose_runs_come_late_is_complete(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BATCH_AT_ONCE", 5)
    world.server.on_task("resize", after=5, output=lambda payload: payload)
    assert world.task(many(100)).run().result == list(range(100))
    assert len(world.server.runs) == 100


KINDS: dict[str, Any] = {"one": one, "many": lambda **arguments: many(3, **arguments)}


def left_alive(world: World, make: Any, **options: Any) -> Any:
    """Return a task that has ended, as its process was killed, whose runs are alive."""
    task = world.task(make, **options).begin()
    world.sleep(20)
    task.kill()
    if not options.get("retries"):
        task.join()
    return task


@pytest.mark.parametrize("kind", KINDS)
def test_a_clear_cancels_what_is_alive_and_starts_anew(world: World, kind: str) -> None:
    world.server.on_task("resize", after=None)
    task = left_alive(world, KINDS[kind](deferrable=False))
    old = world.network.alive()
    world.server.on_task("resize", after=5)
    assert task.clear().join().state == "success"
    assert [world.server.runs[run_id].status for run_id in old] == ["CANCELED"] * len(old)
    assert world.network.statuses() == ["CANCELED"] * len(old) + ["COMPLETED"] * len(old)


@pytest.mark.parametrize("kind", KINDS)
def test_a_clear_takes_up_what_is_alive_where_it_may_not_be_canceled(world: World, kind: str) -> None:
    world.server.on_task("resize", after=300)
    task = left_alive(world, KINDS[kind](deferrable=False, cancel_on_kill=False))
    count = len(world.server.runs)
    assert task.clear().join().state == "success"
    assert world.network.statuses() == ["COMPLETED"] * count


@pytest.mark.parametrize("kind", KINDS)
def test_a_clear_leaves_alone_what_no_task_waits_for(world: World, kind: str) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(KINDS[kind](wait_for_completion=False))
    assert task.run().state == "success"
    count = len(world.server.runs)
    world.sleep(10)
    assert task.clear().join().state == "success"
    assert world.network.statuses() == ["EXECUTING"] * count + ["QUEUED"] * count


@pytest.mark.parametrize("deferrable", [False, True], ids=["worker", "deferred"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_clear_waits_for_the_worker_of_what_it_stops(world: World, kind: str, deferrable: bool) -> None:
    world.server.on_task("resize", after=None, acknowledge_after=20)
    task = world.task(KINDS[kind](deferrable=deferrable)).begin()
    world.sleep(20)
    old = list(world.server.runs.values())
    task.stop()
    task.join()
    world.sleep(5)
    world.server.on_task("resize", after=5)
    assert task.clear().join().state == "success"
    assert_follow(world, old)


@pytest.mark.parametrize("cancels", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_of_two_alive_runs_of_an_item_one_is_taken_up(world: World, kind: str, cancels: bool) -> None:
    world.server.on_task("resize", after=300)
    task = left_alive(world, KINDS[kind](deferrable=False, cancel_on_kill=cancels), retries=3)
    old = list(world.server.runs.values())
    unlisted = world.network.fault("500", "GET /api/v1/runs")
    task.retries = 2  # which changes the key: only the list shows the runs of the first try
    world.until(lambda: len(world.server.runs) == 2 * len(old))
    world.sleep(5)
    task.kill()
    world.network.faults.remove(unlisted)
    task.retries = 1
    assert task.join().state == "success"
    assert len(world.server.runs) == 2 * len(old)
    assert {run.status for run in old} == {"CANCELED" if cancels else "COMPLETED"}
    named = [line for line in world.log.lines if "Canceling " in line or "Still running, and not" in line]
    assert all(run.id in named[-1] for run in old)


def test_a_clear_names_what_others_have_started_and_leaves_it_alone(world: World) -> None:
    world.server.on_task("resize", after=None)
    task = left_alive(world, one(deferrable=False))
    [own] = world.server.runs.values()
    others = [world.server.replay(own)]
    for number in range(11):
        options = {"tags": own.tags, "idempotency_key": f"order-{number}"}
        others.append(world.server.add_run("EXECUTING", **options))
    world.sleep(10)
    world.server.on_task("resize", after=5)
    assert task.clear().join().state == "success"
    assert own.status == "CANCELED"
    assert [run.cancel_requests for run in others] == [0] * 12
    [warning] = [line for line in world.log.of("warning") if line.startswith("Still running, and not cance")]
    assert all(run.id in warning for run in others)
    assert [tag in warning for tag in own.tags] == [False, False, True]


@pytest.mark.parametrize("kind", KINDS)
def test_a_clear_starts_all_again_though_runs_cannot_be_listed(world: World, kind: str) -> None:
    world.server.on_task("resize", after=None)
    task = left_alive(world, KINDS[kind](deferrable=False))
    old = world.network.alive()
    world.network.fault("500", "GET /api/v1/runs")
    world.server.on_task("resize", after=5)
    assert task.clear().join().state == "success"
    assert world.network.alive() == old
    [warning] = [line for line in world.log.of("warning") if line.startswith("A run of an earlier try, ")]
    assert warning.endswith(". Check the dashboard, and cancel a run that you do not need")


@pytest.mark.parametrize("kind", KINDS)
def test_a_clear_whose_cancels_are_rejected_starts_nothing(world: World, kind: str) -> None:
    world.server.on_task("resize", after=None)
    task = left_alive(world, KINDS[kind](deferrable=False))
    count = len(world.server.runs)
    world.network.fault("403", "/cancel")
    assert task.clear().join().state == "failed"
    assert world.network.statuses() == ["EXECUTING"] * count


@pytest.mark.parametrize("kind", KINDS)
def test_a_clear_of_what_has_ended_starts_all_anew(world: World, kind: str) -> None:
    task = world.task(KINDS[kind]())
    assert task.run().state == "success"
    count = len(world.server.runs)
    assert task.clear().join().state == "success"
    assert len(world.server.runs) == 2 * count


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["the task has other retries", "no list works", "a replica lags"])
def test_a_retry_takes_runs_up_although(world: World, what: str, kind: str) -> None:
    world.server.on_task("resize", after=300)
    task = left_alive(world, KINDS[kind](deferrable=False), retries=1)
    count = len(world.server.runs)
    if what == "the task has other retries":
        task.retries = 0
    elif what == "no list works":
        world.network.fault("500", "GET /api/v1/runs")
    else:
        headers = {"x-should-retry": "true"}
        world.network.fault("404", "GET /api/v3/runs", times=count * 4, headers=headers)
    assert task.join().state == "success"
    assert world.network.statuses() == ["COMPLETED"] * count
    text = (
        "was started before and is EXECUTING: no new one is started"
        if kind == "one"
        else "3 found alive and taken up"
    )
    assert any(text in line for line in world.log.lines)


def test_a_retry_logs_which_run_it_takes_up(world: World) -> None:
    world.server.on_task("resize", after=300)
    assert left_alive(world, one(deferrable=False), retries=1).join().state == "success"
    [run_id] = world.server.runs
    assert f"Run {run_id} was started before and is EXECUTING: no new one is started" in world.log.lines


def starts(world: World) -> list[str]:
    """Return what the log says of starts."""
    return [line.partition(" of Trigger")[0] for line in world.log.lines if line.startswith("Starting ")]


def test_the_log_names_as_started_only_what_no_earlier_try_has_started(world: World) -> None:
    world.server.on_task("resize", times=2, after=5)
    world.server.on_task("resize", times=1, after=5, error="boom")
    world.server.on_task("resize", after=300)
    task = left_alive(world, many(6, deferrable=False), retries=1)
    assert starts(world) == ["Starting 6 runs"]
    assert task.join().state == "success"
    assert starts(world) == ["Starting 6 runs", "Starting a run"]
    assert len(world.server.runs) == 7


def test_the_log_names_no_start_where_the_run_was_started_before(world: World) -> None:
    world.server.on_task("resize", after=300)
    task = left_alive(world, one(deferrable=False), retries=1)
    assert task.join().state == "success"
    assert starts(world) == ["Starting a run"]


def test_a_retry_takes_up_a_run_with_an_earlier_url(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AIRFLOW_URL, "https://airflow.test")
    world.server.on_task("resize", after=300)
    task = world.task(one(deferrable=False), retries=1)
    task.ti.log_url = "https://airflow.test/first"
    task.begin()
    world.sleep(20)
    task.kill()
    task.ti.log_url = "https://airflow.test/second"
    assert task.join().tries == 2
    assert [run.metadata for run in world.server.runs.values()] == [{"airflow": "https://airflow.test/first"}]
    assert task.pushed["run"]["metadata"] == {"airflow": "https://airflow.test/first"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_has_once_the_tag_that_all_runs_of_the_dag_run_have(world: World, kind: str) -> None:
    assert world.task(KINDS[kind]()).run().state == "success"
    [line] = [line for line in world.log.lines if "airflow_dag_run:" in line]
    tag = line.removeprefix("All runs of this Dag run have the tag ")
    assert all(tag in run.tags for run in world.server.runs.values())


def test_a_key_of_ones_own_stands_for_its_run_as_long_as_its_ttl(world: World) -> None:
    world.server.on_task("resize", after=5)
    own = {"idempotency_key": "order-17", "idempotency_key_ttl": "10m"}
    for sleep, count in ((0, 1), (300, 1), (300, 2)):
        world.sleep(sleep)
        assert world.task(one(task_id=f"after_{sleep}", **own)).run().state == "success"
        assert len(world.server.runs) == count


def test_operators_that_a_task_executes_by_hand_have_a_run_each_that_a_retry_takes_up(world: World) -> None:
    """Each execution has a run of its own, also one with the same payload."""
    payloads = [1, 2, 2]

    class ByHand(BaseOperator):
        def execute(self, context: Any) -> Any:
            return [one(task_id=f"by_hand_{of}", payload=of)().execute(context) for of in payloads]

    world.server.on_task("resize", after=30, output=lambda payload: payload)
    task = world.task(lambda: ByHand(task_id="start"), retries=1).begin()
    world.sleep(75)
    task.kill()
    payloads.reverse()
    assert task.join().result == [2, 2, 1]
    assert world.network.statuses() == ["COMPLETED"] * 3


def test_a_retry_with_other_payloads_cancels_what_it_no_longer_needs(world: World) -> None:
    payloads = ["a", "b", "c"]
    world.server.on_task("resize", after=600, output=lambda payload: payload)

    def make() -> Any:
        return many(0, payloads=list(payloads), deferrable=False)()

    task = left_alive(world, make, retries=1)
    payloads[1:] = ["other"]
    outcome = task.join()
    assert outcome.result == ["a", "other"]
    shown = {(run.payload, run.status) for run in world.server.runs.values()}
    assert shown == {("a", "COMPLETED"), ("b", "CANCELED"), ("c", "CANCELED"), ("other", "COMPLETED")}


@pytest.mark.parametrize("cancels", [True, False])
def test_a_retry_with_another_task_cancels_the_run_first_or_names_it(world: World, cancels: bool) -> None:
    identifier = "rezise"
    world.server.on_task("rezise", after=None, acknowledge_after=20)
    world.server.on_task("resize", after=5)

    def make() -> Any:
        return one(task_identifier=identifier, deferrable=False, cancel_on_kill=cancels)()

    task = left_alive(world, make, retries=1)
    identifier = "resize"
    old = list(world.server.runs.values())
    assert task.join().state == "success"
    assert world.network.statuses() == ["CANCELED" if cancels else "EXECUTING", "COMPLETED"]
    if cancels:
        assert_follow(world, old)
    assert any(old[0].id in line for line in world.log.of("info" if cancels else "warning"))


@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_run_waits_for_the_worker_of_the_old_one(world: World, kind: str, is_listed: bool) -> None:
    if not is_listed:
        world.network.fault("500", "GET /api/v1/runs")
    world.server.on_task("resize", after=None, acknowledge_after=20)
    task = left_alive(world, KINDS[kind](deferrable=False), retries=1)
    old = list(world.server.runs.values())
    world.server.on_task("resize", after=5, output="done")
    world.sleep(50)
    for run in old:
        run.cancel()
    assert task.join().state == "success"
    assert world.network.statuses() == ["CANCELED"] * len(old) + ["COMPLETED"] * len(old)
    assert_follow(world, old)


def assert_follow(world: World, old: list[Any]) -> None:
    """Each new run has started after the workers of the old ones had stopped."""
    new = [run for run in world.server.runs.values() if run not in old]
    assert min(run.created_at for run in new) >= max(run.finished_at for run in old)


def test_a_new_run_gets_the_key_of_a_canceled_one_that_another_task_has_started(world: World) -> None:
    world.server.on_task("resize", after=None, acknowledge_after=20)
    assert world.task(one(idempotency_key="ours", wait_for_completion=False)).run().state == "success"
    world.sleep(10)
    old = list(world.server.runs.values())
    old[0].cancel()
    world.server.on_task("resize", after=5, output="done")
    outcome = world.task(one(task_id="other", idempotency_key="ours")).run()
    assert (outcome.state, outcome.result) == ("success", "done")
    assert_follow(world, old)


def test_tasks_that_share_a_key_start_one_run_in_place_of_a_canceled_one(world: World) -> None:
    world.server.on_task("resize", after=None, acknowledge_after=20)
    assert world.task(one(idempotency_key="ours", wait_for_completion=False)).run().state == "success"
    world.sleep(10)
    next(iter(world.server.runs.values())).cancel()
    world.server.on_task("resize", after=60)
    tasks = [world.task(one(task_id=f"task_{n}", idempotency_key="ours")).begin() for n in range(3)]
    assert [task.join().state for task in tasks] == ["success"] * 3
    assert world.network.statuses() == ["CANCELED", "COMPLETED"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_while_a_canceled_run_is_waited_for_starts_no_other_one(world: World, kind: str) -> None:
    world.server.on_task("resize", after=None, acknowledge_after=60)
    task = left_alive(world, KINDS[kind](deferrable=False), retries=1, retry_delay=5.0)
    for run in world.server.runs.values():
        run.cancel()
    count = len(world.server.runs)
    world.until(lambda: task.is_running)
    world.sleep(1)
    task.stop()
    task.join()
    world.sleep(100)
    assert world.network.statuses() == ["CANCELED"] * count


def test_the_output_counts_of_a_run_that_completes_in_spite_of_its_cancel(world: World) -> None:
    world.server.on_task("resize", after=None, acknowledge_after=20, completes_despite_cancel=True, output=1)
    task = left_alive(world, one(deferrable=False), retries=1)
    world.sleep(50)
    next(iter(world.server.runs.values())).cancel()
    outcome = task.join()
    assert (outcome.state, outcome.result) == ("success", 1)
    assert len(world.server.runs) == 1


@pytest.mark.parametrize("with_dag_run", [True, False])
@pytest.mark.parametrize("reuses", [True, False])
def test_a_clear_may_reuse_what_has_completed(world: World, reuses: bool, with_dag_run: bool) -> None:
    world.server.on_task("resize", after=5, output=lambda payload: payload)
    world.server.on_task("resize", times=1, after=5, error="boom")
    task = world.task(many(3, reuse_completed=reuses, retry_statuses=[]))
    assert task.run().state == "failed"
    world.sleep(10)
    outcome = task.clear(with_dag_run=with_dag_run).join()
    assert (outcome.state, outcome.result) == ("success", [0, 1, 2])
    assert len(world.server.runs) == (4 if reuses else 6)
    count = "2 completed before and reused, 0 found alive and taken up, 1 started"
    assert (f"Runs of 3 items: {count}" in world.log.lines) == reuses


def test_where_no_task_waits_what_has_completed_is_reused_and_what_is_alive_left_alone(world: World) -> None:
    world.server.on_task("resize", times=1, after=None)
    world.server.on_task("resize", after=5)
    task = world.task(many(3, reuse_completed=True, wait_for_completion=False))
    first = task.run().result
    world.sleep(10)
    again = task.clear().join().result
    assert again[0] not in first
    assert again[1:] == first[1:]
    assert world.network.statuses() == ["EXECUTING", "COMPLETED", "COMPLETED", "QUEUED"]


@pytest.mark.parametrize("with_dag_run", [True, False])
def test_nothing_starts_where_what_may_be_reused_cannot_be_listed(world: World, with_dag_run: bool) -> None:
    task = world.task(many(3, reuse_completed=True))
    assert task.run().state == "success"
    world.network.fault("500", "GET /api/v1/runs")
    outcome = task.clear(with_dag_run=with_dag_run).join()
    assert outcome.state == "failed"
    assert "no other ones start in their place (reuse_completed=True)" in str(outcome.error)
    assert len(world.server.runs) == 3


@pytest.mark.parametrize("kind", ["lost", "hang"])
def test_a_replay_that_may_exist_is_not_sent_again(world: World, kind: str) -> None:
    world.server.on_task("resize", after=1)
    first = world.task(one()).run()
    assert first.state == "success"
    run_id = next(iter(world.server.runs))
    world.network.fault(kind, "/replay", after=True)
    replay = world.task(lambda: ReplayTriggerRunOperator(task_id="again", run_id=run_id), retries=1)
    outcome = replay.run()
    assert outcome.state == "failed"
    assert len(world.server.runs) == 2
    assert "may" in str(outcome.error)


def test_a_retry_makes_another_replay_of_one_that_failed(world: World) -> None:
    world.server.on_task("resize", times=1, after=1, error="boom")
    world.server.on_task("resize", after=1, output="second")
    original = world.server.add_run("FAILED", task_identifier="resize")
    make = partial(ReplayTriggerRunOperator, task_id="again", run_id=original.id)
    outcome = world.task(make, retries=1).run()
    assert (outcome.state, outcome.result, outcome.tries) == ("success", "second", 2)
    assert len(world.server.runs) == 3


def test_what_completes_in_spite_of_its_cancel_is_reused_unless_another_has_completed(world: World) -> None:
    reuses = False

    def make() -> Any:
        return many(2, reuse_completed=reuses, retry_statuses=[], deferrable=False)()

    task = world.task(make)
    world.server.on_task("resize", times=1, after=5, output="first")
    world.server.on_task("resize", times=1, after=5, error="boom")
    assert task.run().state == "failed"
    world.sleep(10)
    late = {"acknowledge_after": 10, "completes_despite_cancel": True, "output": "late"}
    world.server.on_task("resize", after=None, **late)
    task.clear()
    world.sleep(10)
    task.kill()
    task.join()
    reuses = True
    assert task.clear().join().result == ["first", "late"]


@pytest.mark.parametrize(
    ("kind", "seconds", "retry_for"),
    [("404", 3, 0), ("404", 9, 0), ("404", 3, 120), ("404", 9, 120), ("503", 9, 60), ("hang", 25, 60)],
)
def test_late_ids_of_a_batch_are_waited_for(world: World, kind: str, seconds: int, retry_for: int) -> None:
    world.connect(retry_for=retry_for)
    end, headers = world.hub.now + seconds, {"x-should-retry": "true"} if kind == "404" else None
    world.network.fault(kind, "GET /api/v2/batches", end=end, headers=headers)
    assert world.task(many(3)).run().state == "success"
    assert world.network.statuses() == ["COMPLETED"] * 3


def test_a_run_that_no_task_waits_for_survives_a_failing_retry(world: World) -> None:
    world.server.on_task("resize", after=None)
    lost = world.network.fault("lost", "/trigger", after=True)
    task = world.task(one(wait_for_completion=False), retries=2, retry_delay=10).begin()
    world.until(lambda: task.outcome.state == "up_for_retry")
    world.network.faults.remove(lost)
    fault = world.network.fault("503", "/trigger")
    world.until(lambda: task.outcome.tries == 2 and task.outcome.state == "up_for_retry")
    world.network.faults.remove(fault)
    assert task.join().state == "success"
    assert world.network.statuses() == ["EXECUTING"]


@pytest.mark.parametrize("alive", [1, 300])
def test_the_retry_of_a_large_batch_checks_its_runs_by_queries(world: World, alive: int) -> None:
    world.server.on_task("resize", start_after=0, after=5)
    world.server.on_task("resize", times=alive, start_after=0, after=900)
    task = world.task(many(300, deferrable=False), retries=1).begin()
    world.sleep(60)
    task.kill()
    before = len(world.network.sent)
    world.until(lambda: any("taken up" in line for line in world.log.lines))
    assert len(world.network.sent) - before < 60


@pytest.mark.parametrize("world", [{"query_lag": 2.9}], indirect=True)
def test_the_retry_of_a_large_batch_starts_again_what_was_canceled_just_before(world: World) -> None:
    world.server.on_task("resize", times=120, start_after=1000)
    world.server.on_task("resize", after=5)
    world.network.fault("403", "bulk-actions")  # which would continue during the retry
    task = world.task(many(120, deferrable=False), retries=1, retry_delay=0.0).begin()
    world.sleep(30)
    task.terminate()
    assert task.join().state == "success"
    assert world.network.statuses() == ["CANCELED"] * 120 + ["COMPLETED"] * 120


def test_what_may_be_another_airflows_is_not_reused(world: World) -> None:
    world.server.on_task("resize", after=5)
    task = world.task(many(3, reuse_completed=True, deferrable=False))
    task.run()
    world.sleep(100)
    task.retries = 3
    task.clear(with_dag_run=True, shows_clear=False).join()
    assert len(world.server.runs) == 6
