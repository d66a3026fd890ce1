"""Threads that only send; what follows from an answer is decided in the thread that waits for it."""

from __future__ import annotations

import itertools
import threading
from functools import partial
from queue import Empty, PriorityQueue, Queue
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from airflow_provider_trigger.api.errors import NotSentError, TriggerDevError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.cancel.workers import Threads

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient


class Task(Protocol):
    """What takes requests, one at a time."""

    @property
    def urgency(self) -> int:
        """Of its next request; the lowest goes first."""

    def until(self, now: float) -> float:
        """Return until when its next request may take that begins now, on the monotonic clock."""

    def call(self) -> Call[Any]:
        """Return its next request; an id that cannot be sent raises here."""

    def note_sent(self, now: float) -> None:
        """Take in that it goes out now; called in the thread that sends it, perhaps twice."""


class Answer(NamedTuple):
    """What came of a task's request."""

    task: Any
    result: Any
    error: TriggerDevError | None


_LAST = -1  # more urgent than any task

# With a deadline, even one that never comes, a call waits for its turn however long the server is silent.
_FAR = 1e9


class Crew:
    """Send the requests of tasks, each once, up to ``count`` at a time; hand over the answers one by one."""

    def __init__(self, client: TriggerDevClient, threads: Threads, count: int, deadline: Deadline) -> None:
        self.in_flight = 0
        self._deadline = deadline
        self._client = client
        self._count = min(count, threads.count)
        self._tasks: PriorityQueue[tuple[int, int, Task | None]] = PriorityQueue()
        self._numbers = itertools.count()
        # Another kind of queue does not time out where a signal handler takes longer (3.11, measured).
        self._answers: Queue[tuple[Task, Any, BaseException | None]] = Queue()
        self._closed = threading.Event()
        for _ in range(self._count):
            threads.begin(self._work)

    def begin(self, task: Task) -> None:
        """Send the request of a task as soon as no more urgent one waits; nothing once it is closed."""
        if self._closed.is_set():
            return
        self.in_flight += 1
        self._tasks.put((task.urgency, next(self._numbers), task))

    def answer(self, *, within: float) -> Answer | None:
        """Return the next answer, None if none comes within so many seconds."""
        try:
            task, result, error = self._answers.get(timeout=max(within, 0.0))
        except Empty:
            return None
        self.in_flight -= 1
        if error is not None and not isinstance(error, TriggerDevError):
            raise error  # a bug of ours
        return Answer(task, result, error)

    def close(self) -> None:
        """Send nothing more; what is in flight is left to its timeout."""
        self._closed.set()
        while not self._tasks.empty():
            try:
                self.in_flight -= self._tasks.get_nowait()[2] is not None
            except Empty:
                break
        for _ in range(self._count):
            self._tasks.put((_LAST, next(self._numbers), None))

    def _work(self) -> None:
        while (task := self._tasks.get()[2]) is not None:
            result: Any = None
            error: BaseException | None = None
            try:
                now = self._client.exchange.monotonic()
                deadline = Deadline(min(self._deadline.at, task.until(now), now + _FAR))
                sleep = partial(self._sleep, task)
                result = self._client.call(task.call(), deadline=deadline, patience=0, sleep=sleep)
            except BaseException as raised:
                error = raised
                if isinstance(raised, TriggerDevError):
                    raised.with_traceback(None)
                else:
                    self._closed.set()
            self._answers.put((task, result, error))

    def _sleep(self, task: Task, seconds: float) -> None:
        """Wait for a turn; 0 seconds say that the request goes out now."""
        if self._closed.is_set():
            raise NotSentError("the work has ended")
        if seconds:
            self._closed.wait(seconds)
        else:
            task.note_sent(self._client.exchange.monotonic())
