"""
Blocking code in virtual time: each thread is a greenlet, and the clock moves when all of them wait.

Locks, events, queues and executors are Python's own, on the three primitives that stand here: a lock, a
thread and ``sleep``. Only one greenlet runs at a time, and it runs until it waits, so a course depends on
nothing but its seed.
"""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures.thread
import functools
import heapq
import itertools
import math
import queue
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import greenlet  # type: ignore[import-untyped]
import pytest

START = 1_795_600_000.0
"""What ``time()`` of a new world returns."""

STEP = 1e-6
"""What a look at the clock takes, in seconds: a loop that never waits moves it all the same."""


# A real thread that an earlier test has left continues with these.
_ident, _sleep, _monotonic, _time = _thread.get_ident, time.sleep, time.monotonic, time.time


class Deadlock(AssertionError):
    """All threads wait for something that never happens."""


class Thread:
    """Stands in for ``threading.Thread``."""

    _numbers = itertools.count(1)

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ) -> None:
        self.name = name or f"Thread-{next(self._numbers)}"
        self.daemon = bool(daemon)
        self.ident: int | None = None
        self._work = partial(target, *args, **(kwargs or {})) if target else None
        self._ended = False
        self._joining: list[greenlet.greenlet] = []

    def start(self) -> None:
        hub = HUB.current
        made = hub.spawn(self._run)
        self.ident = id(made)
        hub.threads[made] = self

    def run(self) -> None:
        if self._work is not None:
            self._work()

    def _run(self) -> None:
        try:
            self.run()
        except greenlet.GreenletExit:
            raise
        except SystemExit:
            pass
        except BaseException:
            HUB.current.errors.append(traceback.format_exc())
        finally:
            self._ended = True
            for one in self._joining:
                HUB.current.wake(one)

    def getName(self) -> str:  # what Airflow 2 imports late refers to it
        return self.name

    def is_alive(self) -> bool:
        return self.ident is not None and not self._ended

    def join(self, timeout: float | None = None) -> None:
        if not self._ended:
            self._joining.append(greenlet.getcurrent())
            HUB.current.wait(timeout, until=lambda: self._ended)


class Lock:
    """Stands in for what ``threading.Lock`` makes."""

    def __init__(self) -> None:
        self._is_held = False
        self._waiting: deque[greenlet.greenlet] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self._is_held and blocking:
            me = greenlet.getcurrent()
            self._waiting.append(me)
            try:
                HUB.current.wait(None if timeout < 0 else timeout, until=lambda: not self._is_held)
            finally:
                self._waiting.remove(me)
        if self._is_held:
            return False
        self._is_held = True
        return True

    def release(self) -> None:
        if not self._is_held:
            raise RuntimeError("release unlocked lock")
        self._is_held = False
        if self._waiting:
            HUB.current.wake(self._waiting[0])

    def locked(self) -> bool:
        return self._is_held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Local:
    """Stands in for ``threading.local``."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__new__(cls)
        object.__setattr__(made, "_given", (args, kwargs))
        object.__setattr__(made, "_by_thread", {})
        return made

    def _own(self) -> dict[str, Any]:
        by_thread = object.__getattribute__(self, "_by_thread")
        me = greenlet.getcurrent()
        if me not in by_thread:
            by_thread[me] = {}
            args, kwargs = object.__getattribute__(self, "_given")
            if type(self).__init__ is not object.__init__:
                type(self).__init__(self, *args, **kwargs)
        own: dict[str, Any] = by_thread[me]
        return own

    def __getattribute__(self, name: str) -> Any:
        if name == "__dict__":
            return Local._own(self)
        own = Local._own(self)
        return own[name] if name in own else object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        Local._own(self)[name] = value

    def __delattr__(self, name: str) -> None:
        del Local._own(self)[name]


class _Selector:
    """What an event loop waits with: for its next time, or another thread."""

    def __init__(self) -> None:
        self.was_woken = False
        self.loop_thread: greenlet.greenlet | None = None

    def select(self, timeout: float | None = None) -> list[Any]:
        self.loop_thread = greenlet.getcurrent()
        HUB.current.wait(timeout, until=lambda: self.was_woken)
        self.was_woken = False
        return []

    def wake(self) -> None:
        self.was_woken = True
        if self.loop_thread is not None:
            HUB.current.wake(self.loop_thread)

    def get_map(self) -> dict[Any, Any]:
        return {}

    def close(self) -> None:
        pass


class EventLoop(asyncio.BaseEventLoop):
    """An event loop without sockets, in virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _Selector()

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        self._selector.wake()

    def time(self) -> float:
        return HUB.current.monotonic()


