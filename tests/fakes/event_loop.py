"""How tests of triggers wait on an event loop: each time with a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

LIMIT = 5000.0
"""In seconds of virtual time."""


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine, and return its result."""

    async def limited() -> Any:
        async with asyncio.timeout(LIMIT):
            return await main

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(limited())


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.005)
