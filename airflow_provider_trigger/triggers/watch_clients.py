"""The clients of a watch, which change when the connection's values have changed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from airflow_provider_trigger.api.async_client import AsyncTriggerDevClient
from airflow_provider_trigger.api.errors import AuthenticationError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.rate_limit import RateLimit
from airflow_provider_trigger.hooks import asynchronous

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Settings
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

T = TypeVar("T")

Use = Literal["queries", "checks", "urgent"]
"""What a client is for; each use has connections, a pace and a circuit breaker of its own."""

CHECKS_RESERVE = 0.25
"""The part of the rate limit's bucket that checks leave to cancels and to the application, 0 to 1."""

_QUERY_TIMEOUT = 5.0
# The connection is fetched once in so many seconds at most.
_RENEW_INTERVAL = 60.0


@dataclass(frozen=True, slots=True)
class _Clients:
    settings: Settings
    queries: AsyncTriggerDevClient
    checks: AsyncTriggerDevClient
    urgent: AsyncTriggerDevClient

    @classmethod
    def of(cls, settings: Settings) -> _Clients:
        quick = replace(settings, timeout=min(settings.timeout, _QUERY_TIMEOUT))
        return cls(
            settings=settings,
            queries=AsyncTriggerDevClient(quick, max_connections=1),
            checks=AsyncTriggerDevClient(settings, rate_limit=RateLimit(reserve=CHECKS_RESERVE)),
            urgent=AsyncTriggerDevClient(settings, rate_limit=RateLimit(reserve=0.0)),
        )

    async def close(self) -> None:
        for client in (self.queries, self.checks, self.urgent):
            await client.close()


class WatchClients:
    """
    Make the calls of a watch; where the key is rejected, fetch the connection again first.

    :param hook: has its connection already
    """

    def __init__(self, hook: TriggerDevHook) -> None:
        self._conn_id = hook.trigger_dev_conn_id
        self._clients = _Clients.of(hook.settings)
        self._outdated: list[_Clients] = []
        self._lock = asyncio.Lock()
        self._renewed_at = -_RENEW_INTERVAL

    @property
    def bucket_size(self) -> float | None:
        """The size of the rate limit's bucket, as far as a query has shown it."""
        return self._clients.queries.exchange.bucket_size

    def use(self, hook: TriggerDevHook) -> None:
        """
        Make all further calls with the values of a hook's connection.

        :param hook: has its connection already
        """
        if hook.settings != self._clients.settings:
            # Requests in flight are left to their end.
            self._outdated.append(self._clients)
            self._clients = _Clients.of(hook.settings)

    async def call(self, use: Use, call: Call[T]) -> T:
        """
        Make one call, without repeating it.

        :param use: what it is for
        :param call: from :mod:`airflow_provider_trigger.api.endpoints`
        :raises TriggerDevError: it failed
        """
        clients = self._clients
        try:
            return await self._call(clients, use, call)
        except AuthenticationError as error:
            rejected = error
        if await self._renew(clients):
            return await self._call(self._clients, use, call)
        raise rejected

    async def _call(self, clients: _Clients, use: Use, call: Call[T]) -> T:
        client: AsyncTriggerDevClient = getattr(clients, use)
        return await client.call(call, patience=0)

    async def _renew(self, rejected: _Clients) -> bool:
        """Fetch the connection, unless that was done just now; return whether its values are other ones."""
        async with self._lock:
            now = time.monotonic()
            if self._clients is rejected and now - self._renewed_at >= _RENEW_INTERVAL:
                self._renewed_at = now
                # Not interrupted: see the triggers' own fetch.
                self.use(await asyncio.shield(asynchronous.get_hook(self._conn_id)))
            return self._clients is not rejected

    async def close(self) -> None:
        """Close all connections."""
        for clients in (*self._outdated, self._clients):
            await clients.close()