class Hub:
    """Runs the greenlets of one world, each until it waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.errors: list[str] = []
        """What threads raised."""
        self.threads: dict[greenlet.greenlet, Thread] = {}
        self.main = Thread(name="MainThread")
        self.handlers: dict[greenlet.greenlet, deque[Callable[[], object]]] = {}
        """What a thread does as a signal handler, as soon as it waits or continues."""
        self._ready: deque[greenlet.greenlet] = deque()
        self._timers: list[tuple[float, int, greenlet.greenlet]] = []
        self._order = itertools.count()
        self._process_of: dict[greenlet.greenlet, greenlet.greenlet] = {}
        self._killed: set[greenlet.greenlet] = set()
        self._alive: set[greenlet.greenlet] = set()
        self._root = greenlet.getcurrent()
        self._ident = _ident()

    @property
    def is_elsewhere(self) -> bool:
        """Whether this is a real thread, which has nothing to do with this world."""
        return _ident() != self._ident

    # The module ``time``.

    def monotonic(self) -> float:
        if self.is_elsewhere:
            return _monotonic()
        self.now += STEP
        return self.now

    def time(self) -> float:
        return _time() if self.is_elsewhere else START + self.monotonic() - 1000.0

    def sleep(self, seconds: float) -> None:
        if self.is_elsewhere:
            _sleep(seconds)
            return
        until = self.now + max(0.0, seconds)
        self.wait(seconds, until=lambda: self.now >= until)

    # Threads.

    def spawn(self, work: Callable[[], object]) -> greenlet.greenlet:
        """Begin some work in a greenlet of its own."""
        made = greenlet.greenlet(work, parent=self._root)
        self._alive.add(made)
        if (process := self._process_of.get(greenlet.getcurrent())) is not None:
            self._process_of[made] = process
        self._ready.append(made)
        return made

    def wake(self, one: greenlet.greenlet) -> None:
        """Let a greenlet look whether what it waits for has come."""
        self._ready.append(one)

    def signal(self, one: greenlet.greenlet, handler: Callable[[], object]) -> None:
        """Run a handler in a thread, where it waits; what it raises is raised there."""
        self.handlers.setdefault(one, deque()).append(handler)
        self.wake(one)

    def spawn_process(self, work: Callable[[], object]) -> greenlet.greenlet:
        """Begin some work as the main thread of a process: all threads that it begins end with it."""
        made = self.spawn(work)
        self._process_of[made] = made
        return made

    def kill(self, process: greenlet.greenlet) -> None:
        """End a process at once: none of its threads does anything more, not even in a ``finally``."""
        for one, of in list(self._process_of.items()):
            if of is process and not one.dead:
                self._killed.add(one)
                _KEPT.append(one)

    def wake_thread(self, thread: Thread) -> None:
        """Let a thread look whether what it waits for has come."""
        for one, of in self.threads.items():
            if of is thread:
                self.wake(one)

    def wait(self, seconds: float | None, *, until: Callable[[], bool]) -> None:
        """Wait for so many seconds at most, until a condition holds that somebody wakes us for."""
        if self.is_elsewhere:
            limit = math.inf if seconds is None else _monotonic() + seconds
            while not until() and _monotonic() < limit:
                _sleep(0.001)
            return
        me = greenlet.getcurrent()
        end = None if seconds is None else self.now + max(0.0, seconds)
        if end is not None:
            heapq.heappush(self._timers, (end, next(self._order), me))
        while True:
            loop = asyncio._get_running_loop()
            asyncio._set_running_loop(None)
            self._root.switch()
            asyncio._set_running_loop(loop)
            while self.handlers.get(me):
                self.handlers[me].popleft()()
            if until() or (end is not None and self.now >= end):
                return

    def run(self, work: Callable[[], Any], *, limit: float) -> Any:
        """Do some work as the main thread, and return what it returns; the other threads end with it."""
        result: list[Any] = []

        def main() -> None:
            try:
                result.append((True, work()))
            except BaseException as error:
                result.append((False, error))

        first = self.spawn(main)
        self.main.ident = id(first)
        self.threads[first] = self.main
        end = self.now + limit
        while not result:
            self._turn(first, end)
        _KEPT.extend(one for one in self._alive if not one.dead)
        succeeded, what = result[0]
        if not succeeded:
            raise what
        return what

    def _turn(self, first: greenlet.greenlet, end: float) -> None:
        if self._ready:
            one = self._ready.popleft()
            if not self._is_gone(one):
                one.switch()
            if one.dead:
                self._alive.discard(one)
            return
        while self._timers and self._is_gone(self._timers[0][2]):
            heapq.heappop(self._timers)
        if not self._timers:
            first.throw(Deadlock("all wait for something that never happens", *self.errors, *self._stacks()))
            return
        at, _, one = heapq.heappop(self._timers)
        if at > end:
            first.throw(Deadlock(f"the test did not end within {end - 1000.0:.0f} s of virtual time"))
            return
        self.now = max(self.now, at)
        self._ready.append(one)

    def _stacks(self) -> list[str]:
        waiting = [one for one in self._alive if not self._is_gone(one) and one.gr_frame is not None]
        return ["".join(traceback.format_stack(one.gr_frame)) for one in waiting]

    def _is_gone(self, one: greenlet.greenlet) -> bool:
        return one.dead or one in self._killed


# Of a greenlet without a reference, Python would run the ``finally`` blocks.
_KEPT: list[greenlet.greenlet] = []


class _Current:
    current: Hub


HUB = _Current()


def current_thread() -> Any:
    """Stand in for ``threading.current_thread``."""
    if HUB.current.is_elsewhere:
        return threading._active[_ident()]  # type: ignore[attr-defined]
    return HUB.current.threads.get(greenlet.getcurrent(), HUB.current.main)


def get_ident() -> int:
    return _ident() if HUB.current.is_elsewhere else id(greenlet.getcurrent())


def _new_rlock() -> Any:
    return threading._RLock()  # Python's own, of a lock


def _replacements(hub: Hub) -> dict[int, Any]:
    """Return what stands in for what the product has imported by its name, by the identity of that."""
    return {
        id(time.monotonic): hub.monotonic,
        id(time.time): hub.time,
        id(time.sleep): hub.sleep,
        id(queue.SimpleQueue): queue._PySimpleQueue,  # type: ignore[attr-defined]
        id(threading.Thread): Thread,
        id(threading.Lock): Lock,
        id(threading.RLock): _new_rlock,
        id(threading.local): Local,
    }


def _replace_in(module: ModuleType, new: Mapping[int, Any], patch: pytest.MonkeyPatch) -> None:
    for place, name in _places(module, frozenset(new)):
        if isinstance(place, dict):
            patch.setitem(place, name, new.get(id(place[name]), place[name]))
            continue
        value = getattr(place, name)
        if name == "__defaults__":
            patch.setattr(place, name, tuple(new.get(id(one), one) for one in value))
        else:
            patch.setattr(place, name, new.get(id(value), value))


@functools.cache
def _places(module: ModuleType, replaced: frozenset[int]) -> list[tuple[Any, str]]:
    """Return where a module has what is replaced: an object or a dictionary, and the name in it."""
    places: list[tuple[Any, str]] = []
    for name, value in vars(module).items():
        if id(value) in replaced:
            places.append((module, name))
        functions = [value] if isinstance(value, FunctionType) else []
        if isinstance(value, type) and value.__module__ == module.__name__:
            members = [getattr(one, "__func__", one) for one in vars(value).values()]
            functions += [one for one in members if isinstance(one, FunctionType)]
        for function in functions:
            if function.__module__ == module.__name__:
                places += _places_of(function, replaced)
    return places


def _places_of(function: FunctionType, replaced: frozenset[int]) -> Iterator[tuple[Any, str]]:
    defaults = function.__kwdefaults__ or {}
    yield from ((defaults, key) for key, given in defaults.items() if id(given) in replaced)
    for cell in function.__closure__ or ():  # the factories of a dataclass's fields are in them
        if id(cell.cell_contents) in replaced:
            yield cell, "cell_contents"
    if any(id(one) in replaced for one in function.__defaults__ or ()):
        yield function, "__defaults__"


def replace_names(new: Mapping[int, Any], packages: Sequence[str], patch: pytest.MonkeyPatch) -> None:
    """Replace what modules of some packages have imported by name, or have as a default, by its identity."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name.split(".")[0] in packages:
            _replace_in(module, new, patch)


