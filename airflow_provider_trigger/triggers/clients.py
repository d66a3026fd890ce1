"""Share one client among all triggers of a connection in a triggerer, so that they share one pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from airflow_provider_trigger.api.async_client import AsyncTriggerDevClient
    from airflow_provider_trigger.hooks.connection import Settings
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook


@dataclass(slots=True)
class _Shared:
    client: AsyncTriggerDevClient
    users: int = 0


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Settings, _Shared]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_client(hook: TriggerDevHook) -> AsyncIterator[AsyncTriggerDevClient]:
    """
    Give the client of this event loop for a connection; its last user closes it.

    A connection that was changed gets a new one.

    :param hook: has its connection already, as nothing can be fetched here without blocking the loop
    """
    clients = _shared.setdefault(asyncio.get_running_loop(), {})
    settings = hook.settings
    if settings not in clients:
        clients[settings] = _Shared(hook.get_async_client())
    shared = clients[settings]
    shared.users += 1
    try:
        yield shared.client
    finally:
        shared.users -= 1
        if not shared.users:
            del clients[settings]
            await shared.client.close()
