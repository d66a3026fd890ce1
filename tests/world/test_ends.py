"""A watcher sends each end at least once, and again only where its triggerer was killed."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import airflow_has
import pytest
from world import World

if not airflow_has.WATCHERS:
    pytest.skip("this Airflow has no watchers", allow_module_level=True)

from airflow.sdk.execution_time import task_runner
from triggerer import Database, Triggerer

from airflow_provider_trigger.triggers.events import TriggerRunEventTrigger

TASK = "process-order"


class Watcher:
    """A watcher whose events Airflow stores; it outlives the triggerers that are killed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.database = Database("an asset")
        self.kills: list[float] = []
        self._triggerer: Any = None

    async def asend(self, message: Any) -> Any:
        return None if message.type == "MaskSecret" else await self._triggerer.asend(message)

    def start(self) -> None:
        path, arguments = TriggerRunEventTrigger(
            name="orders", task_identifiers=TASK, statuses=["COMPLETED"]
        ).serialize()
        assert path.endswith(TriggerRunEventTrigger.__name__)
        trigger = TriggerRunEventTrigger(**json.loads(json.dumps(arguments)))

        def begin() -> None:
            self._triggerer = Triggerer(self.database, trigger, self.world.chance, longest=1.0)

        self.world.triggerer.loop.call_soon_threadsafe(begin)
        self.world.sleep(10)

    def kill(self) -> None:
        self.kills.append(self.world.now)
        self.world.triggerer.loop.call_soon_threadsafe(self._triggerer.kill)
        self.world.sleep(0.1)

    def end(self, status: str = "COMPLETED", *, task: str = TASK, late: float = 0.0) -> str:
        """Let a run end now, which the query shows so many seconds later; return its id."""
        run = self.world.server.add_run("EXECUTING", task_identifier=task)
        run.lost_since = self.world.server.clock() if late else run.lost_since
        run.status = status
        self.world.hub.spawn(lambda: (self.world.sleep(late), setattr(run, "lost_since", float("inf"))))
        return run.id

    @property
    def heard(self) -> list[str]:
        """The runs of all events, in order."""
        return [payload["run_id"] for _, payload in self.database.events]


@pytest.fixture
def watcher(world: World, monkeypatch: pytest.MonkeyPatch) -> Watcher:
    made = Watcher(world)
    comms = SimpleNamespace(asend=made.asend)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
    return made


def test_what_ends_after_its_first_start_is_sent_once(world: World, watcher: Watcher) -> None:
    watcher.end()
    watcher.start()
    wanted = [watcher.end() for _ in range(3)]
    watcher.end("FAILED")
    watcher.end(task="another")
    world.sleep(60)
    assert watcher.heard == wanted


def test_what_the_query_shows_late_is_sent_too(world: World, watcher: Watcher) -> None:
    watcher.end()
    world.sleep(30)
    wanted = [watcher.end(late=30)]  # before the watcher begins
    watcher.start()
    wanted += [watcher.end(late=late) for late in (0, 5, 50)]
    world.sleep(120)
    assert sorted(watcher.heard) == sorted(wanted)


@pytest.mark.parametrize("kind", ["503", "hang", "page"])
def test_an_outage_loses_nothing(world: World, watcher: Watcher, kind: str) -> None:
    watcher.start()
    world.network.outage(kind, seconds=1200)
    wanted = []
    for _ in range(5):
        world.sleep(200)
        wanted.append(watcher.end())
    world.sleep(300)
    assert watcher.heard == wanted


@pytest.mark.parametrize("pause", [0.2, 1.0, 3.0, 6.0])
def test_a_kill_loses_nothing_and_little_is_sent_again(world: World, watcher: Watcher, pause: float) -> None:
    watcher.start()
    wanted = []
    for _ in range(10):
        for _ in range(5):
            wanted.append(watcher.end())
            world.sleep(world.chance.uniform(0, 6))
        world.sleep(pause)
        watcher.kill()
        wanted.append(watcher.end())
        world.sleep(20)
        watcher.start()
    world.sleep(60)
    assert set(watcher.heard) == set(wanted)
    for at, payload in watcher.database.events:
        is_sent_again = watcher.heard.count(payload["run_id"]) > 1
        assert not is_sent_again or any(abs(at - 1000.0 - kill) < 45 for kill in watcher.kills)
