"""Every run id is tried, what is reported is true, and nothing else is touched."""

from __future__ import annotations

from typing import Any

import pytest
from hub import Thread
from world import World

from airflow_provider_trigger.cancel.record import CancelSettings
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator


def start(world: World, count: int, task: str = "resize") -> list[str]:
    """Start runs as another application would, and return their ids."""
    return [world.server.trigger(task)[0].id for _ in range(count)]


def start_child(world: World, parent: str) -> str:
    """Start a run by another one, and return its id."""
    return world.server.add_run("EXECUTING", parent=world.server.runs[parent]).id


def canceling(run_ids: Any = None, **arguments: Any) -> Any:
    return lambda: CancelTriggerRunOperator(task_id="cancel", run_ids=run_ids, **arguments)


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


@pytest.mark.parametrize("count", [1, 30, 300])
@pytest.mark.parametrize("faults", FAULTS)
def test_all_become_canceled_and_nothing_else(world: World, faults: str, count: int) -> None:
    world.server.on_task("resize", after=None)
    run_ids, others = start(world, count), start(world, 5)
    for fault in FAULTS[faults]:
        world.network.fault(**fault)
    outcome = world.task(canceling(run_ids)).run()
    assert outcome.state == "success", outcome.error
    assert [one["outcome"] for one in outcome.result] == ["canceled"] * count
    assert [world.server.runs[run_id].status for run_id in run_ids] == ["CANCELED"] * count
    assert {world.server.runs[run_id].status for run_id in others} <= {"QUEUED", "EXECUTING"}


def test_what_became_of_each_run_is_reported(world: World) -> None:
    world.server.on_task("done", after=0)
    world.server.on_task("resize", after=None)
    alive, done = start(world, 1), start(world, 1, "done")
    world.sleep(10)
    gone = "run_cmunknown00000000000000000"
    outcome = world.task(canceling([*alive, *done, gone], on_not_found="ignore")).run()
    assert outcome.state == "success"
    shown = {one["run_id"]: (one["outcome"], one["status"]) for one in outcome.result}
    assert shown == {
        alive[0]: ("canceled", "CANCELED"),
        done[0]: ("already_completed", "COMPLETED"),
        gone: ("not_found", None),
    }


def test_a_suspended_run_that_resumes_just_before_its_cancel_is_not_said_to_be_terminated(
    world: World,
) -> None:
    run = world.server.add_run("WAITING", acknowledge_after=20)

    def resume(request: str) -> None:
        if request.endswith("/cancel"):
            run.status = "EXECUTING"

    world.network.before = resume
    outcome = world.task(canceling(run.id, wait_for_termination=True)).run()
    assert [one["terminated"] for one in outcome.result] == [True]
    assert run.terminated


@pytest.mark.parametrize("on_not_found", ["fail", "ignore"])
def test_an_unknown_run_fails_the_task_unless_that_is_ignored(world: World, on_not_found: Any) -> None:
    run_ids = ["run_cmunknown00000000000000000", *start(world, 1)]
    task = world.task(canceling(run_ids, on_not_found=on_not_found))
    assert task.run().state == ("failed" if on_not_found == "fail" else "success")
    outcomes = [one["outcome"] for one in task.pushed["return_value"]]
    assert outcomes == ["not_found", "canceled"]


def test_an_outdated_check_costs_no_second_cancel(world: World) -> None:
    world.server.on_task("resize", after=None)
    run_ids = start(world, 5)
    world.sleep(5)
    world.network.fault("stale", "GET /api/v3/runs", times=5)
    outcome = world.task(canceling(run_ids)).run()
    assert [one["outcome"] for one in outcome.result] == ["canceled"] * 5
    assert [run.cancel_requests for run in world.server.runs.values()] == [1] * 5


def test_a_run_that_is_still_alive_long_after_its_cancel_gets_another_one(world: World) -> None:
    world.server.on_task("resize", after=None)
    [run_id] = start(world, 1)
    run = world.server.runs[run_id]

    def undo_the_first(request: str) -> None:
        if request.startswith("GET") and run.cancel_requests == 1:
            run.status = "EXECUTING"

    world.network.before = undo_the_first
    outcome = world.task(canceling(run_id)).run()
    assert [one["outcome"] for one in outcome.result] == ["canceled"]
    assert run.cancel_requests == 2


