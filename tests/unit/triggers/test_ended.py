"""Before Airflow 3.3: whether a task was ended, as only a definite answer cancels its runs."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from event_loop import run, until
from fake_log import Log

from airflow_provider_trigger import _compat
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger

trigger_of: contextvars.ContextVar[str] = contextvars.ContextVar("trigger", default="none")


class Airflow:
    """
    Answers, in turn, whether a task is still deferred, the last answer repeatedly; an exception is raised.

    :param answers: what it says
    """

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers = list(answers)
        self.questions: list[tuple[Any, ...]] = []
        self.contexts: set[str] = set()
        self.threads: set[threading.Thread] = set()
        self.loops: set[asyncio.AbstractEventLoop] = set()

    async def _ask_the_supervisor(self) -> None:
        self.loops.add(asyncio.get_running_loop())

    def is_still_deferred(self, *question: Any) -> bool:
        self.questions.append(question)
        self.contexts.add(trigger_of.get())
        self.threads.add(threading.current_thread())
        async_to_sync(self._ask_the_supervisor)()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def stop(server, connection: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let Airflow cancel the triggers of runs again and again, once they wait, until all is settled."""

    def stop(airflow: Airflow, *runs: Any, has_on_kill: bool = False, **wait: Any) -> None:
        monkeypatch.setattr(_compat, "is_still_deferred", airflow.is_still_deferred)
        monkeypatch.setattr(_compat, "triggers_have_on_kill", lambda: has_on_kill)

        async def act(run_id: str) -> None:
            trigger_of.set(run_id)
            made = TriggerDevRunTrigger(run_ids=[run_id], wait=wait)
            made.task_instance, made.trigger_id = SimpleNamespace(task_id="work"), 17  # type: ignore[assignment]
            await anext(made.run())

        async def main() -> None:
            loop = asyncio.get_running_loop()
            acting = [asyncio.create_task(act(one.id)) for one in runs]
            await until(lambda: server.requests)
            for task in acting * 2:
                task.cancel()
                await asyncio.sleep(0)
            for task in acting:
                with pytest.raises(asyncio.CancelledError):
                    await task
            await asyncio.sleep(60)
            # Airflow 3.0 and 3.1 ask the supervisor so: on another loop, they would break all other triggers.
            assert airflow.loops <= {loop}

        run(main())

    return stop


BUSY = OSError("the supervisor is gone")


@pytest.mark.parametrize(
    ("answers", "wait", "asked", "cancels"),
    [
        pytest.param([False], {}, 1, 1, id="it is deferred no more"),
        pytest.param([True], {}, 1, 0, id="it is still deferred"),
        pytest.param([BUSY], {}, 3, 0, id="no answer"),
        pytest.param([BUSY, BUSY, False], {}, 3, 1, id="it is deferred no more, as is said later"),
        pytest.param([BUSY, BUSY, True], {}, 3, 0, id="it is still deferred, as is said later"),
        pytest.param([False], {"cancels": False}, 0, 0, id="its run is not to be canceled"),
        pytest.param([False], {"has_on_kill": True}, 0, 0, id="Airflow 3.3 calls on_kill"),
    ],
)
def test_only_a_task_that_is_deferred_no_more_was_ended(
    answers: list[Any], wait: dict[str, Any], asked: int, cancels: int, server, stop, log: Log
) -> None:
    airflow, one = Airflow(*answers), server.add_run("EXECUTING")
    stop(airflow, one, **wait)
    assert (len(airflow.questions), one.cancel_requests) == (asked, cancels)
    assert [(ti.task_id, *rest) for ti, *rest in airflow.questions] == [("work", 17, [one.id])] * asked
    assert (f"Canceled run {one.id}, because the task was ended" in log.of("info")) is bool(cancels)
    assert log.of("warning") == [
        "Could not check in Airflow whether the task was ended (the supervisor is gone), so that its run "
        f"continues: {one.id}"
    ] * (answers == [BUSY])
    assert threading.main_thread() not in airflow.threads, "it would block the event loop"
    assert airflow.contexts <= {"none"}, "a trigger acts as its task instance"
