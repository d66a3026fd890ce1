"""Asset watchers, whose events and positions outlive the triggerers that run them (Airflow 3.0.5 and on)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import airflow_has
import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse
from triggerer import Database, Triggerer
from world import World

from airflow_provider_trigger.triggers.events import TriggerRunEventTrigger

if airflow_has.ASSET_STATES:
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors


class Watcher:
    """
    A watcher in a triggerer of its own, which can be killed and started again.

    :param longest: how long Airflow takes for an answer now and then, in seconds
    :param has_states: whether the position is kept in the state of its asset, not in a variable
    """

    def __init__(
        self, world: World, *, longest: float = 1.0, has_states: bool = False, **arguments: Any
    ) -> None:
        self.arguments = arguments
        self.trigger = TriggerRunEventTrigger(**arguments)
        self.kills: list[float] = []
        """When it was killed or paused, in seconds of the world."""
        self.is_running = False
        self._world, self._longest, self._has_states = world, longest, has_states
        self._database = Database("an asset")
        self._triggerer: Triggerer | None = None

    @property
    def begins_at(self) -> str | None:
        """After which time it sends ends; None before it was stored."""
        return None if self.stored is None else str(json.loads(self.stored)["start"])

    @property
    def stored(self) -> str | None:
        """Its position."""
        return next(iter(self._database.variables.values()), None)

    def start(self, **arguments: Any) -> None:
        """Start it, perhaps with other arguments."""
        if self.is_running:
            return
        self.is_running = True
        _, stored = TriggerRunEventTrigger(**self.arguments | arguments).serialize()
        trigger = TriggerRunEventTrigger(**json.loads(json.dumps(stored)))
        if self._has_states:
            inlets = [Asset(name=name, uri=f"x://{name}") for name in self._database.states]
            trigger.asset_state_store = AssetStateStoreAccessors(inlets=inlets)

        def begin() -> None:
            self._triggerer = Triggerer(self._database, trigger, self._world.chance, longest=self._longest)

        self._in_loop(begin)

    def kill(self) -> None:
        def end() -> None:
            assert self._triggerer is not None
            self._triggerer.kill()

        if self.is_running:
            self.is_running = False
            self.kills.append(self._world.now)
            self._in_loop(end)

    def pause(self) -> None:
        """Pause its Dag, whose events are dropped from now on, until it has ended."""
        assert self._triggerer is not None
        self._triggerer.is_paused = True
        at = self._world.now
        self._world.sleep(20)
        self.kill()
        self.kills[-1] = at

    def fail(self, kinds: str | None) -> None:
        """Let Airflow's answers to some kinds of requests fail, or none any more."""
        error = AirflowRuntimeError(ErrorResponse(error=ErrorType.GENERIC_ERROR))
        self._database.failure = None if kinds is None else error
        self._database.failing = kinds or ""

    def _in_loop(self, act: Callable[[], None]) -> None:
        self._world.triggerer.loop.call_soon_threadsafe(act)
        self._world.sleep(0.01)

    @property
    def events(self) -> list[tuple[float, str]]:
        """When Airflow has stored which run's event, in seconds of the world; without repeats."""
        stored = self._database.events
        return [(at - 1000.0, payload["run_id"]) for at, payload in stored if not payload["is_repeat"]]

    @property
    def payloads(self) -> list[dict[str, Any]]:
        """What the events say; without repeats."""
        return [payload for _, payload in self._database.events if not payload["is_repeat"]]

    @property
    def repeats(self) -> list[float]:
        """When an event was stored that is a repeat, in seconds of the world."""
        return [at - 1000.0 for at, payload in self._database.events if payload["is_repeat"]]

    def seen_by_dag_runs(self, *, takes: float) -> set[str]:
        """
        Return the runs whose ends Dag runs have, as Airflow makes these before 3.4.

        An event queues a Dag run if none is queued. That one has all events up to it.

        :param takes: how long a scheduler needs for a queued one, in seconds
        """
        stored, seen, is_free_at = set[str](), set[str](), 0.0
        for at, payload in self._database.events:
            stored.add(payload["run_id"])
            if at >= is_free_at:
                seen, is_free_at = set(stored), at + takes
        return seen


@contextmanager
def supervised() -> Iterator[None]:
    """Let each watcher ask the supervisor of its own triggerer."""

    async def asend(message: Any) -> Any:
        return None if message.type == "MaskSecret" else await Triggerer.of_task().asend(message)

    def send(message: Any) -> Any:
        """Answer as to Airflow 3.0 and 3.1, which so say what to mask, and ask for connections."""
        not_found = ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND)
        return not_found if message.type == "GetConnection" else None

    comms = SimpleNamespace(asend=asend, send=send)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
        yield
