"""The clients of a watch, which change when the connection's values have changed."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from airflow_provider_trigger.api.async_client import AsyncTriggerDevClient
from airflow_provider_trigger.api.errors import AuthenticationError, TriggerDevError, is_rejection
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.rate_limit import RateLimit
from airflow_provider_trigger.triggers.fetching import fetch_again, fetch_once
from airflow_provider_trigger.triggers.kept import keep

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Settings
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

log = logging.getLogger(__name__)

T = TypeVar("T")

Use = Literal["queries", "checks", "urgent"]
"""What a client is for; each use has connections, a pace and a circuit breaker of its own."""

CHECKS_RESERVE = 0.25
"""The part of the rate limit's bucket that checks leave to cancels and to the application, 0 to 1."""

# The connection is fetched once in so many seconds at most, and sooner where that failed: two times and more
# before a wait ends as rejected, which takes 30 s.
_RENEW_INTERVAL = 10.0
_RENEW_AFTER_FAILURE = 5.0


@dataclass(slots=True)
class _Clients:
    settings: Settings
    queries: AsyncTriggerDevClient
    checks: AsyncTriggerDevClient
    urgent: AsyncTriggerDevClient
    in_flight: int = 0

    @classmethod
    def of(cls, settings: Settings) -> _Clients:
        clients = cls(
            settings=settings,
            queries=AsyncTriggerDevClient(settings, max_connections=1),
            checks=AsyncTriggerDevClient(settings, rate_limit=RateLimit(reserve=CHECKS_RESERVE)),
            urgent=AsyncTriggerDevClient(settings, rate_limit=RateLimit(reserve=CHECKS_RESERVE)),
        )
        for client in clients.all:
            # The server has started these runs: a page in its place passes, and is no reason to stop.
            client.exchange.breaker.has_worked = True
        return clients

    @property
    def all(self) -> tuple[AsyncTriggerDevClient, ...]:
        return self.queries, self.checks, self.urgent

    async def close(self) -> None:
        for client in self.all:
            await client.close()


class WatchClients:
    """Make the calls of a watch; where the key is rejected, fetch the connection again first."""

    def __init__(self, hook: TriggerDevHook) -> None:
        self._conn_id = hook.trigger_dev_conn_id
        self._clients = _Clients.of(hook.settings)
        self._offered: Settings | None = None  # other values, which have not worked yet
        self._rejected: Settings | None = None
        self._lock = asyncio.Lock()
        self._renew_at = -math.inf

    @property
    def bucket_size(self) -> float | None:
        """The size of the rate limit's bucket, as far as a query has shown it."""
        return self._clients.queries.exchange.bucket_size

    def offer(self, settings: Settings) -> None:
        """Use other values once a call with them has worked: all waits share those in use."""
        if settings not in (self._clients.settings, self._rejected):
            self._offered = settings

    async def call(self, use: Use, call: Call[T]) -> T:
        """Make one call, without repeating it."""
        await self._try_offered(call)
        clients = self._clients
        try:
            return await self._call(clients, use, call)
        except AuthenticationError as error:
            rejected = error
        if await self._renew(clients, call):
            return await self._call(self._clients, use, call)
        raise rejected

    async def _try_offered(self, call: Call[Any]) -> None:
        settings, self._offered = self._offered, None  # others continue meanwhile
        if settings is None:
            return
        try:
            async with AsyncTriggerDevClient(settings, max_connections=1) as client:
                await client.call(call, patience=0)
        except TriggerDevError as error:
            if not is_rejection(error):
                self._offered = self._offered or settings  # it shows nothing
                return
            if settings != self._rejected:
                text = "Connection %r has another key now, which is rejected; the one before is used: %s"
                log.warning(text, self._conn_id, error)
            self._rejected = settings
        else:
            outdated, self._clients = self._clients, _Clients.of(settings)
            if not outdated.in_flight:  # else its last request closes it
                keep(outdated.close())

    async def _call(self, clients: _Clients, use: Use, call: Call[T]) -> T:
        client: AsyncTriggerDevClient = getattr(clients, use)
        clients.in_flight += 1
        try:
            return await client.call(call, patience=0)
        finally:
            clients.in_flight -= 1
            if clients is not self._clients and not clients.in_flight:
                await asyncio.shield(keep(clients.close()))

    async def _renew(self, rejected: _Clients, call: Call[Any]) -> bool:
        """Fetch the connection, unless that was done just now; return whether its values are other ones."""
        async with self._lock:
            if self._clients is rejected and time.monotonic() >= self._renew_at:
                await self._fetch()
                await self._try_offered(call)
            return self._clients is not rejected

    async def _fetch(self) -> None:
        settings = await fetch_again(self._conn_id, fetch=fetch_once, log=log)
        interval = _RENEW_AFTER_FAILURE if settings is None else _RENEW_INTERVAL
        self._renew_at = time.monotonic() + interval
        before = self._clients.settings
        if settings not in (None, before) and settings.environment == before.environment:
            self._offered = settings

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()
