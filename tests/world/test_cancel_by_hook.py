"""How a cancel by the hook ends early, and how many threads it has."""

from __future__ import annotations

from typing import Any

import pytest
from hub import Thread
from test_cancel import cancels, executing
from world import World

from airflow_provider_trigger.cancel.record import CancelSettings
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook


def cancel(run_ids: Any, *, is_stopped: Any = lambda: False, **settings: Any) -> Any:
    """Cancel runs by the hook, and return the work that has ended."""
    with TriggerDevHook().cancellation(run_ids, CancelSettings(**settings), is_stopped=is_stopped) as work:
        work.run()
    return work


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

    world.network.fault("hang", "run_1/cancel")
    run_ids, settings = executing(world, "run_1", "run_2"), CancelSettings(max_concurrency=1)
    with TriggerDevHook().cancellation(run_ids, settings, is_stopped=is_stopped) as work:
        with pytest.raises(error):
            work.run()
        assert world.now < 1.7
        world.sleep(60)  # what comes later changes nothing
        assert [one.error for one in work.results] == [
            "cancel requested, but not acknowledged: canceling was stopped",
            "not sent: canceling was stopped",
        ]
        assert len(cancels(world)) == 1


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
    assert {one.outcome.value for one in cancel(run_ids, max_concurrency=5).results} == {"canceled"}
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
