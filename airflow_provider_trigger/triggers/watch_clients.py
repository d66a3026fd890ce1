"""The clients of a watch, which change when their key is rejected and the connection has another one."""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import AuthenticationError, TriggerDevError, is_rejection
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.limits import RateLimit
from airflow_provider_trigger.hooks.fetching import fetch_again, fetch_shielded
from airflow_provider_trigger.triggers.background import in_thread

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Settings
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

T = TypeVar("T")

Use = Literal["queries", "checks", "urgent", "tokens"]
"""What a client is for; each use has connections, threads, a pace and a circuit breaker of its own."""

CHECK_CONCURRENCY = 32
"""How many calls of one use are in flight at a time, those included whose callers are gone."""

CHECKS_RESERVE = 0.25
"""The part of the rate limit's bucket that checks leave to cancels and to the application, 0 to 1."""

TOKENS_RESERVE = 0.5
"""The same for the checks of waitpoint tokens, so that all that concerns runs comes first."""

# The connection is fetched once in so many seconds at most: three times before a wait ends as rejected.
_RENEW_INTERVAL = 10.0


class WatchClients:
    """
    Make the calls of a watch in threads; where the key is rejected, fetch the connection again first.

    Threads only send: whatever belongs to Airflow or to asyncio stays on the event loop.
    """

    def __init__(self, hook: TriggerDevHook) -> None:
        self._conn_id = hook.trigger_dev_conn_id
        self.settings = hook.settings
        self._clients = _new_clients(hook.settings)
        self._offered: Settings | None = None  # what the connection has now, which has shown nothing yet
        self._free = defaultdict[Use, asyncio.Semaphore](lambda: asyncio.Semaphore(CHECK_CONCURRENCY))
        self._lock = asyncio.Lock()
        self._renew_at = -math.inf

    async def call(self, use: Use, call: Call[T]) -> T:
        """Make one call, without repeating it."""
        clients = self._clients
        try:
            return await self._call(use, clients[use], call)
        except AuthenticationError as error:
            rejected = error
        if await self._renew(use, clients, call):
            return await self._call(use, self._clients[use], call)
        raise rejected

    async def _call(self, use: Use, client: TriggerDevClient, call: Call[T]) -> T:
        await self._free[use].acquire()
        return await in_thread(partial(client.call, call, patience=0), at_end=self._free[use].release)

    async def _renew(self, use: Use, rejected: dict[Use, TriggerDevClient], call: Call[Any]) -> bool:
        """
        Use what the connection has now, once a call shows what is waited for; return whether there is that.

        A key of another environment shows nothing of it: 404, or no rows.
        """
        async with self._lock:
            if self._clients is not rejected:
                return True
            if time.monotonic() >= self._renew_at:
                settings = await fetch_again(self._conn_id, fetch=fetch_shielded)
                self._renew_at = time.monotonic() + _RENEW_INTERVAL
                is_same = settings is not None and settings.environment == self.settings.environment
                self._offered = settings if is_same and settings != self.settings else None
            if self._offered is None:
                return False
            try:
                with TriggerDevClient(self._offered, max_connections=1) as client:
                    shown = await self._call(use, client, call)
            except TriggerDevError as error:
                self._offered = None if is_rejection(error) else self._offered
                return False
            if shown:
                # The last call of the old ones that ends closes their connections: nothing refers to them.
                self.settings, self._clients = self._offered, _new_clients(self._offered)
            return bool(shown)

    def close(self) -> None:
        """Close the connections; calls that are in flight end by themselves."""
        for client in self._clients.values():
            client.close()


def _new_clients(settings: Settings) -> dict[Use, TriggerDevClient]:
    def for_checks(reserve: float = CHECKS_RESERVE) -> TriggerDevClient:
        pace = RateLimit(reserve=reserve)
        return TriggerDevClient(settings, max_connections=CHECK_CONCURRENCY, rate_limit=pace)

    queries = TriggerDevClient(settings, max_connections=1)
    clients: dict[Use, TriggerDevClient] = {
        "queries": queries,
        "checks": for_checks(),
        "urgent": for_checks(),
        "tokens": for_checks(TOKENS_RESERVE),
    }
    for client in clients.values():
        # The server has started these runs: a page in its place passes, and is no reason to stop.
        client.exchange.breaker.has_worked = True
    return clients
