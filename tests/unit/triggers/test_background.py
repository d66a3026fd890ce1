"""Threads for work that an event loop must not wait for."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import NotSentError
from airflow_provider_trigger.triggers.background import in_thread


def test_a_thread_that_outlives_its_event_loop_ends_quietly_and_holds_up_no_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    begun, may_end = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())
        begun.set()
        may_end.wait(20)

    async def main() -> None:
        working = asyncio.create_task(in_thread(work))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        working.cancel()

    asyncio.run(main())
    may_end.set()
    [thread] = threads
    thread.join(20)
    assert errors == []
    assert (thread.name, thread.daemon) == ("trigger-dev-call", True)


def test_the_work_sees_the_context_of_its_caller_and_changes_only_a_copy() -> None:
    """Airflow 3 finds the log of a trigger by its context."""
    trigger = contextvars.ContextVar("trigger", default="none")
    seen: list[str] = []

    def work() -> None:
        seen.append(trigger.get())
        trigger.set("changed")

    async def main() -> str:
        trigger.set("one")
        await in_thread(work)
        await asyncio.create_task(in_thread(work), context=contextvars.Context())
        return trigger.get()

    assert asyncio.run(main()) == "one"
    assert seen == ["one", "none"]


def test_where_no_thread_can_be_started_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            await in_thread(lambda: None, at_end=lambda: ended.append(True))

    with pytest.raises(NotSentError, match="can't start new thread") as raised:
        asyncio.run(main())
    assert raised.value.retryable
    assert ended == [True]
