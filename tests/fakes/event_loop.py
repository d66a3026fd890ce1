"""How tests of triggers wait on an event loop: each time with a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

LIMIT = 200.0
"""In seconds: on a busy machine, each step may take a while."""


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine, and return its result."""

    async def limited() -> Any:
        async with asyncio.timeout(LIMIT):
            return await main

    return asyncio.run(limited())


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.005)
