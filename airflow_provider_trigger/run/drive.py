"""Make the calls that a wait yields, blocking or on an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.run.wait import Pause, Steps, Waited

if TYPE_CHECKING:
    from airflow_provider_trigger.api.async_client import AsyncTriggerDevClient
    from airflow_provider_trigger.api.client import TriggerDevClient

# How often a pause is interrupted to check whether the wait was stopped, in seconds.
_CHECK_INTERVAL = 0.2


class StoppedError(Exception):
    """A wait was stopped from outside."""


def pause(seconds: float, *, is_stopped: Callable[[], bool]) -> None:
    """
    Wait in this thread.

    :param seconds: how long
    :param is_stopped: called at the beginning, then several times a second; true ends the wait
    :raises StoppedError: it was stopped
    """
    until = time.monotonic() + seconds
    while not is_stopped():
        if (left := until - time.monotonic()) <= 0:
            return
        time.sleep(min(left, _CHECK_INTERVAL))
    raise StoppedError


def drive(
    steps: Steps, client: TriggerDevClient, *, is_stopped: Callable[[], bool] = lambda: False
) -> Waited:
    """
    Wait in this thread.

    No call is repeated by the client: the wait itself continues with its next check.

    :param steps: from :func:`airflow_provider_trigger.run.wait.wait_for_run`
    :param client: for the run's environment
    :param is_stopped: called several times a second while pausing; true ends the wait
    :raises StoppedError: it was stopped
    """
    reply: Any = None
    with closing(steps):
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            reply = None
            if isinstance(step, Pause):
                pause(step.seconds, is_stopped=is_stopped)
                continue
            try:
                reply = client.call(step, patience=0)
            except TriggerDevError as error:
                reply = error
            if is_stopped():
                raise StoppedError


async def drive_async(steps: Steps, client: AsyncTriggerDevClient) -> Waited:
    """
    Wait on an event loop; see :func:`drive`.

    :param steps: from :func:`airflow_provider_trigger.run.wait.wait_for_run`
    :param client: for the run's environment
    """
    reply: Any = None
    with closing(steps):
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            reply = None
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            else:
                try:
                    reply = await client.call(step, patience=0)
                except TriggerDevError as error:
                    reply = error
