"""Share one watch among all waits of a connection on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_provider_trigger.triggers.kept import keep
from airflow_provider_trigger.triggers.watch import Listener, Watch

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Environment
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Environment, Watch]] = WeakKeyDictionary()


@asynccontextmanager
async def watch_runs(hook: TriggerDevHook) -> AsyncIterator[Listener]:
    """
    Give a listener to the watch for a connection; the last one that leaves closes the watch.

    The hook has its connection already, as nothing can be fetched here without blocking the loop. Where its
    key or its limits are other ones than before, the watch changes to them once they have worked.
    """
    watches = _watches.setdefault(asyncio.get_running_loop(), {})
    environment = hook.settings.environment
    watch = watches.get(environment)
    if watch is None or watch.error is not None:
        watch = watches[environment] = Watch(hook)
    else:
        watch.clients.offer(hook.settings)
    listener = watch.join()
    try:
        yield listener
    finally:
        if watch.leave(listener):
            # It is forgotten first: who comes next must not join one that is being closed.
            if watches.get(environment) is watch:
                del watches[environment]
            await asyncio.shield(keep(watch.close()))
