"""Threads that only send; what follows from an answer is decided in the thread that waits for it."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, PriorityQueue, Queue
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.errors import NotSentError, TriggerDevError
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.cancel.record import ForMany, RunRecord

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

log = logging.getLogger(__name__)

_LAST = -1  # more urgent than any task

# With a deadline, even one that never comes, a call waits for its turn however long the server is silent.
_FAR = 1e9


def begin_thread(work: Callable[[], object]) -> None:
    """
    Do some work in a thread that does not hold up the end of the process.

    :raises NotSentError: the process can start no more threads
    """
    try:
        threading.Thread(target=work, name="trigger-dev-call", daemon=True).start()
    except RuntimeError as error:
        raise NotSentError(f"no thread could be started: {error}", retryable=True) from None


Task = RunRecord | ForMany
Answer = tuple[Task, Any, TriggerDevError | None]
"""A task, and what came of its request: the result, or an error."""


class Crew:
    """
    Send the requests of tasks, each once, up to ``count`` at a time; hand over the answers one by one.

    The process may be able to start fewer threads. They are daemons: one whose request is not answered does
    not hold up the end of the process.
    """

    def __init__(self, client: TriggerDevClient, count: int, deadline: Deadline) -> None:
        self.in_flight = 0
        self._deadline = deadline
        self._client = client
        self._count = 0
        self._tasks: PriorityQueue[tuple[int, int, Task | None]] = PriorityQueue()
        self._numbers = itertools.count()
        # Another kind of queue does not time out where a signal handler takes longer (3.11, measured).
        self._answers: Queue[tuple[Task, Any, BaseException | None]] = Queue()
        self._closed = threading.Event()
        try:
            while self._count < count:
                begin_thread(self._work)
                self._count += 1
        except NotSentError as error:
            if not self._count:
                raise
            log.warning("Working with %d of %d threads: %s", self._count, count, error)

    def begin(self, task: Task) -> None:
        """Send the request of a task as soon as no more urgent one waits; nothing once it is closed."""
        if not self._closed.is_set():
            self.in_flight += 1
            self._tasks.put((task.action, next(self._numbers), task))

    def answer(self, *, within: float) -> Answer | None:
        """Return the next answer, None if none comes within so many seconds."""
        try:
            task, result, error = self._answers.get(timeout=max(within, 0.0))
        except Empty:
            return None
        self.in_flight -= 1
        if error is not None and not isinstance(error, TriggerDevError):
            raise error  # a bug of ours
        return task, result, error

    def close(self) -> None:
        """Send nothing more; what is in flight is left to its timeout."""
        self._closed.set()
        with suppress(Empty):
            while True:
                self.in_flight -= self._tasks.get_nowait()[2] is not None
        for _ in range(self._count):
            self._tasks.put((_LAST, next(self._numbers), None))

    def _work(self) -> None:
        while (task := self._tasks.get()[2]) is not None:
            result: Any = None
            error: BaseException | None = None
            try:
                until = min(self._deadline.at, task.ends_at, time.monotonic() + _FAR)
                sleep = partial(self._sleep, task)
                result = self._client.call(task.call(), deadline=Deadline(until), patience=0, sleep=sleep)
            except TriggerDevError as raised:
                error = raised.with_traceback(None)
            except BaseException as raised:
                error = raised
                self._closed.set()
            self._answers.put((task, result, error))

    def _sleep(self, task: Task, seconds: float) -> None:
        """Wait for a turn; 0 seconds say that the request goes out now."""
        if self._closed.is_set():
            raise NotSentError("the work has ended")
        if seconds:
            self._closed.wait(seconds)
        else:
            task.note_sent(time.monotonic())