@pytest.mark.parametrize("count", [5, 400])
def test_termination_is_waited_for_and_shows_what_completed_in_spite_of_it(world: World, count: int) -> None:
    world.server.on_task("resize", after=None, acknowledge_after=20)
    world.server.on_task("resize", times=1, after=None, acknowledge_after=20, completes_despite_cancel=True)
    run_ids = start(world, count)
    world.sleep(10)
    outcome = world.task(canceling(run_ids, wait_for_termination=True)).run()
    assert world.now > 30
    assert [one["terminated"] for one in outcome.result] == [True] * count
    assert [one["status"] for one in outcome.result] == ["COMPLETED"] + ["CANCELED"] * (count - 1)
    assert outcome.result[0]["outcome"] == "already_completed"


@pytest.mark.parametrize("world", [{"bulk_duration": None}], indirect=True)
@pytest.mark.parametrize("has_query", [True, False])
def test_a_bulk_worker_that_is_off_costs_some_seconds_only(world: World, has_query: bool) -> None:
    world.server.on_task("resize", after=None)
    run_ids = start(world, 400)
    if not has_query:
        world.network.fault("403", "/query")
    outcome = world.task(canceling(run_ids)).run()
    assert {one["outcome"] for one in outcome.result} == {"canceled"}
    assert world.now < 20


@pytest.mark.parametrize("world", [{"rate_limit": 60, "refill": 60, "refill_interval": 2.0}], indirect=True)
@pytest.mark.parametrize("is_shared", [False, True])
def test_the_rate_limit_is_obeyed(world: World, is_shared: bool) -> None:
    world.server.on_task("resize", after=None)
    run_ids = start(world, 200)
    if is_shared:
        world.server.take_tokens(60)
    outcome = world.task(canceling(run_ids)).run()
    assert {one["outcome"] for one in outcome.result} == {"canceled"}
    assert len(world.network.rejected_at) <= (32 if is_shared else 0)  # those in flight


def test_a_rate_limit_of_others_is_obeyed_too(world: World) -> None:
    world.server.on_task("resize", after=None)
    run_ids = start(world, 200)
    world.network.fault("429", end=1010.0, headers={"retry-after": "10"})
    outcome = world.task(canceling(run_ids)).run()
    assert {one["outcome"] for one in outcome.result} == {"canceled"}
    assert sum(sent.status == 429 for sent in world.network.sent) <= 32  # those in flight


def test_a_server_that_hangs_ends_the_task_with_what_is_not_known(world: World) -> None:
    world.server.on_task("resize", after=None)
    run_ids = start(world, 50)
    world.network.outage("hang")
    outcome = world.task(canceling(run_ids, retries=0)).run()
    assert outcome.state == "failed"
    assert all(run_id in "\n".join(world.log.lines) + str(outcome.error) for run_id in run_ids[:5])
    assert world.now < 1200


def test_a_rejected_key_ends_the_work_soon(world: World) -> None:
    world.server.on_task("resize", after=None)
    run_ids = start(world, 200)
    world.network.fault("401")
    outcome = world.task(canceling(run_ids)).run()
    assert outcome.state == "failed"
    assert "trigger_dev_default" in str(outcome.error)
    assert world.now < 30
    assert len(world.network.sent) < 60


@pytest.mark.parametrize("has_query", [True, False])
def test_children_are_canceled_with_their_parents(world: World, has_query: bool) -> None:
    world.server.on_task("resize", after=None)
    root = start(world, 1)[0]
    children = [start_child(world, root) for _ in range(3)]
    grandchildren = [start_child(world, one) for one in children]
    if not has_query:
        world.network.fault("403", "/query")
    outcome = world.task(canceling(root, include_descendants=True)).run()
    assert outcome.state == "success", outcome.error
    assert {one["run_id"] for one in outcome.result} == {root, *children, *grandchildren}
    assert set(world.network.statuses()) == {"CANCELED"}


