"""Make the calls of a feed on its event loop, for virtual time: in threads they take real time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from green_threads import in_thread, sleep, wait_for

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.http import Call, Request
from airflow_provider_trigger.api.transport import Reply


def calls_in_loop(send: Callable[[Request, float], Coroutine[Any, Any, Reply]]) -> Callable[..., Any]:
    """Return what takes the place of a method that makes a call, where a test sends the requests."""

    async def call(_: Any, __: str, client: TriggerDevClient, call: Call[Any]) -> Any:
        client, transport = copy.copy(client), copy.copy(client.transport)
        client.transport = transport
        transport.send = lambda *what: wait_for(send(*what))  # type: ignore[method-assign]
        return await in_thread(partial(client.call, call, patience=0, sleep=_sleep))

    return call


def _sleep(seconds: float) -> None:
    if seconds:
        sleep(seconds)
