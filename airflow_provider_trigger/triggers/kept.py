"""Asyncio tasks that are finished whatever becomes of the trigger that began them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

# Keeps the tasks alive: an event loop itself does not.
_tasks: set[asyncio.Task[None]] = set()


def keep(work: Coroutine[Any, Any, None], *, context: Context | None = None) -> asyncio.Task[None]:
    """Begin some work in a task of its own. Await it through :func:`asyncio.shield`, if at all."""
    task = asyncio.get_running_loop().create_task(work, context=context)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task