def test_the_hook_cancels_within_a_time_limit(world: World) -> None:
    world.server.on_task("resize", after=None)
    run_ids = start(world, 100)
    world.network.outage("503")
    hook = TriggerDevHook()
    results = hook.cancel_runs(run_ids)
    assert len(results) == 100
    assert {one.outcome for one in results} == {"failed"}
    assert world.now < 130


# What becomes of requests that fail, and of an early end


def cancel(run_ids: Any, further: Any = None, *, is_stopped: Any = lambda: False, **settings: Any) -> Any:
    """Cancel runs by the hook, and return the work that has ended."""
    with TriggerDevHook().cancellation(run_ids, CancelSettings(**settings), is_stopped=is_stopped) as work:
        work.run(further)
    return work


def outcomes(work: Any) -> dict[str, str]:
    return {one.run_id: one.outcome.value for one in work.results}


def cancels(world: World, run_id: str = "") -> list[float]:
    """Return when cancels of single runs were sent."""
    return [one.at - 1000.0 for one in world.network.sent if f"{run_id}/cancel" in one.request]


def executing(world: World, *run_ids: str, **options: Any) -> list[str]:
    return [world.server.add_run("EXECUTING", run_id=run_id, **options).id for run_id in run_ids]


def test_results_are_in_the_order_of_the_ids_however_they_ended(world: World) -> None:
    executing(world, "run_1", "run_2", "run_3")
    for part in ("POST /api/v2/runs/run_1/", "GET /api/v3/runs/run_2"):
        world.network.fault("403", part)
    work = cancel(["run_1", "..", "run_2", "run_x", "run_3", "run_1"])
    assert list(outcomes(work).items()) == [
        ("run_1", "failed"),  # alive
        ("..", "failed"),  # an id that cannot be sent
        ("run_2", "failed"),  # its check failed
        ("run_x", "not_found"),
        ("run_3", "canceled"),
    ]
    assert [one.retryable for one in work.results[:3]] == [False] * 3
    assert [one.status for one in work.results[:3]] == ["EXECUTING", None, None]
    assert work.results[1].error == "not sent: '..' cannot be the id of a run"
    assert len(cancels(world, "run_1")) == 1
    assert work.finished


def test_a_cancel_that_hangs_holds_up_no_other_run(world: World) -> None:
    run_ids = executing(world, *[f"run_{number:02}" for number in range(20)])
    world.network.fault("hang", "run_00/cancel")
    work = cancel(run_ids, max_concurrency=2, time_limit=30.0)
    assert outcomes(work) == dict.fromkeys(run_ids, "canceled") | {"run_00": "failed"}
    assert max(one.at for one in world.network.sent if "run_00" not in one.request) < 1002


@pytest.mark.parametrize(
    ("kind", "part", "options", "outcome", "cancels_sent"),
    [
        ("503", "/cancel", {"after": True}, "canceled", None),  # only its answers are lost
        ("500", "/cancel", {"times": 6}, "canceled", 7),  # it gets one more
        ("stale", "GET", {"times": 4}, "canceled", 1),
        ("stale", "GET", {}, "failed", 2),
        ("401", "/cancel", {"times": 1, "headers": {"x-should-retry": "false"}}, "canceled", 2),
        ("401", "GET", {"times": 1, "headers": {"retry-after": "60"}}, "canceled", 1),
    ],
)
def test_a_check_decides_the_outcome(
    world: World, kind: str, part: str, options: Any, outcome: str, cancels_sent: int | None
) -> None:
    world.network.fault(kind, part, **options)
    work = cancel(executing(world, "run_1"))
    assert outcomes(work) == {"run_1": outcome}
    assert cancels_sent in (None, len(cancels(world)))
    if outcome == "failed":
        assert work.results[0].error == "still EXECUTING after 2 cancel requests"
        assert work.results[0].retryable


@pytest.mark.parametrize(
    ("part", "time_limit", "earliest", "latest"),
    [
        ("/cancel", None, 30, 60),  # as long as any call
        ("/cancel", 300, 120, 240),  # time for a check is left
        ("GET", None, 30, 60),
        ("GET", 300, 240, 300),
    ],
)
def test_a_request_is_repeated_while_there_is_time_for_it(
    world: World, part: str, time_limit: float | None, earliest: float, latest: float
) -> None:
    world.network.fault("503", part, after=True)
    cancel(executing(world, "run_1"), time_limit=time_limit)
    sent = [one.at for one in world.network.sent if part in one.request]
    assert earliest < sent[-1] - 1000 <= latest + 1


