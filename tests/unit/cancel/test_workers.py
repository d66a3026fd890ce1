"""Real threads. How long something takes is seen by a clock of the test, or by what can come only later."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fake_clock import Clock
from waiting import LONG, limited, until

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.exchange import Reply, Send, Steps, Wait
from airflow_provider_trigger.api.http import Request
from airflow_provider_trigger.cancel import workers
from airflow_provider_trigger.cancel.jobs import Job
from airflow_provider_trigger.cancel.outcome import End
from airflow_provider_trigger.cancel.record import Action, RunRecord

STEP = Send(Request(method="POST", path="/", repeatable=True), timeout=1.0)


def job(steps: Callable[[], Steps[Any]]) -> Job:
    return Job(Action.CANCEL, RunRecord("run_1"), steps())


def one_request() -> Steps[Any]:
    return (yield STEP)


def two_requests() -> Steps[Any]:
    yield STEP
    return (yield STEP)


class Jobs:
    """A schedule of given jobs that keeps what it gets."""

    def __init__(self, *jobs: Job) -> None:
        self.end: End | None = None
        self.stopped = threading.Event()
        self.waiting = deque(jobs)
        self.unfinished = len(jobs)
        self.noted: list[tuple[Any, ...]] = []
        self.users = 0

    def add(self, added: Job) -> None:
        self.waiting.append(added)
        self.unfinished += 1

    def take(self) -> Job | float | None:
        self.alone()
        if self.end or not self.unfinished:
            self.end = self.end or End.FINISHED
            return None
        return self.waiting.popleft() if self.waiting else float("inf")

    def sent(self, job: Job) -> None:
        self.alone()
        self.noted.append(("sent", job))

    def park(self, job: Job, wait: Wait) -> None:
        self.alone()
        self.noted.append(("park", job, wait.seconds))
        self.waiting.append(job)

    def finish(self, job: Job, result: Any = None, error: TriggerDevError | None = None) -> None:
        self.alone()
        self.noted.append(("finish", job, result, error))
        self.unfinished -= 1

    def stop(self) -> None:
        self.alone()
        self.end = self.end or End.STOPPED
        self.stopped.set()

    def check_deadline(self) -> End | None:
        self.alone()
        return self.end

    def progress(self) -> str:
        self.alone()
        return "how far it is"

    def alone(self) -> None:
        """Fail where two threads use it at a time."""
        self.users += 1
        assert self.users == 1
        self.users -= 1


def run(jobs: Jobs, send: Any, *, count: int = 1, is_stopped: Any = lambda: False) -> None:
    """Do all jobs, and fail if it waits once more when all threads have ended."""
    checks_without_threads = 0

    def check() -> Any:
        nonlocal checks_without_threads
        checks_without_threads += not threads()
        # The first one is before any thread, and the last one may be after all of them.
        assert checks_without_threads <= 2, "it waits although all threads have ended"
        return is_stopped()

    workers.run(jobs, send, count=count, is_stopped=check)  # type: ignore[arg-type]  # stands in for one


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("trigger-dev-")]


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What a request that is not answered waits for; set at the end at the latest."""
    event = threading.Event()
    yield event
    event.set()
    end_of_threads()


@pytest.fixture
def without_grace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail if not all threads end by themselves: requests in flight at the end are waited for."""
    monkeypatch.setattr(workers, "_GRACE", LONG)
    with limited(10):
        yield


@pytest.fixture
def passing(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that moves as the calling thread waits in vain: by how long it would wait, within a moment."""
    end = clock.now + 100.0

    class Condition(threading.Condition):
        def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
            assert timeout is not None
            assert clock.now < end, "it has waited for more than 100 s"
            met = super().wait_for(predicate, min(timeout, 0.01))
            clock.now += 0.0 if met else timeout
            return met

    monkeypatch.setattr(workers, "time", clock)
    stand_in(monkeypatch, Condition=Condition)
    return clock


