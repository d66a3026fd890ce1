"""Wait in the triggerer for runs, and cancel them when their task is ended from outside."""

from __future__ import annotations

import asyncio
import base64
import time
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextvars import Context as Variables
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow_provider_trigger import _compat, defaults
from airflow_provider_trigger.triggers.base import ResumingTrigger, keep

if TYPE_CHECKING:
    from airflow_provider_trigger.run.wait import WaitSettings
    from airflow_provider_trigger.run.wait_outcome import WaitOutcome

# How often Airflow is asked whether a task was ended, and between two times, in seconds.
_TRIES = 3
_PAUSE = 1.0
# One lock per event loop, because the supervisor answers one request at a time.
_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


class TriggerDevRunTrigger(ResumingTrigger):
    """
    Wait until runs have ended.

    Its event is ``{"runs": [{"run_id", "end", "status", "error", "is_canceled"}], "try_number"}``; for
    ``end`` see :class:`airflow_provider_trigger.run.wait_outcome.WaitEnd`. It lacks runs that were still
    waited for when another one made the wait useless, and holds no output, which can be large. More than 100
    runs are stored compressed, as a text.

    :param run_ids: the runs; more than 1,000 are stored compressed, as a text
    :param trigger_dev_conn_id: the connection
    :param wait: how to wait, from :meth:`airflow_provider_trigger.run.wait.WaitSettings.to_json`;
        with ``cancels``, the runs are also canceled when their task is ended from outside
    :param try_number: the try of the task that waits, for the event; None if it is not known
    :param not_before: when it sends its event at the earliest, in seconds since 1970, but not later than 30 s
        after its own start; None for as soon as it can
    """

    def __init__(
        self,
        *,
        run_ids: Sequence[str] | str,
        trigger_dev_conn_id: str = defaults.CONN_ID,
        wait: Mapping[str, Any] | None = None,
        try_number: int | None = None,
        not_before: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if isinstance(run_ids, str):
            run_ids = zlib.decompress(base64.b64decode(run_ids)).decode().split("\n")
        self.run_ids = list(run_ids)
        self.trigger_dev_conn_id = trigger_dev_conn_id
        self.wait = dict(wait or {})
        self.try_number = try_number
        self.not_before = not_before

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores; many run ids are packed."""
        path, arguments = super().serialize()
        if len(self.run_ids) > defaults.PACKED_ABOVE:
            packed = zlib.compress("\n".join(self.run_ids).encode(), 9)
            arguments["run_ids"] = base64.b64encode(packed).decode()
        return path, arguments

    @property
    def _settings(self) -> WaitSettings:
        from airflow_provider_trigger.run.wait import WaitSettings

        return WaitSettings.from_json(self.wait)

    async def run(self) -> AsyncIterator[_compat.TriggerEvent]:
        """Wait, and send the event."""
        from airflow_provider_trigger.run.wait_outcome import make_event

        settings = self._settings
        try:
            ended = await self._held(self._ended(settings))
        except asyncio.CancelledError:
            if settings.cancels and not _compat.triggers_have_on_kill():
                keep(self.cancel_if_ended(), context=Variables())
            raise
        event = make_event(ended, try_number=self.try_number)
        yield _compat.TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _ended(self, settings: WaitSettings) -> dict[str, WaitOutcome]:
        from airflow_provider_trigger.hooks.connection import safe_text
        from airflow_provider_trigger.run.wait_outcome import WaitEnd, WaitOutcome
        from airflow_provider_trigger.triggers.watch import wait_on_loop

        try:
            hook = await self.hook(until=settings.ends_by(time.time()))
            _ = hook.settings
        except Exception as error:
            # Any error, as a worker had the connection. The runs of a trigger that fails would be canceled.
            outcome = WaitOutcome(end=WaitEnd.NO_CONNECTION, run=None, error=safe_text(error))
            return dict.fromkeys(self.run_ids, outcome)
        return await wait_on_loop(self.run_ids, settings, hook, log=self.log)

    async def on_kill(self) -> None:
        """Cancel the runs: Airflow 3.3 and newer call this when the task is ended from outside."""
        if self._settings.cancels:
            # Airflow 3.3 cancels the trigger again every 1 to 2 s until this has returned (measured).
            await asyncio.shield(keep(self.cancel_runs()))

    async def cancel_if_ended(self) -> None:
        """
        Cancel the runs if Airflow says that the task was ended.

        Before Airflow 3.3, a trigger is also canceled where only its triggerer is stopping. So an asyncio
        task in a context of its own checks in Airflow whether this try is still deferred (measured on 2.11,
        3.0, 3.1 and 3.2); without an answer the runs continue.
        """
        from asgiref.sync import sync_to_async

        lock = _locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        for _ in range(_TRIES):
            try:
                async with lock:
                    # In a thread of asyncio's, Airflow 3.0 and 3.1 would read the supervisor's answer on
                    # another event loop, and break all other triggers.
                    ask = sync_to_async(_compat.is_still_deferred)
                    is_deferred = await ask(self.task_instance, self.trigger_id, self.run_ids)
            except Exception as error:
                # Any error: a triggerer that is stopping has lost its supervisor, or its database.
                last_error = error
                await asyncio.sleep(_PAUSE)
            else:
                if not is_deferred:
                    await self.on_kill()
                return
        text = "Could not check in Airflow whether the task was ended (%s), so that its run continues: %s"
        self.log.warning(text, last_error, ", ".join(self.run_ids))

    async def cancel_runs(self) -> None:
        """Cancel the runs; what became of them is logged and not raised, as the task has ended already."""
        from airflow_provider_trigger.cancel.outcome import not_canceled
        from airflow_provider_trigger.hooks.connection import safe_text
        from airflow_provider_trigger.log import write
        from airflow_provider_trigger.report.ends import canceling, of_cancels
        from airflow_provider_trigger.triggers.watch import cancel_runs

        write(self.log, canceling(self.run_ids))
        try:
            results = list((await cancel_runs(self.run_ids, await self.hook())).values())
        except Exception as error:
            # Any error: see above.
            results = [not_canceled(run_id, safe_text(error)) for run_id in self.run_ids]
        tag = self._settings.tag
        write(self.log, of_cancels(results, self.trigger_dev_conn_id, was_ended=True, tag=tag))
