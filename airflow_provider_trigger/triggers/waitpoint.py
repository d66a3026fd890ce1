"""Wait in the triggerer for a waitpoint token."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

from airflow_provider_trigger import defaults
from airflow_provider_trigger._compat import TriggerEvent
from airflow_provider_trigger.triggers.base import ResumingTrigger


class WaitpointTokenTrigger(ResumingTrigger):
    """
    Wait until a waitpoint token is completed, or has timed out.

    Its event is ``{"error", "is_final", "begun_at"}``: why the token is not completed, empty if it is, and
    whether a retry is useless. It lacks the token's data, which can be large.

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

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and send the event."""
        yield TriggerEvent(await self._held(self._event()))  # type: ignore[no-untyped-call]

    async def _event(self) -> dict[str, Any]:
        from airflow_provider_trigger.api.errors import TriggerDevError
        from airflow_provider_trigger.tokens.complete import TokenLostError, TokenWait
        from airflow_provider_trigger.triggers.watch import LoopLog, wait_for_token

        hook = await self.hook(until=math.inf)
        wait = TokenWait(
            self.token_id,
            self.trigger_dev_conn_id,
            hook.settings.retry_for,
            self.begun_at,
            LoopLog(self.log),
            was_shown=self.was_shown,
            is_deferred=True,
        )
        self.log.info("Waiting for waitpoint token %s", self.token_id)
        event = {"error": "", "is_final": False, "begun_at": self.begun_at}
        try:
            await wait_for_token(wait, hook)
        except TokenLostError as error:
            event |= {"error": str(error), "is_final": True}
        except TriggerDevError as error:
            hook.settings.explain(error)
            event["error"] = str(error)
        return event
