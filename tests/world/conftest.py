"""Tests with the fixture ``world`` run within it: each wait of theirs is one of virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from world import World, new_world

LIMIT = 100_000.0
"""The longest course of a test, in virtual seconds."""


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world; a test may say what its server is like."""
    with new_world(**getattr(request, "param", {})) as world:
        yield world


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
