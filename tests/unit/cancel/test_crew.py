"""Real threads, in real time; requests are held up until something has happened that a test waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from waiting import LONG, limited, until

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.http import ServerSettings
from airflow_provider_trigger.cancel import cancellation
from airflow_provider_trigger.cancel.cancellation import Cancellation
from airflow_provider_trigger.cancel.record import CancelSettings


@pytest.fixture
def make(wire, answer) -> Callable[..., Cancellation]:
    """Prepare a cancellation on a server that accepts all, and says of each run that it is canceled."""

    def make(
        run_ids: Any, before: Callable[[], object] = lambda: None, *, is_stopped: Any = None, **options: Any
    ) -> Cancellation:
        def script(request: Any) -> Any:
            before()
            if "bulk-actions" in request.url:
                return answer(202, {"id": "bulk_1"})
            run_id = request.url.split("/runs/")[1].split("/")[0]
            return answer(200, {"id": run_id, "status": "CANCELED", "taskIdentifier": "t"})

        wire.script = script
        server = ServerSettings(base_url="https://trigger.test", secret_key="tr_dev_x", user_agent="a test")
        client, settings = TriggerDevClient(server), CancelSettings(**options)
        return Cancellation(client, run_ids, settings, is_stopped=is_stopped or (lambda: False))

    return make


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("trigger-dev-")]


def end_of_threads() -> None:
    until(lambda: not threads(), "each thread has ended")


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What a request that is not answered waits for; set at the end at the latest."""
    event = threading.Event()
    yield event
    event.set()
    end_of_threads()


def reach_time_limit(work: Cancellation) -> None:
    work.client.monotonic = lambda: time.monotonic() + LONG


def outcomes(work: Cancellation) -> set[str]:
    return {result.outcome.value for result in work.results}


RUN_IDS = [f"run_{number}" for number in range(10)]


# Threads


def test_as_many_requests_are_in_flight_as_allowed_and_no_more(make) -> None:
    together, lock = threading.Barrier(5, timeout=30), threading.Lock()
    in_flight, most, seen = 0, 0, set()

    def meet() -> None:
        nonlocal in_flight, most
        with lock:
            in_flight += 1
            most = max(most, in_flight)
        thread = threading.current_thread()
        seen.add((thread.name, thread.daemon))
        together.wait()
        with lock:
            in_flight -= 1

    work = make(RUN_IDS, meet, max_concurrency=5)
    work.run()
    assert (outcomes(work), most) == ({"canceled"}, 5)
    # As daemons they do not hold up the end of the process.
    assert seen == {("trigger-dev-call", True)}
    end_of_threads()


@pytest.fixture
def limit_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the process start only so many of the threads."""
    start = threading.Thread.start

    def limit(count: int) -> None:
        left = list(range(count))

        def start_while_possible(thread: threading.Thread) -> None:
            if not left:
                raise RuntimeError("can't start new thread")
            left.pop()
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_while_possible)

    return limit


def test_the_threads_that_could_be_started_do_all(make, limit_threads, caplog) -> None:
    together = threading.Barrier(2, timeout=30)
    work = make(RUN_IDS, together.wait, max_concurrency=5)
    limit_threads(2)
    work.run()
    assert outcomes(work) == {"canceled"}
    assert caplog.messages == [
        "Working with 2 of 5 threads: no thread could be started: can't start new thread"
    ]


# An early end


@pytest.mark.parametrize(
    ("how", "holds"),
    [("stop", "request"), ("stop", "answer"), ("time limit", "request")]
    + [(error, "request") for error in (KeyboardInterrupt, SystemExit, TimeoutError)],
)
def test_it_ends_although_a_request_is_not_answered_and_what_comes_later_changes_nothing(
    make, wire, release, how: Any, holds: str
) -> None:
    """What is raised in the calling thread passes through, as Airflow does it at an execution_timeout."""
    begun = threading.Event()

    def hold() -> None:
        if how == "time limit":
            reach_time_limit(work)
        begun.set()
        if holds == "request":
            release.wait(60)

    def read_clock() -> float:
        if begun.is_set() and threading.current_thread() in threads():
            release.wait(60)  # while the answer is read
        return time.monotonic()

    def is_stopped() -> bool:
        if begun.is_set() and isinstance(how, type):
            raise how
        return how == "stop" and begun.is_set()

    work = make(RUN_IDS[:2], hold, is_stopped=is_stopped, max_concurrency=1, time_limit=LONG / 2)
    if holds == "answer":
        work.client.monotonic = read_clock
    with limited(60), pytest.raises(how) if isinstance(how, type) else nullcontext():
        work.run()
    reason = "the time limit was reached" if how == "time limit" else "canceling was stopped"
    assert [result.error for result in work.results] == [
        f"cancel requested, but not acknowledged: {reason}",
        f"not sent: {reason}",
    ]
    release.set()
    end_of_threads()
    assert len(wire.sent) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["cancel requested, but the status was not checked", "not sent"]),
        # A bulk action, which was to be checked next.
        ({"bulk_from": 1}, ["cancel requested, but the status was not checked"]),
    ],
)
def test_an_answer_that_comes_shortly_after_a_stop_still_counts_and_nothing_new_is_sent(
    make, wire, monkeypatch: pytest.MonkeyPatch, options: dict[str, int], expected: list[str]
) -> None:
    monkeypatch.setattr(cancellation, "_GRACE", LONG)
    begun = threading.Event()

    def answer_after_the_stop() -> None:
        begun.set()
        until(lambda: work.stopped, "it is stopped")

    work = make(RUN_IDS, answer_after_the_stop, is_stopped=begun.is_set, max_concurrency=1, **options)
    with limited(60):
        work.run()
    reasons = dict.fromkeys(str(result.error).partition(": ") for result in work.results)
    assert list(reasons) == [(request, ": ", "canceling was stopped") for request in expected]
    assert len(wire.sent) == 1


@pytest.mark.parametrize("raised", [ZeroDivisionError, SystemExit])
def test_a_bug_in_a_thread_is_raised_in_the_calling_one(make, wire, raised: type[BaseException]) -> None:
    def fail() -> None:
        raise raised("a bug")

    work = make(RUN_IDS, fail, max_concurrency=2)
    with pytest.raises(raised, match="a bug"):
        work.run()
    assert work.stopped
    assert len(wire.sent) <= 2
