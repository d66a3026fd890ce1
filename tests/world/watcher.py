"""Asset watchers, whose events and positions outlive the triggerers that run them (Airflow 3.0.5 and on)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time import task_runner
from triggerer import Database, Triggerer
from world import World

from airflow_provider_trigger.triggers.events import TriggerRunEventTrigger


class Watcher:
    """A watcher in a triggerer of its own, which can be killed and started again."""

    def __init__(self, world: World, **arguments: Any) -> None:
        self.trigger = TriggerRunEventTrigger(**arguments)
        self.kills: list[float] = []
        """When it was killed, in seconds of the world."""
        self.is_running = False
        self._world = world
        self._database = Database("an asset")
        self._triggerer: Triggerer | None = None

    @property
    def begins_at(self) -> str | None:
        """After which time it sends ends; None before it was stored."""
        stored = next(iter(self._database.variables.values()), None)
        return None if stored is None else str(json.loads(stored)["start"])

    def start(self) -> None:
        if self.is_running:
            return
        self.is_running = True
        _, arguments = self.trigger.serialize()
        trigger = TriggerRunEventTrigger(**json.loads(json.dumps(arguments)))

        def begin() -> None:
            self._triggerer = Triggerer(self._database, trigger, self._world.chance, longest=1.0)

        self._in_loop(begin)

    def kill(self) -> None:
        def end() -> None:
            assert self._triggerer is not None
            self._triggerer.kill()

        if self.is_running:
            self.is_running = False
            self.kills.append(self._world.now)
            self._in_loop(end)

    def _in_loop(self, act: Any) -> None:
        self._world.triggerer.loop.call_soon_threadsafe(act)
        self._world.sleep(0.01)

    @property
    def events(self) -> list[tuple[float, str]]:
        """When Airflow has stored which run's event, in seconds of the world."""
        return [(at - 1000.0, payload["run_id"]) for at, payload in self._database.events]


@contextmanager
def supervised() -> Iterator[None]:
    """Let each watcher ask the supervisor of its own triggerer."""

    async def asend(message: Any) -> Any:
        return None if message.type == "MaskSecret" else await Triggerer.of_task().asend(message)

    # By the other one, Airflow 3.0 and 3.1 only say what is to be masked.
    comms = SimpleNamespace(asend=asend, send=lambda message: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
        yield
