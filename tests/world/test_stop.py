"""A task that is stopped leaves no run alive, or a line in its log that names the run."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
from airflow_names import AirflowTaskTimeout
from airflow_task import IS_AIRFLOW_2, Task
from world import World

from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

NETWORKS: dict[str, Any] = {
    "works": lambda network: None,
    "hangs": lambda network: network.outage("hang"),
    "is down for 2 s": lambda network: network.outage("refused", seconds=2),
    "answers 503 for 2 s": lambda network: network.outage("503", seconds=2),
    "answers pages for 2 s": lambda network: network.outage("page", seconds=2),
    "is slow": lambda network: setattr(network, "latency", (0.5, 1.0)),
    "is rate limited": lambda network: network.fault("429", times=5, headers={"retry-after": "1"}),
    "loses every third answer": lambda network: network.fault("lost", after=True, rate=0.33),
}


def of(count: int, **arguments: Any) -> Any:
    given = {"task_id": "start", "task_identifier": "resize"} | arguments
    if count == 1:
        return lambda: RunTriggerTaskOperator(**given)
    return lambda: RunTriggerTaskBatchOperator(**{"payloads": list(range(count))} | given)


def stopped(world: World, task: Task) -> None:
    """Stop a task, and let a minute pass in which all that is left is done, or not."""
    task.stop()
    task.join()
    world.sleep(60)


def assert_nothing_is_left(world: World) -> None:
    """Each run that is alive is named by its id, or by the tag of all that its task has started."""
    log = "\n".join(world.log.lines)
    alive = [world.server.runs[run_id] for run_id in world.network.alive()]
    tags = {run.id: [tag for tag in run.tags if tag.startswith("airflow_task:")] for run in alive}
    unnamed = [run_id for run_id, found in tags.items() if not any(one in log for one in (run_id, *found))]
    assert not unnamed, f"alive without a word: {unnamed}\n{log}"


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("moment", [0.0, 0.015, 0.03, 0.1, 2.0, 30.0])
@pytest.mark.parametrize("count", [1, 60])
def test_a_stop_in_a_worker_leaves_no_run(world: World, count: int, moment: float, network: str) -> None:
    world.server.on_task("resize", after=None)
    breaks = partial(NETWORKS[network], world.network)
    if moment < 1:
        breaks()
    task = world.task(of(count, deferrable=False)).begin()
    world.sleep(moment)
    if moment >= 1:
        breaks()
    stopped(world, task)
    if network == "works":
        assert set(world.network.statuses()) <= {"CANCELED"}, world.log.lines
    assert_nothing_is_left(world)


@pytest.mark.parametrize("count", [1, 60])
def test_a_stop_names_its_runs_before_its_first_request(world: World, count: int) -> None:
    world.server.on_task("resize", after=None)
    task, said = world.task(of(count, deferrable=False)).begin(), list[str]()
    world.sleep(30)
    world.network.before = lambda request: said.append("\n".join(world.log.lines))
    stopped(world, task)
    first = next(shown for shown in said if "Canceling " in shown or "Canceled " in shown)
    assert "Canceled " not in first
    assert all(run_id in first for run_id in world.server.runs)


@pytest.mark.parametrize("count", [1, 60])
def test_a_stop_cancels_also_while_the_task_waits_for_airflow(world: World, count: int) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(of(count, deferrable=False))
    task.ti.xcom_push = lambda *_, **__: world.sleep(1000)
    task.begin()
    world.until(lambda: len(world.server.runs) == count)
    world.sleep(1)
    stopped(world, task)
    assert set(world.network.statuses()) == {"CANCELED"}


@pytest.mark.parametrize("count", [1, 20])
def test_the_ids_of_a_late_start_are_in_xcom_once_the_task_is_stopped(world: World, count: int) -> None:
    world.server.on_task("resize", after=None)
    world.network.fault("hang" if count == 1 else "lost", "POST /api/v", times=1, after=True)
    world.network.latency = (0.5, 1.0)
    task = world.task(of(count, deferrable=False)).begin()
    world.until(lambda: world.server.runs)
    stopped(world, task)
    run_ids = list(world.server.runs)
    assert set(world.network.statuses()) == {"CANCELED"}
    assert count > 1 or task.pushed["run_id"] == run_ids[0]


def test_the_ids_of_many_runs_are_stored_seldom_while_they_start_and_all_at_a_stop(world: World) -> None:
    world.server.on_task("resize", after=None)
    world.network.latency = (0.2, 0.4)
    task, pushes = world.task(of(1000, deferrable=False)), list[Any]()
    push = task.ti.xcom_push

    def count(key: str, value: Any) -> None:
        pushes.extend([value] if key == "run_id" else [])
        push(key, value)

    task.ti.xcom_push = count
    task.begin()
    world.until(lambda: len(world.server.runs) > 700)
    assert len(pushes) <= 8
    assert len(set(task.pushed["run_id"])) > 400
    stopped(world, task)
    assert set(task.pushed["run_id"]) >= set(world.server.runs)


def test_a_stop_waits_for_the_answer_to_a_replay_and_cancels_it(world: World) -> None:
    world.server.on_task("resize", after=1)
    assert world.task(of(1)).run().state == "success"
    [original] = world.server.runs
    world.server.on_task("resize", after=None)
    world.network.latency = (1.0, 1.5)
    task = world.task(lambda: ReplayTriggerRunOperator(task_id="again", run_id=original, deferrable=False))
    task.begin()
    world.until(lambda: len(world.server.runs) == 2)
    stopped(world, task)
    assert world.network.statuses() == ["COMPLETED", "CANCELED"]


def test_a_stop_ends_the_cancel_after_an_error_and_has_its_own(world: World) -> None:
    world.server.on_task("resize", after=None)
    world.network.fault("403", "POST /api/v2/tasks/batch", start=world.hub.now + 0.08, times=1)
    world.network.fault("503", "cancel")
    world.network.fault("503", "bulk")
    task = world.task(of(200, deferrable=False)).begin()
    world.sleep(10)
    assert world.server.runs
    assert task.is_running
    begun = world.now
    task.terminate()
    task.join()
    assert world.now - begun < (9 if IS_AIRFLOW_2 else 5)
    assert_nothing_is_left(world)


def test_a_time_limit_that_is_reached_while_an_error_cancels_runs_ends_no_cancel(world: World) -> None:
    def raise_timeout() -> None:
        raise AirflowTaskTimeout

    world.server.on_task("resize", after=None)
    world.network.fault("403", "POST /api/v2/tasks/batch", start=world.hub.now + 0.08, times=1)
    world.network.fault("503", "cancel", end=world.hub.now + 30)
    world.network.fault("503", "bulk", end=world.hub.now + 30)
    task = world.task(of(200, deferrable=False)).begin()
    world.sleep(10)
    assert world.server.runs
    task.interrupt(raise_timeout)
    assert isinstance(task.join().error, AirflowTaskTimeout)
    assert set(world.network.statuses()) == {"CANCELED"}


# With a bulk action

BUSY = {"busy_list_time": 3.6, "list_lag": 1.0, "query_lag": 1.0}
"""As the real server during 32 single cancels at a time (measured)."""


@pytest.mark.parametrize("world", [BUSY | {"bulk_lag": 3.0}], indirect=True)
@pytest.mark.parametrize(("age", "bulk", "each"), [(30, "", 0), (2, "", 1), (30, "403", 1), (30, "hang", 1)])
def test_single_cancels_are_for_what_bulk_leaves_out(world: World, age: float, bulk: str, each: int) -> None:
    world.server.on_task("resize", after=None)
    if bulk:
        world.network.fault(bulk, "bulk-actions")
    task = world.task(of(100, deferrable=False)).begin()
    world.sleep(age)
    stopped(world, task)
    assert len(world.network.requests("/cancel")) == 100 * each
    assert world.network.statuses() == ["CANCELED"] * 100


@pytest.mark.parametrize("world", [BUSY], indirect=True)
def test_a_stop_amid_a_long_start_sends_single_cancels_for_the_newest_runs(world: World) -> None:
    world.server.on_task("resize", after=None)
    world.network.latency = (0.5, 1.0)
    task = world.task(of(1000, deferrable=False)).begin()
    world.sleep(12)
    old = [run.id for run in world.server.runs.values() if run.created_at.timestamp() < world.hub.time() - 7]
    assert len(old) > 100
    stopped(world, task)
    single = world.network.requests("/cancel")
    assert single
    assert not [run_id for run_id in old if any(run_id in path for path in single)]
    assert_nothing_is_left(world)


@pytest.mark.parametrize("world", [BUSY], indirect=True)
def test_a_stop_says_in_few_lines_what_is_accepted_and_what_a_query_confirms(world: World) -> None:
    world.server.on_task("resize", after=None)
    world.network.fault("slow", "/cancel", seconds=10)
    world.server.bulk_rate = 10.0
    task = world.task(of(100, deferrable=False)).begin()
    world.sleep(30)
    lines, begun = len(world.log.leveled), world.now
    task.stop()
    task.join()
    queries = [one for one in world.network.sent if "/query" in one.request and one.at - 1000 > begun]
    assert (len(queries), world.now - begun < (8 if IS_AIRFLOW_2 else 4)) == (1, True)
    _, (level, report), warning = [one for one in world.log.leveled[lines:] if " runs" in one[1]]
    words = r"100 .* runs: (\d+) canceled, (\d+) requested but not confirmed; accepted: bulk action bulk_"
    [(canceled, left)] = re.findall(words, report)
    assert (level, int(canceled) > 10) == ("info", True)
    assert (warning[0], sum(run_id in warning[1] for run_id in world.server.runs)) == ("warning", int(left))
    assert next(iter(world.server.runs.values())).tags[-1] in warning[1]


# While starts are unanswered


@pytest.mark.parametrize("seconds", [1.5, 3.0])
@pytest.mark.parametrize("world", [BUSY, BUSY | {"list_lag": 60.0}], indirect=True)
def test_a_stop_cancels_by_a_slow_list_what_was_started(world: World, seconds: float) -> None:
    world.server.on_task("resize", after=None)
    world.network.fault("hang", "POST /api/v2/tasks/batch", after=True)
    world.network.fault("slow", "GET /api/v1/runs", seconds=seconds)
    task = world.task(of(80, deferrable=False)).begin()
    world.sleep(6)
    stopped(world, task)
    assert world.network.statuses() == ["CANCELED"] * 80


def test_a_stop_cancels_what_is_answered_while_the_list_hangs_and_names_the_rest(world: World) -> None:
    world.server.on_task("resize", after=None)
    world.network.fault("hang", "POST /api/v2/tasks/batch", times=1, after=True)
    world.network.fault("slow", "POST /api/v2/tasks/batch", seconds=2)
    world.network.fault("hang", "GET /api/v1/runs")
    task = world.task(of(80, deferrable=False)).begin()
    world.sleep(1)
    stopped(world, task)
    assert sorted(world.network.statuses()) == ["CANCELED"] * 60 + ["EXECUTING"] * 20
    assert min(one.at for one in world.network.sent if "bulk" in one.request) < 1000 + 1 + 3
    levels = [level for level, text in world.log.leveled if "20 runs, which may be running" in text]
    assert levels == ["error"]


@pytest.mark.parametrize("bulk", [202, 403])
@pytest.mark.parametrize("listed", ["all", "lagging", "others", "down"])
def test_a_stop_cancels_by_the_tag_what_is_surely_its_own(world: World, listed: str, bulk: int) -> None:
    world.server.on_task("resize", after=None)
    world.server.bulk_rate = None
    world.server.list_lag = 0.0
    world.network.fault("hang", "POST /api/v2/tasks/batch", after=True)
    if bulk == 403:
        world.network.fault("403", "POST /api/v1/bulk-actions")
    if listed == "down":
        world.network.fault("403", "GET /api/v1/runs")
    others: list[Any] = []
    if listed == "others":  # as a replay of an earlier run of the task
        before = world.task(of(1, deferrable=False)).begin()
        world.sleep(100)
        before.kill()
        others.extend(world.server.runs.values())
    task = world.task(of(60, deferrable=False)).begin()
    world.until(lambda: len(world.server.runs) == 60 + len(others))
    ours = [run for run in world.server.runs.values() if run not in others]
    others.append(world.server.add_run("EXECUTING", tags=[f"{ours[0].tags[-1]}:other"]))
    if listed in ("lagging", "others"):
        world.server.list_lag = 60.0
    stopped(world, task)
    is_found = listed == "all" or (listed, bulk) == ("lagging", 202)
    assert {run.status for run in ours} == {"CANCELED" if is_found else "EXECUTING"}
    assert {run.status for run in others} == {"EXECUTING"}
    if listed != "all":
        lines = [line for line in world.log.lines if "the start of 60 runs, " in line]
        assert lines, world.log.lines
        assert all("a retry finds what was started" in line and ours[0].tags[-1] in line for line in lines)


@pytest.mark.parametrize("list_works", [True, False])
def test_a_stop_cancels_what_an_earlier_try_has_started(world: World, list_works: bool) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(of(60, deferrable=False), retries=1).begin()
    world.sleep(30)
    task.kill()
    world.sleep(30)
    hangs = world.network.fault("hang", "GET /api/v1/runs")
    world.until(lambda: task.is_running)
    world.sleep(2)
    if list_works:
        world.network.faults.remove(hangs)
    stopped(world, task)
    if list_works:
        assert set(world.network.statuses()) == {"CANCELED"}
    else:
        text = "Runs that an earlier try has started may still be running, as the list of runs could not be "
        assert any(line.startswith(text) for line in world.log.lines)


def test_a_stop_of_a_retry_searches_on_once_it_has_found_what_this_try_has_started(world: World) -> None:
    world.server.on_task("resize", after=None)
    payloads = list(range(120))

    def make() -> Any:
        return of(0, payloads=payloads, deferrable=False)()

    task = world.task(make, retries=1).begin()
    world.sleep(30)
    task.kill()
    payloads = ["other", "items"]
    unlisted = world.network.fault("500", "GET /api/v1/runs")
    world.network.fault("hang", "POST /api/v2/tasks/batch", after=True)
    world.until(lambda: len(world.server.runs) == 122)
    world.network.faults.remove(unlisted)
    stopped(world, task)
    assert set(world.network.statuses()) == {"CANCELED"}


def test_the_run_that_a_stop_creates_to_find_its_id_never_starts(world: World) -> None:
    world.server.on_task("resize", start_after=0, after=1)
    world.network.fault("hang", "/trigger", times=1)
    world.network.latency = (0.3, 0.3)
    task = world.task(of(1, deferrable=False)).begin()
    world.sleep(1)
    stopped(world, task)
    [run] = world.server.runs.values()
    assert (run.status, run.started_at) == ("CANCELED", None)


@pytest.mark.parametrize("key", ["auto", None])
@pytest.mark.parametrize("cancels", [True, False])
def test_a_stop_before_an_answer_says_what_may_exist(world: World, cancels: bool, key: str | None) -> None:
    world.server.on_task("resize", after=None)
    world.network.fault("hang", "/trigger", after=True)
    options = {"deferrable": False, "cancel_on_kill": cancels, "idempotency_key": key}
    task = world.task(of(1, **options), retries=1).begin()
    world.until(lambda: world.server.runs)
    world.sleep(1)
    task.terminate()
    world.until(lambda: not task.is_running)
    if key is not None and cancels:  # it is found by its tag
        assert world.network.statuses() == ["CANCELED"]
        return
    [line] = [line for line in world.log.lines if "not answered the start of 1 run" in line][-1:]
    assert ("a retry finds what was started" in line) == (key is not None)
    if key is None and not IS_AIRFLOW_2:  # which ends the task by an error of its own
        assert "has no idempotency key: a run may exist" in str(task.join().error)
        assert task.outcome.tries == 1


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("count", [1, 60])
def test_a_stop_while_deferred_cancels_its_runs(world: World, count: int, network: str) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(of(count, deferrable=True)).begin()
    world.sleep(30)
    assert task.is_deferred
    NETWORKS[network](world.network)
    stopped(world, task)
    if network != "hangs":
        assert set(world.network.statuses()) == {"CANCELED"}, world.log.lines
    assert_nothing_is_left(world)


@pytest.mark.parametrize("count", [1, 60])
def test_no_time_passes_between_the_last_look_for_a_stop_and_the_deferral(world: World, count: int) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(of(count, deferrable=True)).begin()
    while not any(line.startswith("Deferring") for line in world.log.lines):
        world.sleep(0.001)
    world.sleep(0.001)
    assert task.is_deferred


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_a_stop_leaves_runs_alone_where_that_is_wanted(world: World, count: int, deferrable: bool) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(of(count, deferrable=deferrable, cancel_on_kill=False)).begin()
    world.sleep(30)
    stopped(world, task)
    assert world.network.statuses() == ["EXECUTING"] * count


LAG: dict[str, Any] = {"list_lag": 2.0}


@pytest.mark.parametrize(
    ("world", "count"),
    [({}, 1), ({}, 15), (LAG, 1), (LAG, 15), (LAG | {"bulk_actions": False}, 1)],
    indirect=["world"],
)
def test_a_stop_finds_the_runs_of_a_start_whose_answer_never_comes(world: World, count: int) -> None:
    world.server.on_task("resize", after=None)
    world.network.fault("hang", "POST /api/v", after=True, times=1)
    task = world.task(of(count, deferrable=False)).begin()
    world.sleep(1)
    stopped(world, task)
    assert set(world.network.statuses()) == {"CANCELED"}, world.log.lines


@pytest.mark.parametrize("count", [1, 15])
def test_a_stop_names_what_a_start_may_have_started(world: World, count: int) -> None:
    world.server.on_task("resize", after=None)
    world.network.fault("hang", "POST /api/v", after=True, times=1)
    task = world.task(of(count, deferrable=False)).begin()
    world.sleep(4)
    world.network.outage("hang")
    stopped(world, task)
    assert len(world.network.alive()) == count
    problems = "\n".join(text for level, text in world.log.leveled if level in ("warning", "error"))
    [tag] = {tag for run in world.server.runs.values() for tag in run.tags if "airflow_task:" in tag}
    assert tag in problems


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("count", [1, 30])
def test_an_error_names_what_could_not_be_canceled(world: World, count: int, deferrable: bool) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(of(count, deferrable=deferrable)).begin()
    world.sleep(30)
    world.network.fault("403", "/cancel")
    world.network.fault("403", "/bulk-actions")
    task.stop()
    task.join()
    world.sleep(200)
    errors = "\n".join(text for level, text in world.log.leveled if level == "error")
    assert "may still be running" in errors
    tag = next(iter(world.server.runs.values())).tags[-1]
    assert all(name in errors for name in (*world.network.alive(), *[tag] * deferrable))


@pytest.mark.parametrize("moment", [0.01, 0.05, 0.1, 0.3, 3.0])
@pytest.mark.parametrize("count", [1, 60])
def test_a_stop_of_a_retry_cancels_what_was_started_before(world: World, count: int, moment: float) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(of(count, deferrable=False), retries=1).begin()
    world.sleep(0.3)
    task.kill()
    world.sleep(task.retry_delay + moment)
    stopped(world, task)
    assert set(world.network.statuses()) == {"CANCELED"}, world.log.lines


def test_a_retry_soon_has_the_run_that_only_a_stop_has_started_and_could_not_cancel(world: World) -> None:
    world.server.on_task("resize", after=5, output="done")
    world.network.fault("lost", "/trigger", end=world.hub.now + 1)
    for part in ("/cancel", "/bulk-actions"):
        world.network.fault("503", part, end=world.hub.now + 30)
    task = world.task(of(1, deferrable=False), retries=1).begin()
    world.sleep(1)
    task.terminate()
    outcome = task.join()
    assert (outcome.result, outcome.tries, len(world.server.runs)) == ("done", 2, 1)
    assert world.now < 120


def test_a_stop_finds_the_run_that_follows_a_canceled_one(world: World) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(of(1, deferrable=False), retries=1).begin()
    world.sleep(30)
    task.kill()
    next(iter(world.server.runs.values())).cancel()

    def let_the_next_start_hang(request: str) -> None:
        if request.endswith("/reset"):
            world.network.fault("hang", "/trigger", after=True, times=1)

    world.network.before = let_the_next_start_hang
    world.until(lambda: len(world.server.runs) == 2)
    stopped(world, task)
    assert world.network.statuses() == ["CANCELED"] * 2, world.log.lines


FAILING = (
    "nothing else",
    "XCom",
    "XCom is empty",
    "XCom has a gap",
    "the list",
    "XCom and the list",
    "no cancel",
)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("fails", FAILING)
def test_a_trigger_that_fails_leaves_nothing_alive(world: World, fails: str, count: int) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(of(count, deferrable=True, cancel_on_kill=fails != "no cancel")).begin()
    world.sleep(30)
    ours = list(world.server.runs.values())
    tag = ours[0].tags[-1]
    keys = (None, "airflow-of_another_airflow-1")  # a replay by somebody has none
    others = [world.server.add_run("EXECUTING", tags=[tag], idempotency_key=key) for key in keys]
    if "XCom" in fails:
        shown = {"XCom is empty": None, "XCom has a gap": [*(run.id for run in ours), None]}
        task.ti.xcoms["start", "run_id"] = shown.get(fails, OSError("the XCom backend is away"))
    if "the list" in fails:
        world.network.fault("403", "GET /api/v1/runs")
    task.fail_trigger()
    assert task.join().state == "failed"
    assert all("map_indexes" in pull for pull in task.ti.pulls), "those of its siblings are not its own"
    is_known = fails != "XCom and the list"
    if is_known:  # with Airflow 2.11, the trigger itself cancels them in any case
        assert {run.status for run in ours} == {"EXECUTING" if fails == "no cancel" else "CANCELED"}
    assert {run.status for run in others} == {"EXECUTING"}
    assert any(f"No run with the tag {tag} was found" in line for line in world.log.lines) is not is_known


def test_a_stop_amid_the_cancel_after_an_error_cancels_what_that_has_found(world: World) -> None:
    world.server.on_task("resize", after=None)
    world.network.fault("403", "GET /api/v2/batches", times=2)  # so the runs are found by their tag
    task = world.task(of(25, deferrable=False)).begin()
    requests: list[str] = []

    def stop_at_the_first_search(request: str) -> None:
        requests.append(request)
        if request == "GET /api/v1/runs" and requests.count(request) == 1:
            task.stop()

    world.network.before = stop_at_the_first_search
    task.join()
    world.sleep(60)
    assert set(world.network.statuses()) == {"CANCELED"}


def test_an_error_of_a_start_cancels_what_was_started_beside_it(world: World) -> None:
    world.server.on_task("resize", after=None)
    world.sleep(1)
    world.network.fault("403", "POST /api/v2/tasks/batch", start=1001.02)
    task = world.task(of(200, deferrable=False))
    assert task.run().state == "failed"
    assert 0 < len(world.server.runs) < 200
    assert set(world.network.statuses()) == {"CANCELED"}


def test_a_triggerer_that_stops_cancels_nothing(world: World) -> None:
    world.server.on_task("resize", after=120, output="done")
    tasks = [world.task(of(1, deferrable=True), start=number).begin() for number in range(20)]
    world.sleep(30)
    world.triggerer.stop()
    world.sleep(10)
    world.triggerer.start()
    assert [task.join().state for task in tasks] == ["success"] * 20
    assert world.network.statuses() == ["COMPLETED"] * 20


def test_many_deferred_tasks_that_are_stopped_leave_the_others_alone(world: World) -> None:
    world.server.on_task("resize", after=None)
    tasks = [world.task(of(1, deferrable=True), start=number).begin() for number in range(100)]
    world.sleep(60)
    for task in tasks[:40]:
        task.stop()
    world.sleep(60)
    assert sorted(world.network.statuses()) == ["CANCELED"] * 40 + ["EXECUTING"] * 60


def test_many_deferred_tasks_that_are_stopped_in_an_outage_are_canceled_together(world: World) -> None:
    world.server.on_task("resize", after=None)
    tasks = [world.task(of(1, deferrable=True), start=number).begin() for number in range(60)]
    world.sleep(60)
    world.network.outage("503", seconds=60)
    before = len(world.hub._alive)
    most = 0
    for task in tasks:
        task.stop()
        world.sleep(0.5)
        most = max(most, sum(not thread.dead for thread in world.hub._alive) - before)
    assert most <= 30
    world.sleep(120)
    assert world.network.statuses() == ["CANCELED"] * 60


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [1, 40])
def test_random_faults_at_a_stop(world: World, count: int, seed: int) -> None:
    chance = world.chance
    chance.seed(seed)
    world.server.on_task("resize", after=None)
    for kind in ("lost", "hang", "503", "429", "page", "500"):
        world.network.fault(kind, rate=chance.uniform(0, 0.15), after=chance.random() < 0.5)
    task = world.task(of(count, deferrable=chance.random() < 0.5), retries=1).begin()
    world.sleep(chance.uniform(0, 5))
    stopped(world, task)
    assert_nothing_is_left(world)
