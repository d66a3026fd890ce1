"""Do one thing for each of many items, in threads: at a bounded pace, for a bounded time, and stoppable."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from airflow_provider_trigger.api.budget import Budget

log = logging.getLogger(__name__)

T = TypeVar("T")

# How often the calling thread looks whether the work is over or was stopped, in seconds.
_GLANCE = 0.1
# How long requests on their way may still take once the work was stopped, in seconds.
_GRACE = 0.5
_PROGRESS_EVERY = 10.0


class Workers:
    """
    Threads for one piece of work after another; all of it shares one time limit.

    :param count: how many at a time
    :param seconds: for all of it; None for as long as it needs
    :param is_stopped: asked some times a second; true ends the work within a second
    :param trouble: tells what the work met last, for the log; empty for nothing
    """

    def __init__(
        self,
        *,
        count: int,
        seconds: float | None,
        is_stopped: Callable[[], bool],
        trouble: Callable[[], str] = lambda: "",
    ) -> None:
        self._count = count
        self._is_stopped = is_stopped
        self._trouble = trouble
        self.budget = Budget(seconds=seconds)
        # From outside or by a bug; our own stop() is the work's own decision.
        self.interrupted = False

    def stop(self) -> None:
        """End the work: nothing new is begun."""
        self.budget.stop()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """
        Let what is done inside take so long at most.

        :param seconds: how long
        """
        whole, self.budget = self.budget, Budget(seconds=min(seconds, self.budget.remaining()))
        try:
            yield
        finally:
            if not self.budget.stopped:
                self.budget = whole

    def sleep(self, seconds: float) -> bool:
        """
        Sleep, and tell whether there is time left.

        :param seconds: how long
        """
        until = time.monotonic() + seconds
        while self.budget.remaining() and (left := until - time.monotonic()) > 0:
            self._obey()
            time.sleep(min(left, _GLANCE))
        return self.budget.remaining() > 0

    def each(self, doing: str, work: Callable[[T], bool], items: Sequence[T]) -> None:
        """
        Do one thing for each item.

        :param doing: what it is, for the log
        :param work: does it, and tells whether to go on; those that were begun are ended in any case
        :param items: what to do it for
        """
        queue = iter(items)
        turn = threading.Lock()
        done = 0
        goes_on = True
        budget = self.budget  # a thread that outlives its time must not go on in the next one's

        def drain() -> None:
            nonlocal done, goes_on
            while budget.remaining():
                with turn:
                    item = next(queue, None) if goes_on else None
                if item is None:
                    return
                wants_more = work(item)
                with turn:
                    done += 1
                    goes_on = goes_on and wants_more

        def progress() -> str:
            trouble = self._trouble()
            return f"{doing} {done} of {len(items)}" + (f"; last trouble: {trouble}" if trouble else "")

        self._obey()
        workers = min(self._count, len(items))
        if not workers:
            return
        pool = ThreadPoolExecutor(workers, "trigger-dev")
        try:
            self._supervise({pool.submit(drain) for _ in range(workers)}, progress)
        except BaseException:
            self.interrupted = True
            self.stop()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _obey(self) -> None:
        if self._is_stopped():
            self.interrupted = True
            self.stop()

    def _supervise(self, pending: set[Future[None]], progress: Callable[[], str]) -> None:
        told_at = time.monotonic()
        left_at: float | None = None
        while pending:
            finished, pending = wait(pending, timeout=_GLANCE)
            for drain in finished:
                drain.result()
            self._obey()
            now = time.monotonic()
            if not self.budget.remaining():
                left_at = left_at or now
                if now - left_at > _GRACE:
                    return  # what hangs in a request is left to its timeout
            if now - told_at > _PROGRESS_EVERY:
                log.info("%s", progress())
                told_at = now
