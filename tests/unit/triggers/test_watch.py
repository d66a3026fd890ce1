"""A watch in virtual time: what it requests when, and what the waits that use it hear."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from calls_in_loop import calls_in_loop
from fake_clock import Clock
from fake_log import Log
from virtual_loop import run_in_virtual_time

from airflow_provider_trigger.api.errors import ServerError, TriggerDevError
from airflow_provider_trigger.api.exchange import Send
from airflow_provider_trigger.api.http import Call, Response
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.run.status_watch import QUERY_INTERVAL, StatusWatch
from airflow_provider_trigger.run.wait import wait_for_runs
from airflow_provider_trigger.run.wait_settings import WaitSettings
from airflow_provider_trigger.run.waited import Check, WaitEnd
from airflow_provider_trigger.triggers.watch import Listener, Watch, drive, wait_for, watch_runs
from airflow_provider_trigger.triggers.watch_clients import CHECK_CONCURRENCY, WatchClients


def failure(status: int, path: str = "/api") -> ServerError:
    sent: dict[str, Any] = {"method": "GET", "path": path, "request_id": None}
    return ServerError(**sent, status=status, detail="down", retryable=status >= 500)


class Answers:
    """
    Answers the requests of a watch.

    :param clock: the time
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.statuses: dict[str, Any] = {}
        """Of each run that is not EXECUTING, or the error of its check."""
        self.seconds = 0.0
        """How long each request takes."""
        self.has_query = True
        self.sent: list[tuple[str, float]] = []
        """What each request was for, and when it was sent."""

    async def __call__(self, use: str, call: Call[Any]) -> Any:
        self.sent.append((use, self.clock.now))
        await asyncio.sleep(self.seconds)
        if use != "queries":
            return self.run(call.request.path.rsplit("/", 1)[1])
        if not self.has_query:
            raise failure(404)
        return [self.run(run_id) for run_id in ("run_a", "run_b")]

    def run(self, run_id: str) -> Run:
        status = self.statuses.get(run_id, "EXECUTING")
        if isinstance(status, TriggerDevError):
            raise status
        return Run.from_answer({"id": run_id, "status": status})

    def times(self, use: str) -> list[float]:
        return [at for one, at in self.sent if one == use]


@pytest.fixture
def answers(virtual_time: Clock, monkeypatch: pytest.MonkeyPatch) -> Answers:
    answers = Answers(virtual_time)
    monkeypatch.setattr(WatchClients, "call", lambda _, use, call: answers(use, call))
    return answers


@pytest.fixture
def run(hook, virtual_time: Clock) -> Callable[..., Any]:
    """Run a test's coroutine with a watch; return its result."""

    def run(main: Callable[[Watch], Any]) -> Any:
        async def with_watch() -> Any:
            with watch_runs(hook) as listener:
                return await main(listener._watch)

        return run_in_virtual_time(with_watch(), virtual_time)

    return run


@pytest.fixture
def hear(virtual_time: Clock) -> Callable[..., Any]:
    """Let a listener take a step; return the status of each run that it hears of."""

    async def hear(listener: Listener, *run_ids: str, seconds: float = 20.0, **step: Any) -> dict[str, str]:
        until = virtual_time.time() + seconds
        news = await listener.check(Check(run_ids=run_ids, until=until, **step))
        return {
            run_id: str(reply.status if isinstance(reply, Run) else reply) for run_id, reply in news.items()
        }

    return hear


# What it requests


def test_one_query_of_the_runs_of_all_waits_follows_the_other(
    run, hear, answers: Answers, virtual_time: Clock
) -> None:
    begun = virtual_time.now

    async def main(watch: Watch) -> int:
        await asyncio.gather(*(hear(watch.join(), run_id) for run_id in ("run_a", "run_b")))
        assert answers.sent == [("queries", begun + 0.25)]
        await asyncio.sleep(5 * QUERY_INTERVAL - 0.25)
        return len(watch._tasks)

    assert run(main) == 1  # what has ended is forgotten
    times = [begun + 0.25 + number * QUERY_INTERVAL for number in range(5)]
    assert answers.times("queries") == pytest.approx(times)


