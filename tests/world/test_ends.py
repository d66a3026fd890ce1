"""A watcher sends each end at least once, and again only where its triggerer was killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import airflow_has
import pytest
from world import World

if not airflow_has.WATCHERS:
    pytest.skip("this Airflow has no watchers", allow_module_level=True)

from watcher import Watcher, supervised

TASK = "process-order"


@pytest.fixture
def watcher(world: World) -> Iterator[Watcher]:
    with supervised():
        yield Watcher(world, name="orders", task_identifiers=TASK)


def end(world: World, status: str = "COMPLETED", *, task: str = TASK, late: float = 0.0) -> str:
    """Let a run end now, which the query shows so many seconds later; return its id."""
    run = world.server.add_run("EXECUTING", task_identifier=task)
    run.lost_since = world.server.clock() if late else run.lost_since
    run.status = status
    world.hub.spawn(lambda: (world.sleep(late), setattr(run, "lost_since", float("inf"))))
    return run.id


def heard(watcher: Watcher) -> list[str]:
    return [run_id for _, run_id in watcher.events]


def test_what_ends_after_its_first_start_is_sent_once(world: World, watcher: Watcher) -> None:
    other = Watcher(world, name="others", task_identifiers="it's \\ another")
    end(world)
    for one in (watcher, other):
        one.start()
    world.sleep(10)
    wanted = [end(world) for _ in range(3)]
    end(world, "FAILED")
    others = [end(world, task="it's \\ another")]
    world.sleep(60)
    assert heard(watcher) == wanted
    assert heard(other) == others


def test_what_the_query_shows_late_is_sent_too(world: World, watcher: Watcher) -> None:
    end(world)
    world.sleep(30)
    wanted = [end(world, late=30)]  # before the watcher begins
    watcher.start()
    world.sleep(10)
    wanted += [end(world, late=late) for late in (0, 5, 50)]
    world.sleep(120)
    assert sorted(heard(watcher)) == sorted(wanted)


@pytest.mark.parametrize("kind", ["503", "hang", "page"])
def test_an_outage_loses_nothing(world: World, watcher: Watcher, kind: str) -> None:
    watcher.start()
    world.sleep(10)
    world.network.outage(kind, seconds=1200)
    wanted = []
    for _ in range(5):
        world.sleep(200)
        wanted.append(end(world))
    world.sleep(300)
    assert heard(watcher) == wanted


@pytest.mark.parametrize("pause", [0.2, 1.0, 3.0, 6.0])
def test_a_kill_loses_nothing_and_little_is_sent_again(world: World, watcher: Watcher, pause: float) -> None:
    watcher.start()
    world.sleep(10)
    wanted = []
    for _ in range(10):
        for _ in range(5):
            wanted.append(end(world))
            world.sleep(world.chance.uniform(0, 6))
        world.sleep(pause)
        watcher.kill()
        wanted.append(end(world))
        world.sleep(20)
        watcher.start()
        world.sleep(10)
    world.sleep(60)
    assert set(heard(watcher)) == set(wanted)
    first = dict(reversed([(run_id, at) for at, run_id in watcher.events]))
    sent_again = [first[run_id] for run_id, count in Counter(heard(watcher)).items() if count > 1]
    assert all(any(0 <= kill - at < 12 for kill in watcher.kills) for at in sent_again)
