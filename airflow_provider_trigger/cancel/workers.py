"""Threads that do what they are given."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

from airflow_provider_trigger.api.errors import NotSentError

log = logging.getLogger(__name__)


def begin_thread(work: Callable[[], object]) -> None:
    """
    Do some work in a thread that does not hold up the end of the process.

    :raises NotSentError: the process can start no more threads
    """
    try:
        threading.Thread(target=work, name="trigger-dev-call", daemon=True).start()
    except RuntimeError as error:
        raise NotSentError(f"no thread could be started: {error}", retryable=True) from None


class Threads:
    """
    Do work in up to ``count`` threads, in fewer where the process cannot start as many.

    In a signal handler none can be started: that takes locks which the interrupted code may hold. They are
    daemons: one whose request is not answered does not hold up the end of the process.
    """

    def __init__(self, count: int, *, name: str) -> None:
        self.count = 0
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        try:
            while self.count < count:
                thread = threading.Thread(target=self._run, name=f"{name}-{self.count}", daemon=True)
                self.count += 1
                thread.start()
        except RuntimeError as error:
            self.count -= 1
            if not self.count:
                raise
            log.warning("Started %d of %d threads: %s", self.count, count, error)
        except BaseException:  # a timeout that a signal raises
            self.close()
            raise

    def begin(self, work: Callable[[], None]) -> None:
        """Begin some work, which must not raise, as soon as a thread is free; safe in a signal handler."""
        self._work.put(work)

    def close(self) -> None:
        """Let each thread end after what it does and what was begun before; do not wait for it."""
        for _ in range(self.count):
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