def test_a_server_that_is_none_of_trigger_devs_costs_a_few_requests(world: World) -> None:
    world.network.fault("page")
    work = cancel(executing(world, *[f"run_{number}" for number in range(50)]), time_limit=30.0)
    assert set(outcomes(work).values()) == {"failed"}
    assert len(world.network.sent) < 100


@pytest.mark.parametrize(
    ("stop_at", "third"),
    [
        (2.4, "cancel requested, but not acknowledged"),
        (2.6, "cancel requested, but the status was not checked"),  # answered within 0.5 s
    ],
)
def test_at_an_early_end_each_run_has_what_is_known_of_it(world: World, stop_at: float, third: str) -> None:
    world.network.latency = (1.0, 1.0)
    work = cancel(
        executing(world, "run_1", "run_2", "run_3", "run_4"),
        max_concurrency=1,
        is_stopped=lambda: world.now > stop_at,
    )
    assert [one.error for one in work.results] == [
        "cancel requested, but the status was not checked: canceling was stopped",
        "cancel requested, but the status was not checked: canceling was stopped",
        f"{third}: canceling was stopped",
        "not sent: canceling was stopped",
    ]
    assert (work.stopped, work.finished) == (True, False)
    assert world.now < 3.3


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, TimeoutError])
def test_what_is_raised_in_the_calling_thread_passes_although_a_request_is_not_answered(
    world: World, error: type[BaseException]
) -> None:
    """As Airflow does it at an execution_timeout."""

    def is_stopped() -> bool:
        if world.now > 1:
            raise error
        return False

    world.network.fault("hang", "run_2/cancel")
    run_ids, settings = executing(world, "run_1", "run_2"), CancelSettings()
    with TriggerDevHook().cancellation(run_ids, settings, is_stopped=is_stopped) as work:
        with pytest.raises(error):
            work.run()
        assert world.now < 1.7
        assert [one.error for one in work.results] == [
            None,
            "cancel requested, but not acknowledged: canceling was stopped",
        ]
        world.sleep(60)
        assert len(cancels(world)) == 2  # what comes later changes nothing


