"""A crew that needs no threads: a cancellation in milliseconds."""

from __future__ import annotations

import asyncio
import copy
import heapq
import itertools
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import green_threads
import greenlet  # type: ignore[import-untyped]
import pytest
from virtual_clock import Clock

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import NotSentError, TriggerDevError
from airflow_provider_trigger.api.exchange import Send
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.cancel import cancellation
from airflow_provider_trigger.cancel.crew import Answer, Task, Threads


def _resume(work: greenlet.greenlet, value: Any = None) -> None:
    """Continue some work until it waits for an event."""
    work.parent = greenlet.getcurrent()
    work.switch(value)


class VirtualCrew:
    """
    Send as :class:`airflow_provider_trigger.cancel.crew.Crew` does: by events, not in threads.

    :param network: sends a request, and calls back with its reply
    """

    def __init__(
        self, client: TriggerDevClient, count: int, deadline: Deadline, *, network: Any, clock: Clock
    ) -> None:
        self.in_flight = 0
        self._client = copy.copy(client)
        self._client.send = self._send  # type: ignore[method-assign]
        self._deadline = deadline
        self._network = network
        self._clock = clock
        self._idle = max(1, count)
        self._tasks: list[tuple[int, int, Task]] = []
        self._numbers = itertools.count()
        self._answers: deque[Answer] = deque()
        self._closed = False
        self._changed = asyncio.Event()

    def begin(self, task: Task) -> None:
        if self._closed:
            return
        self.in_flight += 1
        heapq.heappush(self._tasks, (task.action, next(self._numbers), task))
        self._clock.at(self._clock.now, self._fill)

    def _fill(self) -> None:
        while self._idle and self._tasks:
            self._idle -= 1
            _resume(greenlet.greenlet(self._work), heapq.heappop(self._tasks)[2])

    def _work(self, task: Task) -> None:
        until = min(self._deadline.at, task.ends_at, self._clock.now + 1e9)
        how: Any = {"deadline": Deadline(until), "patience": 0, "sleep": partial(self._sleep, task)}
        try:
            self._finish(task, self._client.call(task.call(), **how), None)
        except TriggerDevError as error:
            self._finish(task, None, error)

    def _sleep(self, task: Task, seconds: float) -> None:
        if self._closed:
            raise NotSentError("the work has ended")
        if seconds:
            self._clock.at(self._clock.now + seconds, partial(_resume, greenlet.getcurrent()))
            greenlet.getcurrent().parent.switch()
        else:
            task.note_sent(self._clock.now)

    def _send(self, step: Send) -> Any:
        self._network.send(step, partial(_resume, greenlet.getcurrent()))
        return greenlet.getcurrent().parent.switch()

    def _finish(self, task: Task, result: object, error: TriggerDevError | None) -> None:
        self._answers.append((task, result, error))
        self._changed.set()
        self._idle += 1
        self._clock.at(self._clock.now, self._fill)

    def answer(self, *, within: float) -> Answer | None:
        until = self._clock.now + max(within, 0.0)
        while not self._answers:
            if not self._wait(until):
                return None
        self.in_flight -= 1
        return self._answers.popleft()

    def _wait(self, until: float) -> bool:
        """Let something happen; False where nothing does until then."""
        return self._clock.next(until=until)

    def close(self) -> None:
        self._closed = True
        self.in_flight -= len(self._tasks)
        self._tasks.clear()


class CrewInLoop(VirtualCrew):
    """The same in virtual time that an event loop moves; the work runs in a green thread."""

    def _wait(self, until: float) -> bool:
        if until <= self._clock.now:
            return False
        self._changed.clear()
        green_threads.wait_for(self._changed_until(until))
        return True

    async def _changed_until(self, time: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), max(time - self._clock.now, 0.001))


@contextmanager
def virtual_crews(network: Any, clock: Clock, kind: type[VirtualCrew] = VirtualCrew) -> Iterator[list[int]]:
    """Let cancellations have such crews, and no threads; give how many requests each may have in flight."""
    counts: list[int] = []

    def make(client: TriggerDevClient, threads: Threads, count: int, deadline: Deadline) -> VirtualCrew:
        counts.append(count)
        return kind(client, count, deadline, network=network, clock=clock)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cancellation, "Threads", lambda count, name: Threads(0, name=name))
        patch.setattr(cancellation, "Crew", make)
        yield counts
