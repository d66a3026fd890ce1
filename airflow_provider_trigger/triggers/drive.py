"""The driver of waits on an event loop: the watch of their connection checks all their runs together."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.run.steps import Cancel, Check, CheckOtherwise, Steps
from airflow_provider_trigger.run.waited import Waited
from airflow_provider_trigger.triggers.cancels import cancel_runs
from airflow_provider_trigger.triggers.watches import watch_runs

if TYPE_CHECKING:
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook


async def drive(steps: Steps, hook: TriggerDevHook) -> dict[str, Waited]:
    """Wait on an event loop; return what became of each run, by run id."""
    reply: Any = None
    with closing(steps):
        async with watch_runs(hook) as listener:
            while True:
                try:
                    step = steps.send(reply)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                if isinstance(step, Check):
                    reply = await listener.check(step)
                elif isinstance(step, Cancel):
                    reply = await _cancel(step, hook)
                elif isinstance(step, CheckOtherwise):
                    reply = await listener.check_otherwise(step.run_id)
                else:
                    reply = None
                    await asyncio.sleep(step.seconds)


async def _cancel(step: Cancel, hook: TriggerDevHook) -> dict[str, TriggerDevError]:
    """Cancel runs; the wait checks what became of them."""
    try:
        results = await cancel_runs(step.run_ids, hook)
    except TriggerDevError as error:
        return dict.fromkeys(step.run_ids, error)
    return {run_id: failure for run_id, result in results.items() if (failure := result.as_error())}