def test_so_many_single_checks_are_in_flight_and_one_that_ends_makes_room(
    run, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers.has_query, answers.seconds = False, 10.0
    looked, next_at = [], StatusWatch.next_at

    def look(status: StatusWatch, **options: bool) -> float:
        looked.append(options)
        assert len(looked) < 1000, "it does not wait until there is room"
        return next_at(status, **options)

    monkeypatch.setattr(StatusWatch, "next_at", look)

    async def main(watch: Watch) -> None:
        listener = watch.join()
        run_ids = [f"run_{number}" for number in range(3 * CHECK_CONCURRENCY)]
        watch.follow(listener, run_ids, poll_interval=1.0)
        await asyncio.sleep(45)
        assert watch.error is None

    run(main)
    sent = Counter(answers.times("checks"))
    assert len(sent) >= 4
    assert set(sent.values()) == {CHECK_CONCURRENCY}


# What its listeners hear


def test_who_comes_later_hears_at_once_what_is_known(run, hear, answers: Answers) -> None:
    async def main(watch: Watch) -> None:
        await hear(watch.join(), "run_a")
        before = len(answers.sent)
        assert await hear(watch.join(), "run_a") == {"run_a": "EXECUTING"}
        assert len(answers.sent) == before

    run(main)


def test_a_run_that_one_wait_follows_no_more_is_news_for_the_others_only(run, hear, answers: Answers) -> None:
    async def main(watch: Watch) -> None:
        one, other = watch.join(), watch.join()
        await asyncio.gather(hear(one, "run_a"), hear(other, "run_a"))
        assert await hear(one, "run_b") == {"run_b": "EXECUTING"}
        answers.statuses["run_a"] = "COMPLETED"
        heard = tuple(await asyncio.gather(hear(one, "run_b"), hear(other, "run_a")))
        assert heard == ({}, {"run_a": "COMPLETED"})
        for listener in (one, other):
            watch.leave(listener)
        assert not watch.status.next_query(float("inf"))

    run(main)


@pytest.mark.parametrize(("run_ids", "heard"), [(["run_a"], 1.0), (["run_a", "run_b"], 1.5)])
def test_a_wait_for_several_runs_hears_together_of_those_that_end_together(
    run_ids: list[str], heard: float, run, hear, answers: Answers, virtual_time: Clock
) -> None:
    async def main(watch: Watch) -> None:
        listener = watch.join()
        await hear(listener, *run_ids)
        begun = virtual_time.now
        for number, run_id in enumerate(run_ids):
            ended = Run.from_answer({"id": run_id, "status": "COMPLETED"})
            asyncio.get_running_loop().call_later(1 + 0.3 * number, listener.hear, run_id, ended)
        assert await hear(listener, *run_ids) == dict.fromkeys(run_ids, "COMPLETED")
        assert virtual_time.now - begun == pytest.approx(heard)

    run(main)


def test_a_fresh_check_is_one_of_its_own_and_what_follows_a_failed_one_is_new(
    run, hear, answers: Answers
) -> None:
    async def main(watch: Watch) -> None:
        listener = watch.join()
        await hear(listener, "run_a")
        answers.statuses["run_a"] = failure(503)
        heard = await hear(listener, "run_a", "run_c", is_fresh=True)
        assert heard == {"run_a": str(failure(503)), "run_c": "EXECUTING"}
        assert len(answers.times("urgent")) == 2
        del answers.statuses["run_a"]
        assert await hear(listener, "run_a") == {"run_a": "EXECUTING"}

    run(main)


# Its end


def test_if_it_crashes_its_waits_fail_at_once_and_the_next_ones_have_another(
    hook,
    hear,
    answers: Answers,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    virtual_time: Clock,
) -> None:
    async def main() -> None:
        crashed = watch_runs(hook)
        listener = crashed.__enter__()
        await hear(listener, "run_a")
        begun = virtual_time.now
        with monkeypatch.context() as broken:
            broken.setattr(StatusWatch, "next_query", lambda *_: 1 / 0)
            with pytest.raises(RuntimeError, match="ZeroDivisionError"):
                await hear(listener, "run_a", seconds=100.0)
        assert virtual_time.now - begun < 5
        with watch_runs(hook) as second:
            assert await hear(second, "run_a") == {"run_a": "EXECUTING"}
            crashed.__exit__(None, None, None)
            with watch_runs(hook) as third:
                assert third._watch is second._watch, "the one that crashed takes no other with it"

    run_in_virtual_time(main(), virtual_time)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "The watch of connection 'trigger_dev_default' crashed"
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("first", ["timer", "cancel"])
def test_a_cancel_that_comes_with_the_end_of_a_pause_keeps_its_message(
    first: str, virtual_time: Clock
) -> None:
    """Airflow 3.3 knows by the message that the task was ended, and calls on_kill then."""

    async def main() -> tuple[object, ...]:
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        waiting: asyncio.Task[None] = loop.create_task(wait_for(event, seconds=5))
        if first == "cancel":  # the task has not begun, and so not its timer
            loop.call_at(loop.time() + 5, waiting.cancel, "ended by a user")
        await asyncio.sleep(0)
        if first == "timer":
            loop.call_at(loop.time() + 5, waiting.cancel, "ended by a user")
        with pytest.raises(asyncio.CancelledError) as canceled:
            await waiting
        return canceled.value.args

    assert run_in_virtual_time(main(), virtual_time) == ("ended by a user",)


# The wait that it drives


def test_a_run_that_no_check_shows_is_waited_for_only_for_a_while(
    hook, virtual_time: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, str]] = []

    async def call(_: WatchClients, use: str, call: Call[Any]) -> Any:
        path = call.request.path
        sent.append((use, path))
        if path == "/api/v1/runs":
            return []
        raise failure(500, path)

    monkeypatch.setattr(WatchClients, "call", call)
    begun, settings = virtual_time.now, WaitSettings(patience=120.0)
    steps = wait_for_runs(["run_1"], settings, log=Log(), now=virtual_time.time)
    waited = run_in_virtual_time(drive(steps, hook), virtual_time)["run_1"]
    assert waited.end is WaitEnd.REJECTED
    # Not by the clients whose circuit breaker the failures may have opened.
    runs = ("urgent", "/api/v1/runs")
    assert sent[-2:] == [runs, ("urgent", "/api/v3/runs/run_1")]
    assert sent.count(runs) == 1
    assert 120 <= virtual_time.now - begun <= 150


def test_a_wait_that_begins_while_a_page_is_in_place_of_the_server_continues(
    hook, virtual_time: Clock, go_by, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[float] = []

    async def answer(_: Send) -> Response:
        sent.append(virtual_time.now)
        return Response(status=404, headers={"content-type": "text/html"}, body=b"<html>Not found</html>")

    go_by(virtual_time)
    monkeypatch.setattr(WatchClients, "_call", calls_in_loop(answer))
    settings = WaitSettings(cancels=False, deadline=virtual_time.time() + 200)
    run_ids = [f"run_{number}" for number in range(30)]
    steps = wait_for_runs(run_ids, settings, log=Log(), now=virtual_time.time)
    waited = run_in_virtual_time(drive(steps, hook), virtual_time)
    assert {one.end for one in waited.values()} == {WaitEnd.TIMED_OUT}
    assert len(sent) > 10  # more than what opens a circuit breaker
