"""Wait in the triggerer for a waitpoint token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow_provider_trigger import defaults
from airflow_provider_trigger._compat import TriggerEvent
from airflow_provider_trigger.triggers.run import ResumingTrigger


class WaitpointTokenTrigger(ResumingTrigger):
    """
    Wait until a waitpoint token is completed, or has timed out.

    Its event is ``{"token_id", "status", "error", "begun_at"}``, without the token's data, which can be
    large. The ``status`` is one of :class:`airflow_provider_trigger.run.token_wait.TokenEnd`.

    :param token_id: the token
    :param begun_at: when the wait began, in seconds since 1970
    :param trigger_dev_conn_id: the connection
    :param was_shown: whether a check has shown the token before
    :param not_before: as of :class:`airflow_provider_trigger.triggers.run.TriggerDevRunTrigger`
    """

    def __init__(
        self,
        *,
        token_id: str,
        begun_at: float,
        trigger_dev_conn_id: str = defaults.CONN_ID,
        was_shown: bool = False,
        not_before: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.token_id = token_id
        self.begun_at = begun_at
        self.trigger_dev_conn_id = trigger_dev_conn_id
        self.was_shown = was_shown
        self.not_before = not_before

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what Airflow stores: the path of the class, and its arguments as plain JSON."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        arguments = ("token_id", "begun_at", "trigger_dev_conn_id", "was_shown", "not_before")
        return path, {name: getattr(self, name) for name in arguments}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and send the event."""
        event = await self._held(self._event())
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _event(self) -> dict[str, Any]:
        from airflow_provider_trigger.hooks.diagnosis import add_connection
        from airflow_provider_trigger.run.token_wait import TokenEnd, TokenWait
        from airflow_provider_trigger.triggers.watch import watch_runs

        hook = await self.hook(until=None)
        wait = TokenWait(
            self.token_id,
            conn_id=self.trigger_dev_conn_id,
            patience=hook.settings.retry_for,
            begun_at=self.begun_at,
            log=self.log,
            was_shown=self.was_shown,
        )
        self.log.info("Waiting for waitpoint token %s", self.token_id)
        with watch_runs(hook) as listener:
            # Of all waits, the call that has waited longest is made next: no token starves.
            while not (end := wait.take(await listener.call(wait.call, use="tokens"), time.time())):
                await asyncio.sleep(wait.pause(time.time()))
        if end is TokenEnd.REJECTED and wait.error is not None:
            add_connection(wait.error, hook.settings)
        error = wait.why(end) if end in (TokenEnd.UNKNOWN, TokenEnd.REJECTED) else ""
        return {
            "token_id": self.token_id,
            "status": end.value,
            "error": error,
            "begun_at": self.begun_at,
        }
