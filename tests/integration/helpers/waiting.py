"""How tests wait for something: with a limit, and a word on what they waited for."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LONG = 3600
"""In seconds: what the code must not wait for. A test in which it does, ends by its limit."""

LIMIT = 280
"""Of one test, in seconds. On a busy machine a whole Dag takes a minute; pytest shows threads at 300 s."""


class Killed(Exception):
    """What Airflow 2 raises in the signal handler, after ``on_kill``."""


def until(condition: Callable[[], Any], what: str, *, limit: float = 60, interval: float = 0.01) -> Any:
    """Wait until a condition holds, and return its value."""
    end = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {limit} s in vain until {what}"
        time.sleep(interval)
    return value


@contextmanager
def limited(seconds: float = LIMIT) -> Iterator[None]:
    """Fail a test that waits for what never comes, in the line in which it waits."""

    def fail(*_: Any) -> None:
        raise AssertionError(f"the test has not ended after {seconds} s; it waits here")

    before = signal.signal(signal.SIGUSR1, fail)
    main = threading.main_thread().ident
    assert main
    timer = threading.Timer(seconds, signal.pthread_kill, (main, signal.SIGUSR1))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGUSR1, before)