def stand_in(monkeypatch: pytest.MonkeyPatch, **replaced: type) -> None:
    """Replace some of what the module has of ``threading``, and that nowhere else."""
    monkeypatch.setattr(workers, "threading", SimpleNamespace(**vars(threading) | replaced))


def end_of_threads() -> None:
    for thread in threads():
        thread.join(5)
        assert not thread.is_alive()


def answer(_: Send) -> Reply:
    return None


# Jobs


def test_each_job_is_done_once_and_handed_back_with_its_result(response) -> None:
    given = [job(one_request) for _ in range(10)]
    jobs, answered = Jobs(*given), response(200, b"yes")
    run(jobs, lambda step: answered if step is STEP else None)
    assert jobs.noted == [
        noted for one in given for noted in (("sent", one), ("finish", one, answered, None))
    ]
    assert jobs.end is End.FINISHED


def test_a_job_that_fails_is_handed_back_with_its_error(error) -> None:
    failure = error("passing")

    def fail() -> Steps[Any]:
        raise failure
        yield STEP

    failing, following = job(fail), job(one_request)
    jobs = Jobs(failing, following)
    run(jobs, answer)
    assert jobs.noted[0] == ("finish", failing, None, failure)
    assert jobs.noted[-1] == ("finish", following, None, None)


def test_a_job_gets_what_came_back_and_nothing_after_a_wait(response) -> None:
    replies = []
    answered = response(200, b"yes")

    def steps() -> Steps[Any]:
        replies.append((yield STEP))
        replies.append((yield Wait(0.001, for_turn=True)))
        replies.append((yield Wait(0.001, for_turn=False)))
        replies.append((yield STEP))

    run(Jobs(job(steps)), lambda _: answered)
    assert replies == [answered, None, None, answered]


