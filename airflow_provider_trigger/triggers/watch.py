"""Wait and cancel on an event loop; all triggers of one connection share a watch, in its own thread."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import replace
from functools import partial, partialmethod
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import NotSentError, TriggerDevError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.limits import RateLimit
from airflow_provider_trigger.api.secret_key import SecretKey
from airflow_provider_trigger.cancel.cancellation import cancel_all
from airflow_provider_trigger.cancel.outcome import CancelResult
from airflow_provider_trigger.hooks.fetching import fetch_key, fetch_patiently, fetch_shielded
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.checks import reply_of
from airflow_provider_trigger.run.polled import check_interval
from airflow_provider_trigger.run.wait import Wait
from airflow_provider_trigger.run.watch import Watch
from airflow_provider_trigger.threads import in_thread

if TYPE_CHECKING:
    from airflow.sdk import Connection

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
        self._key = SecretKey(settings.secret_key, fetch=self._key_that_shows)
        self._clients = {
            use: new_client(settings, reserve=reserve, secret_key=self._key)
            for use, reserve in _RESERVES.items()
        }
        self._fetch_at = -math.inf
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
        return self._clients[use].call(call, **{"patience": 0, **how})

    def _fetch_key(self, fetch: Callable[[str], Coroutine[Any, Any, Connection]]) -> str | None:
        def fetch_on_loop(conn_id: str) -> Connection:
            return asyncio.run_coroutine_threadsafe(fetch(conn_id), self._loop).result()

        return fetch_key(self.settings, fetch=fetch_on_loop)

    def _key_that_shows(self, call: Call[Any]) -> str | None:
        """Return another key that shows anything of a rejected call; None for none, or soon after a fetch."""
        if time.monotonic() < self._fetch_at:
            return None
        key = self._fetch_key(fetch_shielded)
        self._fetch_at = time.monotonic() + _RENEW_INTERVAL
        if key in (None, self._key.value):
            return None
        # The key of another environment shows nothing of it: 404, or no rows.
        with TriggerDevClient(replace(self.settings, secret_key=key), max_connections=1) as client:
            reply = reply_of(client.call, call, patience=0)
        return key if reply and not isinstance(reply, TriggerDevError) else None

    def _cancel(self, run_ids: Sequence[str], seconds: float) -> Mapping[str, CancelResult]:
        """Cancel runs by a client of its own, which does not wait behind status checks."""
        # A key of its own: a cancel shows nothing of a run, so that its key is not for the checks.
        key = SecretKey(self._key.value, fetch=lambda _: self._fetch_key(partial(fetch_patiently, log=log)))
        with TriggerDevClient(self.settings, rate_limit=self._cancel_pace, secret_key=key) as client:
            client.breaker.has_worked = True
            return cancel_all(client, run_ids, seconds, action_for=self.settings.action_for)


def new_client(
    settings: Settings, *, reserve: float, secret_key: SecretKey | None = None
) -> TriggerDevClient:
    """Return a client that leaves a part of the rate limit's bucket to others, 0 to 1."""
    client = TriggerDevClient(
        settings,
        max_connections=CHECK_CONCURRENCY,
        rate_limit=RateLimit(reserve=reserve),
        secret_key=secret_key,
    )
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
