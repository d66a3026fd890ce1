"""Wait in the triggerer for runs, and cancel one when its task is ended from outside."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger import defaults
from airflow_provider_trigger._compat import (
    BaseTrigger,
    TriggerEvent,
    triggers_have_on_kill,
)
from airflow_provider_trigger._compat.task_instances import is_still_deferred
from airflow_provider_trigger.api.models.statuses import SUCCESS_STATUSES

if TYPE_CHECKING:
    from airflow_provider_trigger.api.async_client import AsyncTriggerDevClient
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
    from airflow_provider_trigger.run.wait_settings import WaitSettings

# How long a cancel is repeated, in seconds. It continues when the trigger itself has ended.
_STOP_TIME = 120.0
# Between two tries to fetch the connection, in seconds: whoever keeps it may be away for a moment.
_CONNECTION_PAUSES = (1.0, 5.0, 15.0, 30.0)


class _RunTrigger(BaseTrigger):
    """Base class of the triggers of this module: their arguments, and their connection."""

    arguments: Sequence[str] = ()

    def __init__(self, *, trigger_dev_conn_id: str = defaults.CONN_ID) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.trigger_dev_conn_id = trigger_dev_conn_id
        self._hook: TriggerDevHook | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores: the path of the class, and its arguments as plain JSON."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {name: getattr(self, name) for name in ("trigger_dev_conn_id", *self.arguments)}

    async def hook(self) -> TriggerDevHook:
        """Return a hook that has its connection, fetched once."""
        from airflow_provider_trigger.hooks.asynchronous import get_hook
        from airflow_provider_trigger.hooks.connection import ConnectionNotFoundError

        pauses = list(_CONNECTION_PAUSES)
        while self._hook is None:
            try:
                # On Airflow 3.0 and 3.1 a trigger that is canceled while it talks to the supervisor breaks
                # all others (measured).
                self._hook = await asyncio.shield(get_hook(self.trigger_dev_conn_id))
            except ConnectionNotFoundError:
                raise
            except Exception as error:
                # Any error: secrets backends raise what they like.
                if not pauses:
                    raise
                pause = pauses.pop(0)
                text = "Could not fetch connection %r, trying again in %.0f s: %s"
                self.log.warning(text, self.trigger_dev_conn_id, pause, error)
                await asyncio.sleep(pause)
        return self._hook


class TriggerDevRunTrigger(_RunTrigger):
    """
    Wait until a run has ended.

    Its event is ``{"run_id", "end", "status", "error", "is_canceled", "try_number"}``; for ``end`` see
    :class:`airflow_provider_trigger.run.wait.WaitEnd`. It does not hold the run's output, which can be
    large.

    :param run_id: the run
    :param trigger_dev_conn_id: the connection
    :param wait: how to wait, from :meth:`airflow_provider_trigger.run.wait_settings.WaitSettings.to_json`;
        with ``cancels``, the run is also canceled when its task is ended from outside
    :param try_number: the try of the task that waits, for the event; None if it is not known
    """

    arguments = ("run_id", "wait", "try_number")

    def __init__(
        self,
        *,
        run_id: str,
        trigger_dev_conn_id: str = defaults.CONN_ID,
        wait: Mapping[str, Any] | None = None,
        try_number: int | None = None,
    ) -> None:
        super().__init__(trigger_dev_conn_id=trigger_dev_conn_id)
        self.run_id = run_id
        self.wait = dict(wait or {})
        self.try_number = try_number

    @property
    def _settings(self) -> WaitSettings:
        from airflow_provider_trigger.run.wait_settings import WaitSettings

        return WaitSettings.from_json(self.wait)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and send the event."""
        try:
            event = await self._wait()
        except asyncio.CancelledError:
            if self._settings.cancels and not triggers_have_on_kill():
                from airflow_provider_trigger.triggers.ended import cancel_if_ended

                cancel_if_ended(
                    lambda: is_still_deferred(self.task_instance, self.trigger_id, self.run_id),
                    self.cancel_run,
                    log=self.log,
                )
            raise
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self) -> dict[str, Any]:
        from airflow_provider_trigger.run.drive import drive_async
        from airflow_provider_trigger.run.event import make_event
        from airflow_provider_trigger.run.wait import wait_for_run
        from airflow_provider_trigger.triggers.clients import shared_client

        async with shared_client(await self.hook()) as client:
            steps = wait_for_run(self.run_id, self._settings, log=self.log)
            waited = await drive_async(steps, client)
        return make_event(self.run_id, waited, try_number=self.try_number)

    async def on_kill(self) -> None:
        """Cancel the run: Airflow 3.3 and newer call this when the task is ended from outside."""
        if self._settings.cancels:
            from airflow_provider_trigger.triggers.kept import keep

            # Airflow 3.3 cancels the trigger again every 1 to 2 s until this has returned (measured).
            await asyncio.shield(keep(self.cancel_run()))

    async def cancel_run(self) -> None:
        """Cancel the run; an error is logged and not raised, as the task has ended already."""
        from airflow_provider_trigger.api.deadline import Deadline
        from airflow_provider_trigger.api.endpoints.runs import cancel_run
        from airflow_provider_trigger.triggers.clients import shared_client

        self.log.info("Canceling run %s, because its task was ended", self.run_id)
        try:
            async with shared_client(await self.hook()) as client:
                deadline = Deadline.after(_STOP_TIME, now=time.monotonic())
                await client.call(cancel_run(self.run_id), deadline=deadline, patience=math.inf)
        except Exception as error:
            # Any error: see above.
            self.log.error("Run %s may still be running, it could not be canceled: %s", self.run_id, error)
        else:
            self.log.info("Canceled run %s, because its task was ended", self.run_id)


