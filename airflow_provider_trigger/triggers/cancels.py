"""
Cancel runs for triggers whose tasks have ended: those that end together in one work.

It does not wait behind status checks: its client has connections and a pace of its own. It is not aborted
when the trigger is canceled, and continues while the triggerer lives.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import NotSentError
from airflow_provider_trigger.api.limits import RateLimit
from airflow_provider_trigger.api.masking import SecretKey
from airflow_provider_trigger.cancel.cancellation import cancel_all
from airflow_provider_trigger.cancel.outcome import CancelResult, not_canceled
from airflow_provider_trigger.cancel.settings import TIME_LIMIT, settings_of
from airflow_provider_trigger.hooks.diagnosis import action_for
from airflow_provider_trigger.hooks.fetching import fetch_again, fetch_patiently
from airflow_provider_trigger.triggers.background import in_thread, keep

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.connection import Environment, Settings
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

log = logging.getLogger(__name__)

_Result = asyncio.Future[CancelResult]

# Tasks that are ended together end within so many seconds.
_GATHER = 0.25
# Before cancels that failed are repeated, in seconds.
_PAUSE = 2.0

_cancels: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Environment, _Cancels]] = WeakKeyDictionary()


async def cancel_runs(run_ids: Iterable[str], hook: TriggerDevHook) -> dict[str, CancelResult]:
    """Cancel runs together with those of other callers; return what became of each, by run id."""
    of_loop = _cancels.setdefault(asyncio.get_running_loop(), {})
    cancels = of_loop.setdefault(hook.settings.environment, _Cancels())
    results = {run_id: cancels.add(run_id, hook) for run_id in run_ids}
    return {run_id: await asyncio.shield(result) for run_id, result in results.items()}


class _Cancels:
    """The cancels of one environment on one event loop: those with the same key in one work."""

    def __init__(self) -> None:
        self._results: dict[str, _Result] = {}
        self._gathered: dict[Settings, dict[str, _Result]] = {}
        self._pace = RateLimit(reserve=0.0)
        self._keys: dict[Settings, SecretKey] = {}

    def add(self, run_id: str, hook: TriggerDevHook) -> _Result:
        """Begin to cancel a run, unless that is under way; return its result."""
        if (result := self._results.get(run_id)) is None:
            result = self._results[run_id] = asyncio.get_running_loop().create_future()
            if hook.settings not in self._gathered:
                keep(self._cancel_gathered(hook.settings), context=contextvars.Context())
            self._gathered.setdefault(hook.settings, {})[run_id] = result
        return result

    async def _cancel_gathered(self, settings: Settings) -> None:
        await asyncio.sleep(_GATHER)
        waiting = self._gathered.pop(settings)
        try:
            await self._cancel_repeatedly(waiting, settings)
        except BaseException as error:  # also that the event loop is being closed
            for run_id, result in waiting.items():
                del self._results[run_id]
                result.set_exception(error)
                result.exception()  # its caller may be gone

    async def _cancel_repeatedly(self, waiting: dict[str, _Result], settings: Settings) -> None:
        """Cancel runs, and again what may pass: where the server answers 500, a work ends early."""
        now, left = asyncio.get_running_loop().time, TIME_LIMIT
        until = now() + TIME_LIMIT
        while waiting:
            results = await self._cancel(list(waiting), settings, time_limit=left)
            left = until - now() - _PAUSE
            for run_id, result in results.items():
                if left <= 0 or not result.retryable:
                    del self._results[run_id]
                    waiting.pop(run_id).set_result(result)
            if waiting:
                await asyncio.sleep(_PAUSE)

    async def _cancel(
        self, run_ids: list[str], settings: Settings, *, time_limit: float
    ) -> dict[str, CancelResult]:
        loop = asyncio.get_running_loop()
        fetch = partial(_fetch_key, settings, loop)
        # Kept for its 403s, but not once it was fetched again: the next one may be of another environment.
        if (key := self._keys.get(settings)) is None or key.version:
            key = self._keys[settings] = SecretKey(settings.secret_key, fetch=fetch)
        try:
            return await in_thread(partial(self._cancel_blocking, run_ids, settings, key, time_limit))
        except NotSentError as error:  # no thread could be started
            return {run_id: not_canceled(run_id, error) for run_id in run_ids}

    def _cancel_blocking(
        self, run_ids: list[str], settings: Settings, key: SecretKey, time_limit: float
    ) -> dict[str, CancelResult]:
        how, action = settings_of(time_limit), partial(action_for, settings=settings)
        pool = min(how.max_concurrency, len(run_ids))
        with self._new_client(settings, key, max_connections=pool) as client:
            return cancel_all(client, run_ids, how, action_for=action).results

    def _new_client(self, settings: Settings, key: SecretKey, *, max_connections: int) -> TriggerDevClient:
        client = TriggerDevClient(
            settings, max_connections=max_connections, rate_limit=self._pace, secret_key=key
        )
        # The server has started these runs: a page instead of its answer passes, and is no reason to stop.
        client.exchange.breaker.has_worked = True
        return client


def _fetch_key(settings: Settings, loop: asyncio.AbstractEventLoop) -> str | None:
    """Return the key that a connection has now, None if it has none for the same environment."""
    fetch = fetch_again(settings.conn_id, fetch=partial(fetch_patiently, log=log))
    now = asyncio.run_coroutine_threadsafe(fetch, loop).result()
    return now.secret_key if now is not None and now.environment == settings.environment else None
