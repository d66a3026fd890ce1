"""Whether a task was ended: only a definite answer cancels its run."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest
from fake_log import Log

from airflow_provider_trigger.triggers import background, ended
from airflow_provider_trigger.triggers.ended import cancel_if_ended


class Question:
    """Answers, in turn, whether the task is still deferred; an exception is raised, the last for ever."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.threads: set[threading.Thread] = set()

    def __call__(self) -> bool:
        self.asked += 1
        self.threads.add(threading.current_thread())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Cancel:
    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds
        self.begun = self.done = 0

    async def __call__(self) -> None:
        self.begun += 1
        await asyncio.sleep(self.seconds)
        self.done += 1


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended, "_PAUSE", 0)


async def settled() -> None:
    """Wait until nothing is being found out any more."""
    while background._tasks:
        await asyncio.sleep(0.005)


def decide(question: Question, cancel: Cancel, log: Log | None = None) -> None:
    async def main() -> None:
        cancel_if_ended(question, cancel, run_ids=["run_1", "run_2"], log=log or Log())
        assert (question.asked, cancel.begun) == (0, 0)  # it does not wait
        await settled()

    asyncio.run(main())


def test_a_task_that_is_deferred_no_more_was_ended() -> None:
    question, cancel = Question(False), Cancel()
    decide(question, cancel)
    assert (question.asked, cancel.done) == (1, 1)
    assert threading.main_thread() not in question.threads  # which would block the event loop


def test_a_task_that_is_still_deferred_was_not() -> None:
    question, cancel, log = Question(True), Cancel(), Log()
    decide(question, cancel, log)
    assert (question.asked, cancel.begun, log.lines) == (1, 0, [])


def test_without_an_answer_the_run_is_kept() -> None:
    question, cancel, log = Question(OSError("the supervisor is gone")), Cancel(), Log()
    decide(question, cancel, log)
    assert (question.asked, cancel.begun) == (3, 0)
    assert log.leveled == [
        (
            "warning",
            "Could not check in Airflow whether the task was ended (the supervisor is gone), so that its run "
            "continues: run_1, run_2",
        )
    ]


@pytest.mark.parametrize(("answer", "cancels"), [(False, 1), (True, 0)])
def test_an_answer_that_comes_later_counts(answer: bool, cancels: int) -> None:
    question, cancel = Question(OSError("busy"), OSError("busy"), answer), Cancel()
    decide(question, cancel)
    assert (question.asked, cancel.done) == (3, cancels)


def test_one_question_is_asked_at_a_time() -> None:
    open_now, most = 0, 0

    def ask() -> bool:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        threading.Event().wait(0.02)
        open_now -= 1
        return False

    async def main() -> None:
        for _ in range(5):
            cancel_if_ended(ask, cancel, run_ids=["run_1"], log=Log())
        await settled()

    cancel = Cancel()
    asyncio.run(main())
    assert (most, cancel.done) == (1, 5)


def test_it_goes_on_when_the_trigger_that_began_it_is_canceled() -> None:
    question, cancel = Question(False), Cancel(0.05)

    async def trigger() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancel_if_ended(question, cancel, run_ids=["run_1"], log=Log())
            raise

    async def main() -> None:
        task = asyncio.create_task(trigger())
        await asyncio.sleep(0)
        for _ in range(3):  # Airflow 3 cancels again and again
            task.cancel()
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await task
        await settled()

    asyncio.run(main())
    assert cancel.done == 1


def test_a_cancel_that_has_begun_is_finished_when_the_triggerer_goes() -> None:
    cancel = Cancel(0.1)

    async def main() -> None:
        cancel_if_ended(Question(False), cancel, run_ids=["run_1"], log=Log())
        [question] = background._tasks
        while not cancel.begun:
            await asyncio.sleep(0.005)
        question.cancel()
        await settled()
        await asyncio.sleep(0.3)

    asyncio.run(main())
    assert cancel.done == 1


def test_it_runs_in_a_context_of_its_own() -> None:
    trigger: contextvars.ContextVar[str] = contextvars.ContextVar("trigger")
    seen: list[str] = []

    async def cancel() -> None:
        seen.append(trigger.get("none"))

    async def main() -> None:
        trigger.set("mine")
        cancel_if_ended(lambda: False, cancel, run_ids=["run_1"], log=Log())
        await settled()

    asyncio.run(main())
    assert seen == ["none"]


def test_a_question_that_goes_back_to_the_event_loop_gets_its_answer_there() -> None:
    """Airflow 3.0 and 3.1 ask the supervisor so: on another loop, they would break all other triggers."""
    from asgiref.sync import async_to_sync

    loops: list[Any] = []

    async def ask_the_supervisor() -> bool:
        loops.append(asyncio.get_running_loop())
        return True

    def ask() -> bool:
        answer: Callable[[], bool] = async_to_sync(ask_the_supervisor)
        return not answer()

    async def main() -> Any:
        cancel_if_ended(ask, cancel, run_ids=["run_1"], log=Log())
        await settled()
        return asyncio.get_running_loop()

    cancel = Cancel()
    loop = asyncio.run(main())
    assert loops == [loop]
    assert cancel.done == 1
