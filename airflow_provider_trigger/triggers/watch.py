"""Wait and cancel on an event loop; all triggers of one connection share a watch, in its own thread."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial, partialmethod
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import AuthenticationError, NotSentError, TriggerDevError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.limits import RateLimit
from airflow_provider_trigger.api.secret_key import SecretKey
from airflow_provider_trigger.cancel.cancellation import cancel_all
from airflow_provider_trigger.cancel.outcome import CancelResult
from airflow_provider_trigger.hooks.fetching import fetch_again, fetch_patiently, fetch_shielded
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.checks import reply_of
from airflow_provider_trigger.run.polled import check_interval
from airflow_provider_trigger.run.wait import Wait
from airflow_provider_trigger.run.watch import Watch
from airflow_provider_trigger.threads import in_thread

if TYPE_CHECKING:
    from airflow_provider_trigger.api.tokens import WaitpointToken
    from airflow_provider_trigger.hooks.connection import Settings
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
    from airflow_provider_trigger.run.wait import WaitSettings
    from airflow_provider_trigger.run.wait_outcome import WaitOutcome
    from airflow_provider_trigger.tokens.complete import TokenWait

log = logging.getLogger(__name__)

CHECK_CONCURRENCY = 32  # of runs, and of tokens
CHECKS_RESERVE = 0.25
"""The part of the rate limit's bucket that checks leave to cancels and to the application, 0 to 1."""

Use = Literal["queries", "checks", "tokens"]
"""The uses of a client; each has its own connections, pace and circuit breaker."""

# Requests for runs come before those for tokens.
_RESERVES: dict[Use, float] = {
    "queries": defaults.RATE_LIMIT_RESERVE,
    "checks": CHECKS_RESERVE,
    "tokens": 0.5,
}
# In seconds between two fetches of the connection: there are three before a wait ends as rejected.
_RENEW_INTERVAL = 10.0


def complete(loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any], result: Any) -> None:
    """Complete a future of an event loop with a result, or an error, from any thread."""

    def end() -> None:
        if not done.done():  # otherwise its caller is gone
            (done.set_exception if isinstance(result, BaseException) else done.set_result)(result)

    with suppress(RuntimeError):  # the event loop is closed
        loop.call_soon_threadsafe(end)


class LoopLog:
    """Write to a trigger's log on the event loop and in the trigger's context, from any thread."""

    def __init__(self, log: Log) -> None:
        self._log, self._loop, self._context = log, asyncio.get_running_loop(), copy_context()

    def _write(self, level: str, message: str, /, *args: Any) -> None:
        with suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(getattr(self._log, level), message, *args, context=self._context)

    debug = partialmethod(_write, "debug")
    info = partialmethod(_write, "info")
    warning = partialmethod(_write, "warning")
    error = partialmethod(_write, "error")


class SharedConnection:
    """Shared by all triggers with the same connection on one event loop; only that loop calls Airflow."""

    def __init__(self, settings: Settings) -> None:
        self.users = 0
        self.settings = settings
        self._loop = asyncio.get_running_loop()
        self._clients = _new_clients(settings)
        self._lock = threading.Lock()
        self._renew_at = -math.inf
        self._free = asyncio.Semaphore(CHECK_CONCURRENCY)
        self._cancel_pace = RateLimit(reserve=0.0)
        self.watch = Watch(
            partial(self._call, "checks"),
            query=partial(self._call, "queries"),
            cancel=self._cancel,
            max_checks=CHECK_CONCURRENCY,
        )
        threading.Thread(target=self._watch, name="trigger-dev-watch", daemon=True).start()

    def _watch(self) -> None:
        try:
            self.watch.run()
        except Exception:  # a bug of ours, which has ended all waits
            log.exception("The watch of connection %r crashed", self.settings.conn_id)

    def close(self) -> None:
        """Request nothing more; calls that are in flight end by themselves."""
        self.watch.close()
        for client in self._clients.values():
            client.close()

    async def check_token(self, wait: TokenWait) -> WaitpointToken | None:
        """Check a token. Of all tokens, the one that has waited longest comes next, so none starves."""
        async with self._free:
            try:
                return await in_thread(partial(wait.check, partial(self._call, "tokens")))
            except NotSentError as error:  # no thread could begin
                wait.failed(error)
                return None

    def _call(self, use: Use, call: Call[Any], **how: Any) -> Any:
        """Make a call, in any thread, without repeating it unless that is wanted."""
        clients, how = self._clients, {"patience": 0, **how}
        try:
            return clients[use].call(call, **how)
        except AuthenticationError:
            self._renew(clients, call)
            if self._clients is clients:
                raise
        return self._clients[use].call(call, **how)

    def _renew(self, rejected: Mapping[Use, TriggerDevClient], call: Call[Any]) -> None:
        """Replace the clients if the connection has other values now, and the call shows anything by them."""
        with self._lock:  # of many threads, one fetches the connection
            if self._clients is not rejected or time.monotonic() < self._renew_at:
                return
            settings = self._fetch(fetch_shielded)
            self._renew_at = time.monotonic() + _RENEW_INTERVAL
            if settings not in (None, self.settings) and _shows(settings, call):
                # The last call of the old clients that ends closes their connections.
                self.settings, self._clients = settings, _new_clients(settings)

    def _fetch(self, fetch: Callable[[str], Any]) -> Settings | None:
        """Return what the connection has now, None if that is not known or leads to another environment."""
        fetching = fetch_again(self.settings.conn_id, fetch=fetch)
        now = asyncio.run_coroutine_threadsafe(fetching, self._loop).result()
        return now if now is not None and now.environment == self.settings.environment else None

    def _fetch_key(self) -> str | None:
        now = self._fetch(partial(fetch_patiently, log=log))
        return None if now is None else now.secret_key

    def _cancel(self, run_ids: Sequence[str], seconds: float) -> Mapping[str, CancelResult]:
        """Cancel runs by a client of its own, which does not wait behind status checks."""
        settings = self.settings
        with TriggerDevClient(
            settings,
            rate_limit=self._cancel_pace,
            secret_key=SecretKey(settings.secret_key, fetch=self._fetch_key),
        ) as client:
            client.breaker.has_worked = True
            return cancel_all(client, run_ids, seconds, action_for=settings.action_for)