def test_a_wait_for_a_turn_keeps_the_thread_and_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    took: list[float | None] = []

    class Event(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            took.append(timeout)
            return self.is_set()

    def steps() -> Steps[Any]:
        yield Wait(7.0, for_turn=True)
        assert took == [7.0]

    stand_in(monkeypatch, Event=Event)
    waiting, other = job(steps), job(one_request)
    jobs = Jobs(waiting, other)
    run(jobs, answer)
    assert took == [7.0]
    assert [noted[:2] for noted in jobs.noted] == [("finish", waiting), ("sent", other), ("finish", other)]


def test_a_job_that_waits_for_its_next_try_is_put_aside() -> None:
    def steps() -> Steps[Any]:
        yield Wait(7.0, for_turn=False)

    parked, other = job(steps), job(one_request)
    jobs = Jobs(parked, other)
    run(jobs, answer)
    assert jobs.noted[0] == ("park", parked, 7.0)
    assert jobs.noted[1] == ("sent", other)
    assert jobs.noted[-1] == ("finish", parked, None, None)


def test_a_thread_waits_until_there_is_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(job(one_request), job(one_request))
    pauses = [0.001, 0.05, float("inf")]
    take, took = jobs.take, list[float | None]()
    monkeypatch.setattr(jobs, "take", lambda: pauses.pop(0) if pauses else take())

    class Condition(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            if threading.current_thread() is threading.main_thread():
                return super().wait(timeout)
            took.append(timeout)
            return super().wait(0)

    stand_in(monkeypatch, Condition=Condition)
    run(jobs, answer)
    assert took == [0.001, 0.05, workers._CHECK_INTERVAL]
    assert jobs.end is End.FINISHED


def test_a_job_that_another_one_led_to_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(job(one_request))
    finish, together = jobs.finish, threading.Barrier(2, timeout=5)

    def finish_and_add(*arguments: Any) -> None:
        if len(jobs.noted) == 1:
            jobs.add(job(meet))
            jobs.add(job(meet))
        finish(*arguments)

    def meet() -> Steps[Any]:
        together.wait()
        return (yield STEP)

    monkeypatch.setattr(jobs, "finish", finish_and_add)
    run(jobs, answer, count=2)
    assert not together.broken
    assert len(jobs.noted) == 6


# Threads


def test_as_many_requests_are_in_flight_as_allowed_and_no_more() -> None:
    together, lock = threading.Barrier(5, timeout=5), threading.Lock()
    in_flight, most = 0, 0

    def send(_: Send) -> None:
        nonlocal in_flight, most
        with lock:
            in_flight += 1
            most = max(most, in_flight)
        together.wait()
        with lock:
            in_flight -= 1

    run(Jobs(*[job(one_request) for _ in range(10)]), send, count=5)
    assert not together.broken
    assert most == 5


def test_threads_have_names_and_do_not_hold_up_the_end_of_the_process() -> None:
    seen: set[tuple[str, bool]] = set()
    together = threading.Barrier(2, timeout=5)

    def send(_: Send) -> None:
        thread = threading.current_thread()
        seen.add((thread.name, thread.daemon))
        together.wait()

    run(Jobs(job(one_request), job(one_request)), send, count=2)
    assert seen == {("trigger-dev-0", True), ("trigger-dev-1", True)}


def test_no_thread_is_left_when_all_is_done() -> None:
    run(Jobs(*[job(one_request) for _ in range(10)]), answer, count=5)
    until(lambda: not threads(), "each thread has ended")


def test_it_ends_as_soon_as_all_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_CHECK_INTERVAL", LONG)
    waits, checks, jobs = threading.Event(), [], Jobs()
    take = jobs.take
    # Only its end wakes the calling thread: a job that is handed back would do so, too.
    monkeypatch.setattr(jobs, "take", lambda: take() if waits.is_set() else 0.01)

    class Condition(threading.Condition):
        def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
            waits.set()  # and from here on no other thread has the lock until it waits
            return super().wait_for(predicate, timeout)

    def is_stopped() -> bool:
        checks.append(waits.is_set())
        return False

    stand_in(monkeypatch, Condition=Condition)
    with limited(10):
        run(jobs, answer, is_stopped=is_stopped)
    assert jobs.end is End.FINISHED
    assert checks == [False, True], "it waits, and does not keep the processor busy"


def test_without_jobs_no_thread_is_needed() -> None:
    jobs = Jobs()
    run(jobs, answer, count=0)
    assert jobs.noted == []


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


def test_the_threads_that_could_be_started_do_all_jobs(
    limit_threads, caplog: pytest.LogCaptureFixture, without_grace: None
) -> None:
    limit_threads(2)
    given = [job(one_request) for _ in range(10)]
    jobs, working = Jobs(*given), set()
    together = threading.Barrier(2, timeout=5)

    def send(_: Send) -> None:
        working.add(threading.current_thread().name)
        together.wait()

    run(jobs, send, count=5)
    assert not together.broken
    assert working == {"trigger-dev-0", "trigger-dev-1"}
    assert jobs.end is End.FINISHED
    assert caplog.messages == ["Started 2 of 5 threads: can't start new thread"]


def test_no_thread_that_can_be_started_is_an_error(limit_threads) -> None:
    limit_threads(0)
    jobs = Jobs(job(one_request))
    with pytest.raises(RuntimeError, match="can't start new thread"):
        run(jobs, answer, count=2)
    assert jobs.end is End.STOPPED


# Stopping


def test_a_stop_ends_it_within_a_second_although_a_request_is_not_answered(
    release, passing: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def hang(_: Send) -> None:
        begun.set()
        release.wait()

    jobs = Jobs(job(one_request), job(one_request))
    stop, stopped_at = jobs.stop, list[float]()

    def keep_time_and_stop() -> None:
        stopped_at.append(passing.now)
        stop()

    monkeypatch.setattr(jobs, "stop", keep_time_and_stop)
    run(jobs, hang, is_stopped=begun.is_set)
    assert passing.now - stopped_at[0] + workers._CHECK_INTERVAL < 1
    assert jobs.end is End.STOPPED
    assert [noted[0] for noted in jobs.noted] == ["sent"]


def test_what_is_stopped_before_it_begins_sends_nothing() -> None:
    jobs = Jobs(job(one_request), job(one_request))
    run(jobs, answer, count=2, is_stopped=lambda: True)
    assert jobs.end is End.STOPPED
    assert jobs.noted == []


def test_a_stop_while_there_is_nothing_to_do_ends_all_threads(
    without_grace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs()
    jobs.unfinished = 1
    take, asked = jobs.take, set[str]()

    def keep_name_and_take() -> Job | float | None:
        asked.add(threading.current_thread().name)
        return take()

    monkeypatch.setattr(jobs, "take", keep_name_and_take)
    run(jobs, answer, count=3, is_stopped=lambda: len(asked) == 3)
    assert jobs.end is End.STOPPED
    assert jobs.noted == []


def test_whether_it_is_stopped_is_checked_several_times_a_second(
    release, passing: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_GRACE", 0.0)
    checks: list[float] = []

    def is_stopped() -> bool:
        checks.append(passing.now)
        return len(checks) > 4

    run(Jobs(job(one_request)), lambda _: release.wait(), is_stopped=is_stopped)
    assert checks[3] - checks[0] < 0.9


def test_an_answer_that_comes_shortly_after_a_stop_still_counts(without_grace: None) -> None:
    begun = threading.Event()
    stopping = job(one_request)
    jobs = Jobs(stopping)

    def send(_: Send) -> None:
        begun.set()
        jobs.stopped.wait(5)

    run(jobs, send, is_stopped=begun.is_set)
    assert jobs.noted == [("sent", stopping), ("finish", stopping, None, None)]


def test_nothing_new_is_sent_after_a_stop(without_grace: None) -> None:
    begun, sends = threading.Event(), []
    jobs = Jobs(job(two_requests))

    def send(step: Send) -> None:
        sends.append(step)
        begun.set()
        jobs.stopped.wait(5)

    run(jobs, send, is_stopped=begun.is_set)
    assert len(sends) == 1
    assert [noted[0] for noted in jobs.noted] == ["sent"]


def test_a_call_that_waits_for_its_turn_sends_nothing_after_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_GRACE", 0.05)
    begun = threading.Event()

    def steps() -> Steps[Any]:
        while True:
            begun.set()
            yield Wait(0.01, for_turn=True)

    jobs = Jobs(job(steps))
    run(jobs, answer, is_stopped=begun.is_set)
    end_of_threads()
    assert jobs.noted == []


def test_threads_that_outlive_a_stop_change_nothing_any_more(
    release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_GRACE", 0.05)
    begun = threading.Barrier(4, timeout=5)
    stop = threading.Event()

    def hang(_: Send) -> None:
        if begun.wait() == 0:
            stop.set()
        release.wait(5)

    def parked() -> Steps[Any]:
        yield STEP
        yield Wait(1.0, for_turn=False)

    def failing() -> Steps[Any]:
        yield STEP
        raise TriggerDevError("late")

    jobs = Jobs(job(one_request), job(two_requests), job(parked), job(failing))
    run(jobs, hang, count=4, is_stopped=stop.is_set)
    noted = list(jobs.noted)
    release.set()
    end_of_threads()
    assert jobs.noted == noted
    assert {what for what, *_ in noted} == {"sent"}


@pytest.mark.parametrize("parks", [True, False])
def test_a_job_that_outlives_a_stop_while_it_reads_an_answer_is_not_handed_back(
    release, monkeypatch: pytest.MonkeyPatch, parks: bool
) -> None:
    monkeypatch.setattr(workers, "_GRACE", 0.0)
    begun = threading.Event()

    def steps() -> Steps[Any]:
        begun.set()
        release.wait(5)
        if parks:
            yield Wait(1.0, for_turn=False)

    jobs = Jobs(job(steps))
    run(jobs, answer, is_stopped=begun.is_set)
    release.set()
    end_of_threads()
    assert jobs.noted == []


def test_the_time_limit_ends_it_although_a_request_is_not_answered(
    release, passing: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs(job(one_request))
    check, ended_at = jobs.check_deadline, list[float]()

    def check_deadline() -> End | None:
        if end := check():
            ended_at.append(passing.now)
        return end

    def reach_time_limit(_: Send) -> None:
        jobs.end = End.TIME_LIMIT
        release.wait()

    monkeypatch.setattr(jobs, "check_deadline", check_deadline)
    run(jobs, reach_time_limit)
    assert workers._GRACE <= passing.now - ended_at[0] < 1
    assert jobs.end is End.TIME_LIMIT


def test_requests_in_flight_get_half_a_second_after_the_end() -> None:
    assert workers._GRACE == 0.5
    assert 2 * workers._CHECK_INTERVAL + workers._GRACE < 1, "a stop takes less than a second"


# What goes wrong


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, TimeoutError])
def test_what_is_raised_in_the_calling_thread_stops_the_work_and_passes_through(
    raised: type[BaseException], release
) -> None:
    """Airflow raises there at an execution_timeout, and 2.11 at a kill."""
    begun = threading.Event()

    def hang(_: Send) -> None:
        begun.set()
        release.wait(5)

    def is_stopped() -> bool:
        if begun.is_set():
            raise raised
        return False

    jobs = Jobs(job(one_request), job(one_request))
    with pytest.raises(raised):
        run(jobs, hang, is_stopped=is_stopped)
    assert jobs.end is End.STOPPED
    noted = list(jobs.noted)
    release.set()
    end_of_threads()
    assert jobs.noted == noted
    assert [what for what, *_ in noted] == ["sent"]


@pytest.mark.parametrize("raised", [ZeroDivisionError, SystemExit])
def test_a_bug_in_a_thread_stops_the_work_and_is_raised_in_the_calling_one(
    raised: type[BaseException], without_grace: None
) -> None:
    def send(_: Send) -> None:
        raise raised("a bug")

    jobs = Jobs(*[job(one_request) for _ in range(10)])
    with pytest.raises(raised, match="a bug"):
        run(jobs, send, count=2)
    assert jobs.end is End.STOPPED
    assert len(jobs.noted) <= 2


def test_a_bug_in_a_schedule_is_raised_too(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(job(one_request))
    monkeypatch.setattr(jobs, "finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(jobs, answer)
    assert jobs.end is End.STOPPED


# Progress


def test_short_work_logs_no_progress(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run(Jobs(job(one_request)), lambda _: time.sleep(0.15))
    assert caplog.messages == []
    assert workers._PROGRESS_INTERVAL == 10.0


# Further runs


class Searched(Jobs):
    """A schedule that has no jobs, and ends when no more runs are added."""

    def __init__(self) -> None:
        super().__init__()
        self.awaits_more = True
        self.added: list[list[str]] = []

    def add(self, run_ids: list[str]) -> None:  # type: ignore[override]  # stands in for the real one
        self.alone()
        self.added.append(run_ids)

    def take(self) -> Job | float | None:
        self.unfinished = int(self.awaits_more)
        return super().take()


def search(jobs: Searched, *items: list[str], is_stopped: Callable[[], bool] = lambda: False) -> None:
    workers.run(
        jobs,  # type: ignore[arg-type]  # stands in for one
        lambda _: None,
        count=1,
        is_stopped=is_stopped,
        further=iter(items),
    )


def test_all_further_runs_are_read_and_may_be_none() -> None:
    jobs = Searched()
    search(jobs, [], ["run_1"], [], ["run_2"])
    assert jobs.added == [[], ["run_1"], [], ["run_2"]]
    assert jobs.end is End.FINISHED


def test_a_stop_ends_the_search_for_further_runs() -> None:
    jobs = Searched()
    answers = itertools.chain([False, False], itertools.repeat(True))
    search(jobs, ["run_1"], [], ["run_2"], is_stopped=lambda: next(answers))
    assert jobs.added == [["run_1"], []]
    assert jobs.end is End.STOPPED
