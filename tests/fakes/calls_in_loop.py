"""Make the calls of a feed on its event loop, for virtual time: in threads they take real time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.exchange import Reply, Send
from airflow_provider_trigger.api.http import Call


def calls_in_loop(send: Callable[[Send], Awaitable[Reply]]) -> Callable[..., Awaitable[Any]]:
    """Return what takes the place of a method that makes a call, where a test sends the requests."""

    async def call(_: Any, __: str, client: TriggerDevClient, call: Call[Any]) -> Any:
        reply: Reply = None
        with closing(client.exchange.steps(call, patience=0)) as steps:
            while True:
                try:
                    step = steps.send(reply)
                except StopIteration as end:
                    return end.value
                reply = None
                if isinstance(step, Send):
                    reply = await send(step)
                else:
                    await asyncio.sleep(step.seconds)

    return call