def _shows(settings: Settings, call: Call[Any]) -> bool:
    # The key of another environment shows nothing of it: 404, or no rows.
    with TriggerDevClient(settings, max_connections=1) as client:
        reply = reply_of(client.call, call, patience=0)
    return bool(reply) and not isinstance(reply, TriggerDevError)


def _new_clients(settings: Settings) -> dict[Use, TriggerDevClient]:
    return {use: new_client(settings, reserve=reserve) for use, reserve in _RESERVES.items()}


def new_client(settings: Settings, *, reserve: float) -> TriggerDevClient:
    """Return a client that leaves a part of the rate limit's bucket to others, 0 to 1."""
    pace = RateLimit(reserve=reserve)
    client = TriggerDevClient(settings, max_connections=CHECK_CONCURRENCY, rate_limit=pace)
    # The server has worked before: a page in its place passes, and is no reason to stop.
    client.breaker.has_worked = True
    return client


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Settings, SharedConnection]] = WeakKeyDictionary()


@contextmanager
def shared_connection(hook: TriggerDevHook) -> Iterator[SharedConnection]:
    """
    Return what all users of a connection share; it closes with the last one.

    A wait keeps the values of its begin: another key may be of another environment.
    """
    connections, settings = _shared.setdefault(asyncio.get_running_loop(), {}), hook.settings
    found = connections.get(settings)
    if found is None or found.watch.error is not None:
        found = connections[settings] = SharedConnection(settings)
    found.users += 1
    try:
        yield found
    finally:
        found.users -= 1
        if not found.users:
            found.close()
            if connections.get(settings) is found:
                del connections[settings]


async def wait_on_loop(
    run_ids: Sequence[str], settings: WaitSettings, hook: TriggerDevHook, *, log: Log
) -> dict[str, WaitOutcome]:
    """Wait for runs; return what became of each, by run id."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[dict[str, WaitOutcome]] = loop.create_future()
    with shared_connection(hook) as shared:
        wait = Wait(run_ids, settings, LoopLog(log), report=partial(complete, loop, done))
        shared.watch.add(wait)
        try:
            return await done
        finally:
            shared.watch.remove(wait)


async def cancel_runs(run_ids: Iterable[str], hook: TriggerDevHook) -> dict[str, CancelResult]:
    """Cancel runs together with those of other callers; return what became of each, by run id."""
    loop, wanted = asyncio.get_running_loop(), list(dict.fromkeys(run_ids))
    results: dict[str, CancelResult] = {}
    done: asyncio.Future[None] = loop.create_future()

    def report(run_id: str, result: CancelResult) -> None:
        results[run_id] = result
        if len(results) == len(wanted):
            complete(loop, done, None)

    with shared_connection(hook) as shared:
        shared.watch.cancel(wanted, report)
        await done
    return {run_id: results[run_id] for run_id in wanted}


async def wait_for_token(wait: TokenWait, hook: TriggerDevHook) -> None:
    """Check a token until it is completed."""
    with shared_connection(hook) as shared:
        while await shared.check_token(wait) is None:
            await asyncio.sleep(check_interval(time.time() - wait.begun_at))