class TriggerDevRunsTrigger(_RunTrigger):
    """
    Wait until all runs have ended, or until one has ended in a status that does not count as success.

    Its event is ``{"runs": [{"run_id", "status", "error"}], "failed": one of these or None}``. It cancels
    nothing.

    :param run_ids: the runs
    :param success_statuses: the final statuses that they may have
    :param trigger_dev_conn_id: the connection
    :param poll_interval: between two status checks of a run, in seconds; None as in
        :class:`airflow_provider_trigger.run.wait_settings.WaitSettings`
    """

    arguments = ("run_ids", "success_statuses", "poll_interval")

    def __init__(
        self,
        *,
        run_ids: Sequence[str],
        success_statuses: Sequence[str] = SUCCESS_STATUSES,
        trigger_dev_conn_id: str = defaults.CONN_ID,
        poll_interval: float | None = None,
    ) -> None:
        super().__init__(trigger_dev_conn_id=trigger_dev_conn_id)
        self.run_ids = list(run_ids)
        self.success_statuses = list(success_statuses)
        self.poll_interval = poll_interval

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and send the event."""
        from airflow_provider_trigger.triggers.clients import shared_client

        hook = await self.hook()
        async with shared_client(hook) as client:
            waits = [self._wait_for(run_id, hook, client) for run_id in self.run_ids]
            tasks = [asyncio.ensure_future(wait) for wait in waits]
            failed = None
            try:
                for first in asyncio.as_completed(tasks):
                    ended = await first
                    if ended["status"] not in self.success_statuses:
                        failed = ended
                        break
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        runs = [task.result() for task in tasks if not task.cancelled()]
        yield TriggerEvent({"runs": runs, "failed": failed})  # type: ignore[no-untyped-call]

    async def _wait_for(
        self, run_id: str, hook: TriggerDevHook, client: AsyncTriggerDevClient
    ) -> dict[str, Any]:
        from airflow_provider_trigger.run.drive import drive_async
        from airflow_provider_trigger.run.wait import WaitEnd, wait_for_run
        from airflow_provider_trigger.run.wait_settings import WaitSettings, is_development_key

        settings = WaitSettings(
            run_url=hook.settings.run_url(run_id),
            poll_interval=self.poll_interval,
            patience=hook.settings.retry_for,
            pending_version_timeout=None,
            cancels=False,
            is_development=is_development_key(hook.settings.secret_key),
        )
        waited = await drive_async(wait_for_run(run_id, settings, log=self.log), client)
        # Of a run that can no longer be checked, the last status that was seen says nothing.
        status = waited.run.status if waited.run and waited.end is WaitEnd.FINAL else None
        return {"run_id": run_id, "status": status, "error": waited.error}
