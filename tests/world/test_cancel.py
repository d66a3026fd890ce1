"""Every run id is tried, what is reported is true, and nothing else is touched."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import pytest
from airflow_names import AirflowTaskTimeout
from airflow_task import IS_AIRFLOW_2, Task
from fake_airflow import context_of
from hub import Thread
from world import World

from airflow_provider_trigger._compat import AirflowFailException, BaseNotifier
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator


def start(world: World, count: int, **options: Any) -> list[str]:
    """Start runs that do not end, as another application would, and return their ids."""
    world.server.on_task("resize", after=None)
    return [world.server.trigger("resize", options=options)[0].id for _ in range(count)]


def many_runs(world: World, count: int) -> list[str]:
    """Start runs that are old enough for bulk actions, which cancel them all at once."""
    run_ids = start(world, count)
    world.sleep(5)
    world.server.bulk_rate = None
    return run_ids


def executing(world: World, *run_ids: str, **options: Any) -> list[str]:
    return [world.server.add_run("EXECUTING", run_id=run_id, **options).id for run_id in run_ids]


def canceling(world: World, run_ids: Any = None, **arguments: Any) -> Task:
    """Return a task that cancels runs."""
    return world.task(lambda: CancelTriggerRunOperator(task_id="cancel", run_ids=run_ids, **arguments))


def cancel(world: World, run_ids: Any = None, **arguments: Any) -> Task:
    """Return one that has ended."""
    task = canceling(world, run_ids, **arguments)
    task.run()
    return task


def results(task: Task) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = task.pushed["return_value"]
    return found


def outcomes(task: Task) -> dict[str, str]:
    return {one["run_id"]: one["outcome"] for one in results(task)}


def cancels(world: World, run_id: str = "") -> list[float]:
    """Return when cancels of single runs were sent."""
    return [one.at - 1000.0 for one in world.network.sent if f"{run_id}/cancel" in one.request]


# The outcome of each run

# A run's state and what its worker does, then: the outcome, the status, and whether it is terminated.
RUNS: dict[str, tuple[dict[str, Any], str, str | None, bool]] = {
    "queued": ({"status": "QUEUED"}, "canceled", "CANCELED", True),
    "pending_version": ({"status": "PENDING_VERSION"}, "canceled", "CANCELED", True),
    "delayed": ({"status": "DELAYED"}, "canceled", "CANCELED", True),
    "dequeued": ({"status": "DEQUEUED", "acknowledge_after": None}, "canceled", "CANCELED", False),
    "executing": ({"status": "EXECUTING", "acknowledge_after": None}, "canceled", "CANCELED", False),
    "acknowledged": ({"status": "EXECUTING", "acknowledge_after": 0}, "canceled", "CANCELED", True),
    "suspended": ({"status": "WAITING"}, "canceled", "CANCELED", False),
    "canceled_before": ({"status": "CANCELED"}, "canceled", "CANCELED", True),
    "completed_anyhow": (
        {"status": "EXECUTING", "acknowledge_after": 0, "completes_despite_cancel": True},
        "already_completed",
        "COMPLETED",
        True,
    ),
    **{
        status.lower(): ({"status": status}, "already_completed", status, True)
        for status in ("COMPLETED", "FAILED", "CRASHED", "SYSTEM_FAILURE", "TIMED_OUT")
    },
    "expired": ({"status": "EXPIRED"}, "canceled", "CANCELED", True),  # in a deployed environment
    "foreign": ({"status": "EXECUTING", "environment": "dev"}, "not_found", None, False),
    "unknown": ({}, "not_found", None, False),
}


@pytest.mark.parametrize("on_not_found", ["fail", "ignore"])
def test_each_run_has_its_true_outcome_and_no_other_is_touched(world: World, on_not_found: str) -> None:
    given = list(RUNS)
    world.chance.shuffle(given)
    for name in given:
        if name != "unknown":
            world.server.add_run(run_id=name, task_identifier=f"task-{name}", **RUNS[name][0])
    runs = list(world.server.runs.values())
    others = [world.server.add_run(run.status, environment=run.environment) for run in runs]
    before = [run.state for run in others]
    task = cancel(world, [*given, *given], on_not_found=on_not_found)
    assert task.outcome.state == ("success" if on_not_found == "ignore" else "failed")
    expected = {name: RUNS[name][1:] for name in given}
    shown = [(one["run_id"], (one["outcome"], one["status"], one["terminated"])) for one in results(task)]
    assert shown == list(expected.items())
    assert [one["task_identifier"] for one in results(task)] == [
        f"task-{name}" if expected[name][1] else None for name in given
    ]
    assert [run.state for run in others] == before


FAULTS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "lost answers": [{"kind": "lost", "rate": 0.2, "after": True}],
    "lost requests": [{"kind": "lost", "rate": 0.2}],
    "an outage of 20 s": [{"kind": "refused", "start": 1000.2, "end": 1020.0}],
    "some hang": [{"kind": "hang", "rate": 0.05}],
    "500s": [{"kind": "500", "rate": 0.2}],
    "pages": [{"kind": "page", "rate": 0.1}],
    "no query": [{"kind": "403", "part": "/query"}],
    "no bulk actions": [{"kind": "403", "part": "/bulk-actions"}],
    "neither": [{"kind": "403", "part": "/query"}, {"kind": "403", "part": "/bulk-actions"}],
    "all at once": [
        {"kind": kind, "rate": 0.04, "after": after}
        for kind in ("lost", "hang", "503", "429", "page")
        for after in (False, True)
    ],
}


@pytest.mark.parametrize(
    ("faults", "count"),
    [*product(FAULTS, [1, 30]), *product(["none", "some hang", "neither", "all at once"], [300])],
)
def test_all_become_canceled_and_nothing_else(world: World, faults: str, count: int) -> None:
    run_ids, others = start(world, count), start(world, 5)
    for fault in FAULTS[faults]:
        world.network.fault(**fault)
    task = cancel(world, run_ids)
    assert task.outcome.state == "success", task.outcome.error
    assert outcomes(task) == dict.fromkeys(run_ids, "canceled")
    assert [world.server.runs[run_id].status for run_id in run_ids] == ["CANCELED"] * count
    assert sorted(world.network.alive()) == sorted(others)


# What the requests of one of three runs meet, then: its outcome, and whether the task may be tried again;
# where it counts, how many cancels were sent.
REQUESTS = {"cancel": "POST /api/v2/runs/run_1/", "check": "GET /api/v3/runs/run_1"}
ONE_FAULT: list[tuple[str, str, dict[str, Any], str, bool | None, int | None]] = [
    ("503", "cancel", {"after": True}, "canceled", None, None),  # only its answers are lost
    ("500", "cancel", {"times": 6}, "canceled", None, 7),  # it gets one more
    ("503", "cancel", {}, "failed", True, None),
    ("403", "cancel", {}, "failed", False, 1),
    ("401", "cancel", {"times": 1, "headers": {"x-should-retry": "false"}}, "canceled", None, 2),
    ("lost", "cancel", {}, "failed", True, None),
    ("lost", "cancel", {"after": True}, "canceled", None, None),
    ("hang", "cancel", {}, "failed", True, None),
    ("hang", "cancel", {"after": True}, "canceled", None, None),
    ("stale", "check", {"times": 4}, "canceled", None, 1),
    ("stale", "check", {}, "failed", True, 2),
    ("401", "check", {"times": 1, "headers": {"retry-after": "60"}}, "canceled", None, 1),
    ("403", "check", {}, "failed", False, 1),
    ("hang", "check", {}, "failed", True, None),
    ("lost", "check", {"times": 2}, "canceled", None, 1),
]


@pytest.mark.parametrize("max_concurrency", [1, 32])
@pytest.mark.parametrize(("kind", "request_of_it", "options", "outcome", "is_retried", "count"), ONE_FAULT)
def test_a_fault_of_one_run_affects_no_other_and_a_check_decides_its_outcome(
    world: World,
    kind: str,
    request_of_it: str,
    options: dict[str, Any],
    outcome: str,
    is_retried: bool | None,
    count: int | None,
    max_concurrency: int,
) -> None:
    run_ids = executing(world, "run_0", "run_1", "run_2")
    world.network.fault(kind, REQUESTS[request_of_it], **options)
    task = cancel(world, run_ids, max_concurrency=max_concurrency)
    assert outcomes(task) == dict.fromkeys(run_ids, "canceled") | {"run_1": outcome}
    assert count in (None, len(cancels(world, "run_1")))
    assert (task.outcome.error is None) is (is_retried is None)
    if is_retried is not None:
        assert isinstance(task.outcome.error, AirflowFailException) is not is_retried
        assert "run_1" in str(task.outcome.error)
        assert results(task)[1]["error"]


def test_a_run_that_is_still_alive_long_after_its_cancel_gets_another_one(world: World) -> None:
    [run_id] = start(world, 1)
    run = world.server.runs[run_id]

    def undo_the_first(request: str) -> None:
        if request.startswith("GET") and run.cancel_requests == 1:
            run.status = "EXECUTING"

    world.network.before = undo_the_first
    assert outcomes(cancel(world, run_id)) == {run_id: "canceled"}
    assert run.cancel_requests == 2


def test_failures_of_one_kind_do_not_use_up_the_tries_of_another(world: World) -> None:
    run = world.server.add_run("EXECUTING")
    world.connect(retry_for=300)
    for _ in range(2):
        world.network.fault("503", "/cancel", times=6, headers={"retry-after": "1"})
        world.network.fault("500", "/cancel", times=1)
    assert outcomes(cancel(world, run.id)) == {run.id: "canceled"}


def test_a_cancel_that_hangs_holds_up_no_other_run(world: World) -> None:
    run_ids = executing(world, *[f"run_{number:02}" for number in range(20)])
    world.network.fault("hang", "run_00/cancel")
    task = cancel(world, run_ids, max_concurrency=2)
    assert outcomes(task) == dict.fromkeys(run_ids, "canceled") | {"run_00": "failed"}
    assert max(one.at for one in world.network.sent if "run_00" not in one.request) < 1002


@pytest.mark.parametrize("part", ["/cancel", "GET"])
def test_a_request_is_repeated_as_long_as_the_connection_says(world: World, part: str) -> None:
    world.network.fault("503", part, after=True)
    cancel(world, executing(world, "run_1"))
    sent = [one.at for one in world.network.sent if part in one.request]
    assert 30 < sent[-1] - 1000 <= 61


# What the server does with all requests, how long the task may take then, and how many requests.
BROKEN = {"401": (30, 60), "page": (200, 120), "hang": (1200, 300), "503": (130, 300)}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_failing_server_costs_bounded_time_and_each_run_is_named(world: World, kind: str) -> None:
    run_ids = start(world, 100)
    world.network.fault(kind)
    task = cancel(world, run_ids)
    seconds, requests = BROKEN[kind]
    assert task.outcome.state == "failed"
    assert (world.now < seconds, len(world.network.sent) < requests) == (True, True)
    assert outcomes(task) == dict.fromkeys(run_ids, "failed")
    shown = "\n".join(world.log.lines) + str(task.outcome.error)
    assert kind != "401" or "trigger_dev_default" in shown
    assert all(run_id in shown for run_id in run_ids[:5])


def test_the_hook_cancels_within_a_time_limit(world: World) -> None:
    run_ids = start(world, 100)
    world.network.outage("503")
    found = TriggerDevHook().cancel_runs(run_ids)
    assert [(one.run_id, one.outcome) for one in found] == [(run_id, "failed") for run_id in run_ids]
    assert world.now < 130


@pytest.mark.parametrize("world", [{"rate_limit": 60, "refill": 60, "refill_interval": 2.0}], indirect=True)
@pytest.mark.parametrize("max_concurrency", [1, 32])
@pytest.mark.parametrize("others", ["nothing", "the bucket", "429s"])
def test_the_rate_limit_is_obeyed(world: World, others: str, max_concurrency: int) -> None:
    run_ids = start(world, 200)
    if others == "the bucket":
        world.server.take_tokens(60)
    elif others == "429s":
        world.network.fault("429", end=1010.0, headers={"retry-after": "10"})
    task = cancel(world, run_ids, max_concurrency=max_concurrency)
    assert outcomes(task) == dict.fromkeys(run_ids, "canceled")
    rejected = sum(one.status == 429 for one in world.network.sent)
    assert rejected <= (0 if others == "nothing" else max_concurrency)  # those in flight


@pytest.mark.parametrize("world", [{"rate_limit": 150, "refill": 50, "refill_interval": 1.0}], indirect=True)
def test_of_many_tasks_under_one_small_bucket_none_starves(world: World) -> None:
    runs = [start(world, 30) for _ in range(10)]
    tasks = [canceling(world, run_ids, max_concurrency=8).begin() for run_ids in runs]
    assert [task.join().state for task in tasks] == ["success"] * 10
    assert not world.network.alive()
    assert world.now < 30


def test_progress_is_logged_every_10_s(world: World) -> None:
    world.network.latency = (6.0, 6.0)
    cancel(world, executing(world, "run_1", "run_2", "run_3"), max_concurrency=1)
    first, *_, last = [line for line in world.log.lines if " cancel requests sent, " in line]
    assert first == "2 of 3 cancel requests sent, 0 runs finished"
    assert last == "3 of 3 cancel requests sent, 2 runs finished"


# Where Airflow stops the task

STOPS: dict[str, dict[str, Any]] = {
    "in a cancel": {"kind": "hang", "part": "/cancel"},
    "in a status check": {"kind": "hang", "part": "GET"},
    "in a wait for the rate limit": {"kind": "429", "headers": {"retry-after": "60"}},
    "in a pause before a retry": {"kind": "503", "headers": {"retry-after": "60"}},
    "in the pause before another check": {"kind": "stale", "part": "GET"},
    "in the wait for termination": {"kind": "stale", "times": 0},
}


@pytest.mark.parametrize("place", STOPS)
def test_a_stop_ends_the_work_at_once_and_for_good(world: World, place: str) -> None:
    world.connect(timeout=3600, retry_for=3600)
    run_ids = executing(world, *[f"run_{number}" for number in range(40)], acknowledge_after=None)
    world.network.fault(**STOPS[place])
    waits = place == "in the wait for termination"
    task = canceling(world, run_ids, max_concurrency=8, wait_for_termination=waits).begin()
    world.sleep(2)
    task.terminate()
    world.until(lambda: not task.is_running, within=1.1)
    assert list(outcomes(task)) == run_ids
    assert set(outcomes(task).values()) <= {"canceled", "failed"}
    assert [line for line in world.log.lines if "40 Trigger.dev runs:" in line]
    if not IS_AIRFLOW_2:  # which ends the task by an error of its own
        assert "Airflow stopped the task before its work was done" in str(task.outcome.error)
    sent = len(world.network.sent)
    world.sleep(100)
    assert len(world.network.sent) == sent


def test_the_last_error_is_named_at_a_stop(world: World) -> None:
    world.network.fault("503", "/cancel", headers={"retry-after": "9"})
    task = canceling(world, executing(world, "run_1")).begin()
    world.sleep(1)
    task.terminate()
    world.until(lambda: not task.is_running, within=1)
    [error] = [one["error"] for one in results(task)]
    assert error.startswith("cancel requested, but not acknowledged: canceling was stopped; last error: POST")
    assert "answered 503: simulated" in error


@pytest.mark.parametrize(
    ("stop_at", "third"),
    [
        (2.4, "cancel requested, but not acknowledged"),
        (2.6, "cancel requested, but the status was not checked"),  # answered within 0.5 s
    ],
)
def test_a_stop_reports_what_is_known_of_each_run(world: World, stop_at: float, third: str) -> None:
    world.network.latency = (1.0, 1.0)
    run_ids = executing(world, "run_1", "run_2", "run_3", "run_4")
    operator = CancelTriggerRunOperator(task_id="cancel", run_ids=run_ids, max_concurrency=1)
    task = world.task(lambda: operator).begin()
    world.sleep(stop_at)
    operator.on_kill()
    task.join()
    assert [one["error"] for one in results(task)] == [
        "cancel requested, but the status was not checked: canceling was stopped",
        "cancel requested, but the status was not checked: canceling was stopped",
        f"{third}: canceling was stopped",
        "not sent: canceling was stopped",
    ]
    assert world.now < 3.3


@pytest.mark.parametrize("error", [AirflowTaskTimeout, KeyboardInterrupt, SystemExit])
def test_what_airflow_raises_ends_work_and_keeps_results(world: World, error: type[BaseException]) -> None:
    def fail() -> None:
        raise error

    world.network.fault("hang", "run_1/cancel")
    task = canceling(world, executing(world, "run_1", "run_2"), max_concurrency=1).begin()
    world.sleep(1)
    task.interrupt(fail)
    world.until(lambda: not task.is_running, within=0.7)
    assert type(task.outcome.error) is error
    world.sleep(60)  # what comes later changes nothing
    assert [one["error"] for one in results(task)] == [
        "cancel requested, but not acknowledged: canceling was stopped",
        "not sent: canceling was stopped",
    ]
    assert len(cancels(world)) == 1
    assert "2 Trigger.dev runs: 2 failed" in world.log.lines[-1]


@pytest.mark.parametrize("most", [5, 2])
def test_how_many_requests_are_in_flight(world: World, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world.network.latency = (1.0, 1.0)
    begin, left = Thread.start, list(range(most))

    def begin_while_possible(thread: Thread) -> None:
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        begin(thread)

    task = canceling(world, executing(world, *[f"run_{n}" for n in range(10)]), max_concurrency=5).begin()
    monkeypatch.setattr(Thread, "start", begin_while_possible)
    task.join()
    assert set(outcomes(task).values()) == {"canceled"}
    assert sum(at < 0.9 for at in cancels(world)) == most
    limited = "Working with 2 of 5 threads: no thread could be started: can't start new thread"
    assert (limited in world.log.lines) is (most == 2)


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_bug_in_a_thread_is_raised_in_the_task(world: World, error: type[BaseException]) -> None:
    def fail(_: str) -> None:
        raise error("a bug")

    task = canceling(world, executing(world, *[f"run_{n}" for n in range(10)]))
    world.network.before = fail
    assert repr(task.run().error) == repr(error("a bug"))


# Waiting until runs are terminated


@pytest.mark.parametrize(("acknowledge_after", "is_terminated"), [(3.0, True), (60.0, False)])
@pytest.mark.parametrize("kind", [None, "hang", "503"])
def test_a_run_is_checked_until_it_is_terminated_or_the_wait_ends(
    world: World, acknowledge_after: float, is_terminated: bool, kind: str | None
) -> None:
    run_ids = executing(world, "run_1", acknowledge_after=acknowledge_after)
    if kind:
        world.network.fault(kind, "GET", start=1001.0)  # after the first check
    task = cancel(world, run_ids, wait_for_termination=True, termination_timeout=9.0, poll_interval=2.0)
    [result] = results(task)
    is_terminated = is_terminated and not kind
    assert (result["outcome"], result["terminated"]) == ("canceled", is_terminated)
    assert world.now < 10
    assert not is_terminated or len(world.network.requests("GET")) == 3
    lines = [text for text in world.log.of("warning") if "not terminated within 9 s: " in text]
    assert ["run_1" in line for line in lines] == ([] if is_terminated else [True])


@pytest.mark.parametrize("count", [5, 400])
def test_termination_is_waited_for_and_shows_what_completed_in_spite_of_it(world: World, count: int) -> None:
    world.server.on_task("resize", after=None, acknowledge_after=20)
    world.server.on_task("resize", times=1, after=None, acknowledge_after=20, completes_despite_cancel=True)
    run_ids = [world.server.trigger("resize")[0].id for _ in range(count)]
    world.sleep(10)
    task = cancel(world, run_ids, wait_for_termination=True)
    assert world.now > 30
    assert [one["terminated"] for one in results(task)] == [True] * count
    assert [one["status"] for one in results(task)] == ["COMPLETED"] + ["CANCELED"] * (count - 1)
    assert results(task)[0]["outcome"] == "already_completed"


def test_a_suspended_run_that_resumes_just_before_its_cancel_is_not_terminated(world: World) -> None:
    run = world.server.add_run("WAITING", acknowledge_after=20)

    def resume(request: str) -> None:
        if request.endswith("/cancel"):
            run.status = "EXECUTING"

    world.network.before = resume
    task = cancel(world, run.id, wait_for_termination=True)
    assert [one["terminated"] for one in results(task)] == [True]
    assert run.terminated


# In bulk


@pytest.mark.parametrize(("count", "sizes"), [(300, []), (301, [301]), (1001, [500, 500, 1])])
def test_more_than_300_runs_are_canceled_500_at_a_time(world: World, count: int, sizes: list[int]) -> None:
    task = cancel(world, many_runs(world, count))
    assert set(outcomes(task).values()) == {"canceled"}
    assert sorted([len(one.members) for one in world.server.bulk.values()], reverse=True) == sizes
    assert len(cancels(world)) == (0 if sizes else count)
    assert world.now < 5 + 6


@pytest.mark.parametrize("has_query", [True, False])
def test_where_the_bulk_worker_is_off_single_cancels_begin_soon(world: World, has_query: bool) -> None:
    run_ids = many_runs(world, 400)
    world.server.bulk_duration = None
    if not has_query:
        world.network.fault("403", "/query")
    assert set(outcomes(cancel(world, run_ids)).values()) == {"canceled"}
    assert len(cancels(world)) == 400
    assert cancels(world)[0] - 5 < 4.3
    assert world.now < 25


def test_runs_that_complete_by_themselves_are_no_sign_of_a_bulk_worker(world: World) -> None:
    run_ids = many_runs(world, 400)
    ending = [world.server.add_run("EXECUTING", then=[(0.2 * n, "COMPLETED")]).id for n in range(1, 100)]
    world.server.bulk_duration = None
    cancel(world, run_ids + ending)
    assert cancels(world)[0] - 5 < 4.3


@pytest.mark.parametrize(
    ("kind", "options"),
    [("403", {}), ("500", {}), ("500", {"after": True}), ("lost", {}), ("hang", {}), ("page", {})],
)
def test_a_bulk_action_that_fails_takes_nothing_from_any_run(world: World, kind: str, options: Any) -> None:
    run_ids = many_runs(world, 301)
    world.network.fault(kind, "/bulk-actions", **options)
    assert set(outcomes(cancel(world, run_ids)).values()) == {"canceled"}
    assert len(world.network.requests("/bulk-actions")) == 1
    assert len(cancels(world)) == 301


@pytest.mark.parametrize("part", ["/bulk-actions", "/query"])
@pytest.mark.parametrize("headers", [{"retry-after": "7"}, {}])
def test_bulk_requests_are_repeated_after_a_429(world: World, part: str, headers: dict[str, str]) -> None:
    run_ids = many_runs(world, 301)
    world.network.fault("429", part, times=2, headers=headers)
    assert set(outcomes(cancel(world, run_ids)).values()) == {"canceled"}
    assert not cancels(world)


def test_where_it_is_rejected_again_and_again_single_cancels_begin(world: World) -> None:
    run_ids = many_runs(world, 301)
    world.network.fault("429", "/bulk-actions")
    assert set(outcomes(cancel(world, run_ids)).values()) == {"canceled"}
    assert len(cancels(world)) == 301
    assert cancels(world)[0] - 5 < 5


def test_what_bulk_actions_leave_out_and_what_no_query_shows_is_canceled_alone(world: World) -> None:
    run_ids = many_runs(world, 301)
    world.server.bulk_lag = 2.0
    new = start(world, 2)
    task = cancel(world, [*run_ids, *new, "run_x"], on_not_found="ignore")
    assert outcomes(task) == dict.fromkeys([*run_ids, *new], "canceled") | {"run_x": "not_found"}
    sent = world.network.requests("/cancel")
    assert len(sent) == 3
    assert not any(run_id in request for run_id in run_ids for request in sent)


# Descendants

# Of each run its status and parent; which are given; those that are canceled in addition, with their parents.
TREES: dict[str, tuple[dict[str, tuple[str, str | None]], str, dict[str, str]]] = {
    "three levels": (
        {"a": ("EXECUTING", None), "b": ("EXECUTING", "a"), "c": ("QUEUED", "b"), "d": ("WAITING", "b")},
        "a",
        {"b": "a", "c": "b", "d": "b"},
    ),
    "below one that had ended": (
        {"a": ("EXECUTING", None), "b": ("COMPLETED", "a"), "c": ("EXECUTING", "a"), "d": ("QUEUED", "b")},
        "ca",
        {"d": "b"},
    ),
    "of a child only its own": (
        {"a": ("EXECUTING", None), "b": ("EXECUTING", "a"), "c": ("EXECUTING", "a"), "d": ("QUEUED", "c")},
        "b",
        {},
    ),
}


@pytest.mark.parametrize("has_query", [True, False])
@pytest.mark.parametrize("tree", TREES)
def test_descendants_are_canceled_after_the_given_runs(world: World, tree: str, has_query: bool) -> None:
    runs, given, found = TREES[tree]
    for run_id, (status, parent) in runs.items():
        world.server.add_run(
            status, run_id=run_id, parent=parent and world.server.runs[parent], acknowledge_after=30
        )
    if not has_query:
        world.network.fault("403", "/query")
    task = cancel(world, list(given), include_descendants=True)
    assert list(outcomes(task).items()) == [(one, "canceled") for one in [*given, *found]]
    assert {one["run_id"]: one["parent_run_id"] for one in results(task) if one.get("parent_run_id")} == found
    expected = {one: int(one in outcomes(task)) for one in runs}
    assert {one: world.server.runs[one].cancel_requests for one in runs} == expected


def test_what_a_run_starts_after_its_cancel_is_canceled_too(world: World) -> None:
    executing(world, "a", acknowledge_after=60)

    def start_later() -> None:
        for name in ("b", "c"):
            world.sleep(2.0)
            world.server.add_run("QUEUED", run_id=name, parent=world.server.runs["a"])

    world.hub.spawn(start_later)
    assert outcomes(cancel(world, "a", include_descendants=True)) == dict.fromkeys("abc", "canceled")


# Which checks fail, and from when on.
@pytest.mark.parametrize(
    ("kind", "run_id", "start"),
    [("403", "b", 0.0), ("503", "a", 1000.3), ("hang", "a", 1000.3), (None, "a", 0.0)],
)
def test_descendants_may_be_missing(world: World, kind: str | None, run_id: str, start: float) -> None:
    executing(world, "a", acknowledge_after=60)
    world.server.add_run("COMPLETED", run_id="b", parent=world.server.runs["a"])
    if kind:
        world.network.fault(kind, f"GET /api/v3/runs/{run_id}", start=start)
    assert outcomes(cancel(world, "a", include_descendants=True)) == {"a": "canceled"}
    said = [line for line in world.log.lines if f"these runs could not be checked: {run_id}" in line]
    assert bool(said) is bool(kind)


def test_a_check_that_fails_once_leaves_no_doubt_about_descendants(world: World) -> None:
    executing(world, "a", acknowledge_after=60)
    world.network.fault("503", "GET /api/v3/runs/a", start=1000.3, end=1002.0)
    cancel(world, "a", include_descendants=True)
    assert not [line for line in world.log.lines if "Descendants" in line]


@pytest.mark.parametrize("of_parent", [True, False])
def test_a_child_is_terminated_when_its_own_worker_has_stopped(world: World, of_parent: bool) -> None:
    parent = world.server.add_run("EXECUTING", run_id="a", acknowledge_after=0.2)
    world.server.add_run("EXECUTING", run_id="b", parent=parent, acknowledge_after=20)
    world.server.add_run("FAILED", run_id="c", parent=parent)
    parent.cancel()
    world.sleep(1)
    given = "a" if of_parent else "b"
    task = cancel(world, given, include_descendants=of_parent, wait_for_termination=True)
    assert 19 < world.now < 25
    assert [one["run_id"] for one in results(task)] == (["a", "b"] if of_parent else ["b"])
    assert [one["terminated"] for one in results(task)] == [True] * len(results(task))


@pytest.mark.parametrize("world", [{"list_lag": 2.0}], indirect=True)
def test_given_runs_that_are_found_late_come_before_descendants(world: World) -> None:
    executing(world, "a")
    world.server.add_run("EXECUTING", run_id="child", parent=world.server.runs["a"])
    [found] = start(world, 1, tags=["a"])
    task = cancel(world, "a", tags=["a"], include_descendants=True)
    assert [one["run_id"] for one in results(task)] == ["a", found, "child"]


def test_a_descendant_that_vanishes_is_no_failure(world: World) -> None:
    executing(world, "a")
    for name in "bc":
        world.server.add_run("QUEUED", run_id=name, parent=world.server.runs["a"])
    world.network.before = lambda request: "/b/cancel" in request and world.server.runs.pop("b", None)
    task = cancel(world, "a", include_descendants=True)
    assert task.outcome.state == "success", task.outcome.error
    assert outcomes(task) == {"a": "canceled", "b": "not_found", "c": "canceled"}


# Runs that are searched


@pytest.mark.parametrize("world", [{"list_lag": 2.0}], indirect=True)
def test_tags_find_also_what_was_just_started_and_each_run_is_canceled_once(world: World) -> None:
    tagged, others = start(world, 30, tags=["night", "etl"]), start(world, 2)
    for tags in (["night"], ["etl"], ["night", "ETL"], ["night,etl"]):
        others += start(world, 1, tags=tags)
    world.sleep(10)
    new = start(world, 2, tags=["etl", "night"])
    task = cancel(world, tagged[0], tags=["night", "etl"])
    assert set(outcomes(task)) == {*tagged, *new}
    assert len(cancels(world)) == 32
    assert sorted(world.network.alive()) == sorted(others)


@pytest.mark.parametrize("count", [1, 1200])
def test_a_search_that_hangs_holds_up_no_given_run(world: World, count: int) -> None:
    run_ids = many_runs(world, count)
    world.network.fault("hang", "GET /api/v1/runs")
    world.network.fault("503", "/cancel", times=1)
    begun = world.now
    task = world.task(lambda: CancelTriggerRunOperator(task_id="cancel", run_ids=run_ids, tags=["a"])).begin()
    world.until(lambda: not world.network.alive(), within=30)
    sizes = sorted(len(one.members) for one in world.server.bulk.values())
    assert sizes == ([] if count == 1 else [200, 500, 500])
    assert count > 1 or world.now - begun < 3
    task.stop()
    task.join()


def test_given_runs_are_canceled_before_a_search_that_hangs_and_a_stop_ends_it(world: World) -> None:
    [run_id] = start(world, 1)
    world.network.fault("hang", "GET /api/v1/runs")
    task = canceling(world, run_id, tags="night").begin()
    world.sleep(2)
    task.terminate()
    world.until(lambda: not task.is_running, within=2)
    assert list(outcomes(task)) == [run_id]
    assert world.network.statuses() == ["CANCELED"]
    if not IS_AIRFLOW_2:  # which ends the task by an error of its own
        text = "Airflow stopped the task before its work was done"
        assert text in str(task.outcome.error)


@pytest.mark.parametrize("is_old_server", [False, True])
def test_a_batch_is_canceled_and_nothing_else(world: World, is_old_server: bool) -> None:
    others = start(world, 300)
    task = {"task_id": "start", "task_identifier": "resize", "payloads": [1, 2, 3]}
    started = world.task(lambda: RunTriggerTaskBatchOperator(**task, wait_for_completion=False)).run()
    world.sleep(10)
    if is_old_server:
        world.network.unknown_parameters.append("filter[batch]")
    [batch_id] = world.server.batches
    assert sorted(outcomes(cancel(world, batch_ids=batch_id))) == sorted(started.result)
    assert sorted(world.network.alive()) == sorted(others)
    assert len(world.network.sent) < 50  # it reads no one else's runs


# A callback


def test_the_notifier_cancels_what_its_task_has_started_and_nothing_else(world: World) -> None:
    world.server.on_task("resize", after=None)
    task = world.task(lambda: RunTriggerTaskOperator(task_id="start", task_identifier="resize")).begin()
    world.sleep(10)
    task.kill()
    [run] = world.server.runs.values()
    replay, other = world.server.replay(run), start(world, 1)[0]
    world.sleep(10)
    task.ti.xcoms.clear()
    CancelTriggerRunNotifier().notify(context_of(task.ti))
    assert sorted(world.network.alive()) == sorted([replay.id, other])
    assert replay.id in "\n".join(world.log.lines)


@pytest.mark.parametrize(("kind", "count"), [("hang", 20), ("503", 20), ("hang", 4000)])
def test_the_notifier_ends_in_time_and_names_what_is_left(world: World, kind: str, count: int) -> None:
    run_ids = [f"run_{number}" for number in range(count)]
    world.network.outage(kind)
    CancelTriggerRunNotifier(run_ids=run_ids, timeout=10).notify(context_of())
    assert world.now < 12
    log = "\n".join(world.log.lines)
    assert f"{count} Trigger.dev runs" in log
    assert all(run_id in log for run_id in run_ids[:20])


async def awaited(notifier: Any) -> None:
    """Await it as the triggerer does with a deadline's, from 3.1 on; before, nothing does."""
    if hasattr(BaseNotifier, "__await__"):
        notifier.context = {"deadline": {}}
        await notifier
    else:
        await notifier.async_notify({"deadline": {}})


def test_alerts_that_hang_do_not_hold_up_another(world: World) -> None:
    """As the event loop's own threads are shared by all that is awaited in a triggerer."""
    [run_id] = start(world, 1)
    world.network.fault("hang", "run_hanging")
    loop, alerts = world.triggerer.loop, list[Any]()

    def alert(run_id: str, timeout: float) -> None:
        notifier = CancelTriggerRunNotifier(run_ids=[run_id], timeout=timeout)
        loop.call_soon_threadsafe(lambda: alerts.append(loop.create_task(awaited(notifier))))

    loop.call_soon_threadsafe(loop.set_default_executor, ThreadPoolExecutor(2))
    for number in range(6):
        alert(f"run_hanging_{number}", 10)
    world.sleep(0.3)
    alert(run_id, 20)
    world.sleep(2)
    assert world.network.statuses() == ["CANCELED"]
    assert [one.done() for one in alerts] == [False] * 6 + [True]
    world.until(lambda: all(one.done() for one in alerts), within=12)
    text = "1 Trigger.dev run: 1 failed - 1 run may still run (status unknown)"
    assert sum(text in line for line in world.log.lines) == 6
