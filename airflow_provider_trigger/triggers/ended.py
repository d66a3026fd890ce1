"""
Find out, before Airflow 3.3, whether a task was ended from outside or only its triggerer is stopping.

A trigger sees the same in both cases: it is canceled. What follows was measured on 2.11, 3.0, 3.1 and 3.2: an
asyncio task of its own, in a context of its own, checks in Airflow whether this try of the task is still
deferred. Only a definite "no" cancels the run: without an answer the run continues.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async

from airflow_provider_trigger.log import Log
from airflow_provider_trigger.triggers.background import keep

_TRIES = 3
_PAUSE = 1.0

# Of each event loop: the supervisor answers one request at a time.
_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def cancel_if_ended(
    is_still_deferred: Callable[[], bool],
    cancel: Callable[[], Coroutine[Any, Any, None]],
    *,
    run_ids: Sequence[str],
    log: Log,
) -> None:
    """Begin to check whether a trigger's task was ended, and cancel its run then; do not wait for it."""

    async def check() -> None:
        lock = _locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        for _ in range(_TRIES):
            try:
                async with lock:
                    # In a thread of asyncio's, Airflow 3.0 and 3.1 would read the supervisor's answer on
                    # another event loop, and break all other triggers.
                    ended = not await sync_to_async(is_still_deferred)()
            except Exception as error:
                # Any error: a triggerer that is stopping has lost its supervisor, or its database.
                last_error = error
                await asyncio.sleep(_PAUSE)
            else:
                if ended:
                    await asyncio.shield(keep(cancel()))
                return
        text = "Could not check in Airflow whether the task was ended (%s), so that its run continues: %s"
        log.warning(text, last_error, ", ".join(run_ids))

    keep(check(), context=contextvars.Context())