@pytest.mark.parametrize("most", [5, 2])
def test_as_many_requests_are_in_flight_as_allowed_or_as_threads_can_be_started(
    world: World, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.network.latency = (1.0, 1.0)
    begin, left = Thread.start, list(range(most))

    def begin_while_possible(thread: Thread) -> None:
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        begin(thread)

    run_ids = executing(world, *[f"run_{number}" for number in range(10)])
    monkeypatch.setattr(Thread, "start", begin_while_possible)
    assert set(outcomes(cancel(run_ids, max_concurrency=5)).values()) == {"canceled"}
    assert sum(at < 0.9 for at in cancels(world)) == most
    limited = "Working with 2 of 5 threads: no thread could be started: can't start new thread"
    assert (limited in world.log.lines) is (most == 2)


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_bug_in_a_thread_is_raised_in_the_calling_one(world: World, error: type[BaseException]) -> None:
    def fail(_: str) -> None:
        raise error("a bug")

    run_ids = executing(world, *[f"run_{number}" for number in range(10)])
    world.network.before = fail
    with pytest.raises(error, match="a bug"):
        cancel(run_ids, max_concurrency=2)


def test_the_last_error_is_named_at_an_early_end(world: World) -> None:
    world.network.fault("503", "/cancel", headers={"retry-after": "9"})
    work = cancel(executing(world, "run_1"), is_stopped=lambda: world.now > 1)
    [error] = [str(one.error) for one in work.results]
    assert error.startswith("cancel requested, but not acknowledged: canceling was stopped; last error: POST")
    assert "answered 503: simulated" in error


def test_progress_is_logged_every_10_s(world: World) -> None:
    world.network.latency = (6.0, 6.0)
    cancel(executing(world, "run_1", "run_2", "run_3"), max_concurrency=1)
    first, *_, last = [line for line in world.log.lines if " cancel requests sent, " in line]
    assert first == "2 of 3 cancel requests sent, 0 runs finished"
    assert last == "3 of 3 cancel requests sent, 2 runs finished"


def test_further_runs_are_canceled_once_while_they_are_read(world: World) -> None:
    run_ids = executing(world, "run_1", "run_2", "run_3")
    work = cancel(run_ids[:1], iter([["run_2"], [], ["run_1", "run_3"]]))
    assert outcomes(work) == dict.fromkeys(run_ids, "canceled")
    assert len(cancels(world)) == 3


# Waiting until runs are terminated


@pytest.mark.parametrize(("acknowledge_after", "is_terminated"), [(3.0, True), (60.0, False)])
@pytest.mark.parametrize("kind", [None, "hang", "503"])
def test_a_run_is_checked_until_it_is_terminated_or_the_wait_ends(
    world: World, acknowledge_after: float, is_terminated: bool, kind: str | None
) -> None:
    run_ids = executing(world, "run_1", acknowledge_after=acknowledge_after)
    if kind:
        world.network.fault(kind, "GET", start=1001.0)  # after the first check
    work = cancel(run_ids, termination_timeout=9.0, poll_interval=2.0)
    [result] = work.results
    assert (result.outcome, result.terminated) == ("canceled", is_terminated and not kind)
    assert world.now < 10
    checks = world.network.requests("GET")
    assert not result.terminated or len(checks) == 3


# In bulk


@pytest.mark.parametrize(("runs", "sizes"), [(300, []), (301, [301]), (1001, [500, 500, 1])])
def test_more_than_300_runs_are_canceled_in_bulk_500_at_a_time(
    world: World, runs: int, sizes: list[int]
) -> None:
    run_ids = many_runs(world, runs)
    work = cancel(run_ids)
    assert set(outcomes(work).values()) == {"canceled"}
    sent = [(len(one.members), one.name) for one in world.server.bulk.values()]
    assert sorted(sent, reverse=True) == [(size, "Canceled by Apache Airflow") for size in sizes]
    assert len(cancels(world)) == (0 if sizes else runs)


def many_runs(world: World, count: int = 40) -> list[str]:
    """Start runs that are old enough for bulk actions, which cancel them all at once."""
    world.server.on_task("resize", after=None)
    run_ids = start(world, count)
    world.sleep(5)
    world.server.bulk_rate = None
    return run_ids


def test_what_bulk_actions_cancel_soon_is_known_soon(world: World) -> None:
    work = cancel(many_runs(world, 1200))
    assert set(outcomes(work).values()) == {"canceled"}
    assert cancels(world) == []
    assert world.now < 5 + 5


@pytest.mark.parametrize("has_query", [True, False])
@pytest.mark.parametrize("time_limit", [None, 120.0, 4.5])
def test_where_the_bulk_worker_is_off_single_cancels_begin_soon(
    world: World, has_query: bool, time_limit: float | None
) -> None:
    run_ids = many_runs(world)
    world.server.bulk_duration = None
    if not has_query:
        world.network.fault("403", "/query")
    work = cancel(run_ids, bulk_from=20, time_limit=time_limit)
    assert set(outcomes(work).values()) == {"canceled"}
    first, *others = cancels(world)
    assert len(others) == 39
    assert first - 5 < (4.3 if time_limit != 4.5 else 1.7)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("403", {}), ("500", {}), ("500", {"after": True}), ("lost", {}), ("hang", {}), ("page", {})],
)
def test_a_bulk_action_that_fails_takes_nothing_from_any_run(world: World, kind: str, options: Any) -> None:
    run_ids = many_runs(world)
    world.network.fault(kind, "/bulk-actions", **options)
    work = cancel(run_ids, bulk_from=20, time_limit=30.0)
    assert set(outcomes(work).values()) == {"canceled"}
    assert len(world.network.requests("/bulk-actions")) == 1
    assert len(cancels(world)) == 40


