"""A triggerer in virtual time, without sockets and threads; triggers, watch and cancels are the real ones."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import green_threads
import pytest
from virtual_clock import Clock
from virtual_crew import CrewInLoop, virtual_crews
from virtual_network import Network

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.exchange import Exchange, Reply, Send
from airflow_provider_trigger.defaults import CONN_ID
from airflow_provider_trigger.hooks import fetching
from airflow_provider_trigger.triggers import ends
from airflow_provider_trigger.triggers import run as run_module
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger

try:
    from airflow.sdk import Connection
except ImportError:
    from airflow.models import Connection  # type: ignore[assignment]

ON_KILL_TIMEOUT = 30.0
"""How long Airflow lets ``on_kill`` take, in seconds."""


@dataclass(eq=False, kw_only=True)
class Deferred:
    """
    A deferred task.

    :param run_ids: the runs that it waits for
    :param trigger: its trigger; another one after each restart
    :param event: what the trigger has sent
    :param event_at: when
    :param killed_at: when it was ended from outside, None if it was not
    :param error: what the trigger has raised
    """

    run_ids: list[str]
    trigger: TriggerDevRunTrigger
    event: Any = None
    event_at: float | None = None
    killed_at: float | None = None
    error: BaseException | None = None
    job: asyncio.Task[None] | None = None

    @property
    def is_deferred(self) -> bool:
        return self.event_at is None and self.killed_at is None and self.error is None


@dataclass(kw_only=True)
class Triggerer:
    """
    What Airflow does with the triggers of deferred tasks.

    :param has_on_kill: whether it is Airflow 3.3, which also cancels a trigger again and again
    """

    clock: Clock
    chance: random.Random
    has_on_kill: bool
    tasks: list[Deferred] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._is_up = asyncio.Event()
        self._is_up.set()

    def defer(self, task: Deferred) -> None:
        """Run a trigger, as soon as there is a triggerer."""
        self.tasks.append(task)
        if self._is_up.is_set():
            self._start(task)

    def _start(self, task: Deferred) -> None:
        instance: Any = SimpleNamespace(run_ids=task.run_ids, task_id="wait")
        task.trigger.task_instance = instance
        task.job = asyncio.create_task(self._run(task))

    async def _run(self, task: Deferred) -> None:
        try:
            async for event in task.trigger.run():
                task.event, task.event_at = event.payload, self.clock.now
        except asyncio.CancelledError:
            if task.killed_at is not None and self.has_on_kill:
                await asyncio.wait_for(task.trigger.on_kill(), ON_KILL_TIMEOUT)
            raise
        except Exception as error:
            task.error = error

    async def kill(self, task: Deferred) -> None:
        """End a task from outside, unless it has been resumed."""
        while not self._is_up.is_set() or task.job is None:
            await self._is_up.wait()  # without a triggerer, it is not noticed
            await asyncio.sleep(self.chance.uniform(0.1, 1))
        job = task.job
        if not task.is_deferred:
            return
        task.killed_at = self.clock.now
        while not job.done():
            job.cancel()
            await asyncio.sleep(self.chance.uniform(1, 2))

    async def restart(self, *, after: float) -> None:
        """Stop, and run all triggers again in another process."""
        if not self._is_up.is_set():
            return
        self._is_up.clear()
        stopped = [task.job for task in self.tasks if task.job is not None and task.is_deferred]
        for job in stopped:
            job.cancel()
        await asyncio.gather(*stopped, return_exceptions=True)
        await asyncio.sleep(after)
        self._is_up.set()
        for task in self.tasks:
            if task.is_deferred:
                _, arguments = task.trigger.serialize()
                task.trigger = TriggerDevRunTrigger(**arguments)
                self._start(task)

    def is_still_deferred(self, task_instance: Any, *_: object) -> bool:
        """Answer what a trigger asks Airflow before 3.3."""
        return not any(
            task.killed_at is not None for task in self.tasks if task.run_ids == task_instance.run_ids
        )


@contextmanager
def virtual_triggers(network: Network, triggerer: Triggerer) -> Iterator[None]:
    """Let all triggers go by a network's clock, and send through it."""
    clock = network.clock
    key = network.engine.secret_key
    connection = Connection(conn_id=CONN_ID, conn_type="trigger_dev", host="trigger.test", password=key)

    async def get_connection(_: str, **__: object) -> Connection:
        await asyncio.sleep(network.chance.uniform(0.01, 1.5))
        return connection

    async def send(_: TriggerDevClient, step: Send) -> Reply:
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        network.send(step, lambda found: None if reply.done() else reply.set_result(found))
        return await reply

    async def answer(ask: Callable[[], bool]) -> bool:
        await asyncio.sleep(0.05)
        return ask()

    with pytest.MonkeyPatch.context() as patch, virtual_crews(network, clock, CrewInLoop):
        green_threads.use_green_threads(clock, send, patch)
        patch.setattr(ends, "time", clock)
        of_exchange = Exchange.__init__.__kwdefaults__
        assert of_exchange is not None
        patch.setitem(of_exchange, "monotonic", clock.monotonic)
        patch.setitem(of_exchange, "wall", clock.wall)
        patch.setattr(ends, "in_thread", green_threads.in_thread)
        patch.setattr(fetching, "get_async_connection", get_connection)
        patch.setattr(run_module, "triggers_have_on_kill", lambda: triggerer.has_on_kill)
        patch.setattr(run_module, "is_still_deferred", triggerer.is_still_deferred)
        patch.setattr("asgiref.sync.sync_to_async", lambda ask: partial(answer, ask))
        patch.setattr(TriggerDevRunTrigger, "log", logging.getLogger("airflow_provider_trigger.simulated"))
        yield
