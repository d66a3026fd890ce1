"""
A test that uses the world runs in it: the server answers in this process, and time is virtual.

A ``conftest.py`` that imports these names gives them to the tests in its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import greenlet  # type: ignore[import-untyped]
import pytest
from hub import Hub, Thread
from world import World, new_world

from airflow_provider_trigger.testing import TriggerDevServer

LIMIT = 100_000.0
"""The longest course of a test, in virtual seconds."""


@pytest.fixture
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world; a test may say what its server is like."""
    with new_world(**getattr(request, "param", {})) as world:
        yield world
        monkeypatch.undo()  # what a test has patched may be the world's: afterwards this would bring it back


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Any:
    world = pyfuncitem.funcargs.get("world")
    if not isinstance(world, World):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    def run() -> None:
        world.start()
        pyfuncitem.obj(**arguments)
        world.triggerer.close()

    world.hub.run(run, limit=LIMIT)
    return True


@pytest.fixture
def clock(world: World) -> Hub:
    """The clock of the world, which ``sleep`` moves."""
    return world.hub


@pytest.fixture
def server(world: World) -> TriggerDevServer:
    """The server of the world, whose workers acknowledge a cancel almost at once."""
    world.server.acknowledge_after = 0.05
    return world.server


@pytest.fixture
def in_signal_handler(world: World) -> Callable[[Callable[[], object], Callable[[], object]], None]:
    """Do something in a signal handler of the main thread, as Airflow does, once a condition holds."""

    def when(condition: Callable[[], object], act: Callable[[], object]) -> None:
        main = greenlet.getcurrent()

        def watch() -> None:
            world.until(condition)
            world.hub.signal(main, act)

        Thread(target=watch).start()

    return when