def test_what_bulk_actions_leave_out_and_what_no_query_shows_is_canceled_alone(world: World) -> None:
    run_ids = many_runs(world)
    world.server.bulk_lag = 2.0
    new = start(world, 2)
    [odd] = executing(world, "it's")
    work = cancel([*run_ids, *new, odd, "run_x"], bulk_from=20)
    expected = dict.fromkeys([*run_ids, *new, odd], "canceled") | {"run_x": "not_found"}
    assert outcomes(work) == expected
    sent = world.network.requests("/cancel")
    assert len(sent) == 4
    assert not any(run_id in request for run_id in run_ids for request in sent)


# Descendants


def test_descendants_of_runs_that_had_ended_are_canceled_and_named_after_the_given_ones(world: World) -> None:
    executing(world, "a")
    add = world.server.add_run
    add("COMPLETED", run_id="b", parent="a")
    add("EXECUTING", run_id="c", parent="a")
    add("QUEUED", run_id="d", parent="b")
    work = cancel(["c", "a"], include_descendants=True)
    assert outcomes(work) == {"c": "canceled", "a": "canceled", "d": "canceled"}
    assert [one.parent_run_id for one in work.results] == [None, None, "b"]
    assert cancels(world, "b") == []
    assert (work.finished, work.unsearched) == (True, [])


def test_what_a_run_starts_after_its_cancel_is_canceled_too(world: World) -> None:
    executing(world, "a", acknowledge_after=60)

    def start_later() -> None:
        for name in ("b", "c"):
            world.sleep(2.0)
            world.server.add_run("QUEUED", run_id=name, parent="a")

    world.hub.spawn(start_later)
    assert outcomes(cancel(["a"], include_descendants=True)) == dict.fromkeys("abc", "canceled")


@pytest.mark.parametrize("kind", ["403", None])
def test_where_descendants_may_be_missing_is_said(world: World, kind: str | None) -> None:
    executing(world, "a")
    world.server.add_run("COMPLETED", run_id="b", parent="a")
    if kind:
        world.network.fault(kind, "GET /api/v3/runs/b")
    work = cancel(["a"], include_descendants=True)
    assert outcomes(work) == {"a": "canceled"}
    assert [one.partition(" (")[0] for one in work.unsearched] == (
        ["these runs could not be checked: b"] if kind else []
    )


def test_descendants_that_are_started_after_the_cancel_are_found(world: World) -> None:
    root = world.server.add_run("EXECUTING", acknowledge_after=5)
    task = world.task(canceling(root.id, include_descendants=True)).begin()
    world.until(lambda: root.status == "CANCELED")
    world.sleep(0.5)
    child = start_child(world, root.id)
    assert {one["run_id"] for one in task.join().result} == {root.id, child}


# Runs that are searched


def tagged(world: World, count: int) -> list[str]:
    """Start runs with a tag as another application would, and return their ids."""
    options = {"tags": ["night"]}
    return [world.server.trigger("resize", options=options)[0].id for _ in range(count)]


@pytest.mark.parametrize("world", [{"list_lag": 2.0}], indirect=True)
def test_a_tag_finds_also_what_was_just_started(world: World) -> None:
    world.server.on_task("resize", after=None)
    old, others = tagged(world, 3), start(world, 2)
    world.sleep(10)
    new = tagged(world, 2)
    outcome = world.task(canceling(tags="night")).run()
    assert {one["run_id"] for one in outcome.result} == {*old, *new}
    assert sorted(world.network.alive()) == sorted(others)


@pytest.mark.parametrize("is_old_server", [False, True])
def test_a_batch_is_canceled_and_nothing_else(world: World, is_old_server: bool) -> None:
    world.server.on_task("resize", after=None)
    others = start(world, 300)
    task = {"task_id": "start", "task_identifier": "resize", "payloads": [1, 2, 3]}
    started = world.task(lambda: RunTriggerTaskBatchOperator(**task, wait_for_completion=False)).run()
    world.sleep(10)
    if is_old_server:
        world.network.unknown_parameters.append("filter[batch]")
    [batch_id] = world.server.batches
    outcome = world.task(canceling(batch_ids=batch_id)).run()
    assert sorted(one["run_id"] for one in outcome.result) == sorted(started.result)
    assert sorted(world.network.alive()) == sorted(others)
    assert len(world.network.sent) < 50  # it reads no one else's runs