@contextmanager
def virtual_time(*packages: str) -> Iterator[Hub]:
    """
    Let all threads and clocks be virtual, of the standard library and of what packages have imported by name.

    What was made before (Airflow's own locks, the logging module's) stays real: nothing waits for it.
    """
    hub = Hub()
    HUB.current = hub
    new = _replacements(hub)
    with pytest.MonkeyPatch.context() as patch:
        replace_names(new, packages, patch)
        for name in ("monotonic", "time", "sleep"):
            patch.setattr(time, name, getattr(hub, name))
        patch.setattr(threading, "_time", hub.monotonic)
        patch.setattr(threading, "_allocate_lock", Lock)
        patch.setattr(threading, "Lock", Lock)
        patch.setattr(threading, "RLock", _new_rlock)
        patch.setattr(threading, "Thread", Thread)
        patch.setattr(threading, "local", Local)
        patch.setattr(threading, "get_ident", get_ident)
        patch.setattr(threading, "current_thread", current_thread)
        patch.setattr(threading, "main_thread", lambda: hub.main)
        patch.setattr(queue, "time", hub.monotonic)
        patch.setattr(queue, "SimpleQueue", queue._PySimpleQueue)  # type: ignore[attr-defined]
        patch.setattr(concurrent.futures.thread, "_global_shutdown_lock", Lock())
        # Python would join their threads as it ends.
        patch.setattr(concurrent.futures.thread, "_threads_queues", WeakKeyDictionary())
        patch.setattr(asyncio, "new_event_loop", EventLoop)
        yield hub
    assert not hub.errors, "a thread failed:\n" + "\n".join(hub.errors)
