"""A watcher sends each end at least once, and again only where its triggerer was killed."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import airflow_has
import pytest
from world import World

if not airflow_has.WATCHERS:
    pytest.skip("this Airflow has no watchers", allow_module_level=True)

from watcher import Watcher, supervised

TASK = "process-order"
GIVEN: dict[str, Any] = {"name": "orders", "task_identifiers": TASK}


@pytest.fixture(autouse=True)
def watcher(world: World) -> Iterator[Watcher]:
    with supervised():
        yield Watcher(world, **GIVEN)


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


@pytest.mark.parametrize("kind", ["503", "hang", "page", "no database", "404"])
def test_an_outage_loses_nothing_and_is_logged_each_minute(world: World, watcher: Watcher, kind: str) -> None:
    watcher.start()
    world.sleep(10)
    world.network.outage(kind, seconds=1200)
    wanted = []
    for _ in range(5):
        world.sleep(200)
        wanted.append(end(world))
    world.sleep(300)
    assert heard(watcher) == wanted
    text = "Connection 'trigger_dev_default': ends of runs cannot be read"
    failing = [line for line in world.log.of("warning") if line.startswith(f"{text} for ")]
    assert len(failing) in (20, 21)
    assert [line for line in world.log.of("info") if line.startswith(f"{text}: over after 1")]


def test_one_403_delays_an_end_by_no_more_than_one_poll(world: World, watcher: Watcher) -> None:
    watcher.start()
    world.sleep(10)
    world.network.fault("403", "/query", times=1)
    wanted = [end(world)]
    world.sleep(8)
    assert heard(watcher) == wanted


@pytest.mark.parametrize("longest", [1.0, 8.0])
@pytest.mark.parametrize("pause", [0.2, 1.0, 3.0, 6.0])
def test_a_kill_or_pause_loses_and_repeats_little(world: World, longest: float, pause: float) -> None:
    watcher = Watcher(world, longest=longest, has_states=airflow_has.ASSET_STATES and pause < 2, **GIVEN)
    watcher.start()
    world.sleep(10)
    wanted = []
    for number in range(10):
        for _ in range(5):
            wanted.append(end(world))
            world.sleep(world.chance.uniform(0, 6))
        world.sleep(pause)
        (watcher.pause if number % 3 == 2 else watcher.kill)()
        wanted.append(end(world))
        world.sleep(20)
        watcher.start()
        world.sleep(10)
    world.sleep(60)
    assert set(heard(watcher)) == set(wanted)
    first = dict(reversed([(run_id, at) for at, run_id in watcher.events]))
    sent_again = [first[run_id] for run_id, count in Counter(heard(watcher)).items() if count > 1]
    assert longest > 1 or all(any(0 <= kill - at < 72 for kill in watcher.kills) for at in sent_again)


BEFORE_3_4 = pytest.mark.skipif(airflow_has.VERSION >= (3, 4), reason="it makes Dag runs of all events")


@BEFORE_3_4
@pytest.mark.parametrize(("takes", "within"), [(1.0, 6), (5.0, 6), (25.0, 30), (250.0, 300)])
@pytest.mark.parametrize("count", [2, 40, 300])
def test_dag_runs_have_a_burst(world: World, watcher: Watcher, count: int, takes: float, within: int) -> None:
    watcher.start()
    world.sleep(10)
    wanted = [end(world) for _ in range(count)]
    world.sleep(within + 8 + count / 25)
    assert watcher.seen_by_dag_runs(takes=takes) == set(wanted)
    assert sorted(heard(watcher)) == sorted(wanted), "a Dag that ignores repeats sees each once"


@BEFORE_3_4
@pytest.mark.parametrize("takes", [1.0, 5.0])
def test_a_dag_run_has_each_end_at_whatever_interval(world: World, watcher: Watcher, takes: float) -> None:
    watcher.start()
    world.sleep(10)
    for _ in range(30):
        wanted = []
        for _ in range(world.chance.randint(1, 5)):
            wanted.append(end(world))
            world.sleep(world.chance.choice([0, 0.1, 1, 5, 9]))
        world.sleep(15)
        assert set(wanted) <= watcher.seen_by_dag_runs(takes=takes)


@BEFORE_3_4
@pytest.mark.parametrize("after", [4.0, 8.0, 20.0])
def test_a_dag_run_has_each_end_of_a_burst_after_a_kill(world: World, watcher: Watcher, after: float) -> None:
    watcher.start()
    world.sleep(10)
    wanted = [end(world) for _ in range(10)]
    world.sleep(after)
    watcher.kill()
    watcher.start()
    world.sleep(20)
    assert watcher.seen_by_dag_runs(takes=5.0) == set(wanted)


def test_an_end_long_after_the_one_before_is_not_repeated(world: World, watcher: Watcher) -> None:
    watcher.start()
    world.sleep(10)
    wanted = []
    for pause in (7, 7, 640, 640):
        wanted.append(end(world))
        world.sleep(pause)
    assert heard(watcher) == wanted
    after = [] if airflow_has.VERSION >= (3, 4) else [30, 300]  # the third, which came 7 s after the second
    assert [at - 24 for at in watcher.repeats] == pytest.approx(after, abs=6)


def test_an_event_says_what_is_known_of_its_run(world: World) -> None:
    watcher = Watcher(world, **GIVEN | {"statuses": ["COMPLETED", "FAILED"]})
    watcher.start()
    world.sleep(10)
    run = world.server.add_run("FAILED", task_identifier=TASK, tags=["big", "eu"])
    world.sleep(10)
    [payload] = watcher.payloads
    times = [datetime.fromisoformat(payload.pop(name)) for name in ("created_at", "finished_at")]
    assert times == sorted(times)
    assert times[0].utcoffset() == timedelta(0)
    assert payload == {
        "run_id": run.id,
        "run_url": f"https://trigger.test/runs/{run.id}",
        "status": "FAILED",
        "task_identifier": TASK,
        "tags": ["big", "eu"],
        "is_repeat": False,
    }


def test_an_event_can_be_stored_whatever_its_run_has(world: World, watcher: Watcher) -> None:
    """What cannot be encoded would end the triggerer's process, again and again."""
    watcher.start()
    world.sleep(10)
    run = world.server.add_run("COMPLETED", task_identifier=TASK, tags=["half \ud83d", "nul \0"])
    world.sleep(10)
    [payload] = watcher.payloads
    assert payload["tags"] == ["half \ufffd", "nul \ufffd"]
    assert any(f"event of run {run.id} has lone surrogates" in line for line in world.log.of("warning"))


@pytest.mark.parametrize("is_late", [False, True])
def test_a_canceled_run_is_sent_as_it_ends_for_good(world: World, is_late: bool) -> None:
    watcher = Watcher(world, **GIVEN | {"statuses": ["COMPLETED", "CANCELED"]})
    watcher.start()
    world.sleep(10)
    given = {"acknowledge_after": 20.0, "completes_despite_cancel": is_late}
    world.server.add_run("EXECUTING", task_identifier=TASK, **given).cancel()
    world.sleep(60)
    assert [payload["status"] for payload in watcher.payloads] == ["COMPLETED" if is_late else "CANCELED"]


def test_however_many_watchers_there_are_one_query_each_2_s_serves_all(world: World) -> None:
    watchers = [Watcher(world, name=f"{number}", tags=["t", f"{number}"]) for number in range(50)]
    for one in watchers:
        one.start()
    world.sleep(10)
    before = len(world.network.sent)
    runs = [world.server.add_run("COMPLETED", tags=list(one.trigger.tags)) for one in watchers]
    world.sleep(20)
    assert len(world.network.sent) - before <= 10
    assert [heard(one) for one in watchers] == [[run.id] for run in runs]


def test_many_ends_are_sent_slowly_and_hold_up_no_other_watcher(world: World, watcher: Watcher) -> None:
    """A triggerer sends no heartbeat while it stores events, and its triggers would be taken away."""
    other = Watcher(world, name="other", task_identifiers="other")
    for one in (watcher, other):
        one.start()
    world.sleep(10)
    watcher.kill()
    wanted = {end(world) for _ in range(1500)}
    watcher.start()
    world.sleep(10)
    quick = end(world, task="other")
    world.sleep(10)
    assert heard(other) == [quick]
    assert len(watcher.events) <= 20 * 25 + 50
    world.sleep(70)
    assert len(watcher.events) == len(wanted)
    assert set(heard(watcher)) == wanted


@pytest.mark.parametrize("begins", ["before", "after"])
def test_an_end_in_the_future_hides_no_other(world: World, watcher: Watcher, begins: str) -> None:
    if begins == "before":
        watcher.start()
        world.sleep(10)
    wrong = end(world)
    world.server.runs[wrong].finished_at += timedelta(hours=1)
    world.sleep(10)
    watcher.start()
    world.sleep(60)
    wanted = [wrong] * (begins == "before") + [end(world)]
    world.sleep(80)
    watcher.kill()
    watcher.start()
    world.sleep(10)
    wanted.append(end(world))
    world.sleep(20)
    assert heard(watcher) == wanted


SKEWS = [{"skew": skew} for skew in (-3600.0, -30.0, 30.0, 3600.0)]


@pytest.mark.parametrize("world", SKEWS, indirect=True)
@pytest.mark.parametrize("has_ended", [True, False])
def test_a_wrong_clock_hides_no_end_after_a_start(world: World, watcher: Watcher, has_ended: bool) -> None:
    before = [end(world)] * has_ended
    world.sleep(10)
    watcher.start()
    world.sleep(5)
    wanted = [end(world)]
    world.sleep(30)
    watcher.kill()
    wanted.append(end(world))
    world.sleep(5)
    watcher.start()
    world.sleep(20)
    assert set(wanted) <= set(heard(watcher)) <= set(wanted + before)


def test_any_text_finds_its_runs(world: World) -> None:
    texts = ["it's", "C:\\new", "\\\\temp\\", "a\\'b", "''", "new\nline", "%_"]
    watchers = [Watcher(world, name=f"task {text}", task_identifiers=text) for text in texts]
    watchers += [Watcher(world, name=f"tag {text}", tags=text) for text in texts]
    for one in watchers:
        one.start()
    world.sleep(10)
    runs = [world.server.add_run("COMPLETED", task_identifier=text) for text in texts]
    runs += [world.server.add_run("COMPLETED", tags=[text]) for text in texts]
    world.sleep(10)
    assert [heard(one) for one in watchers] == [[run.id] for run in runs]


# What fails other than Trigger.dev


@pytest.mark.parametrize("what", ["connection", "Get"])
def test_whatever_fails_at_first_is_tried_again_and_said_once_a_minute(world: World, what: str) -> None:
    """An exception would end the trigger, and Airflow start it again each second."""
    watcher = Watcher(world, **GIVEN | {"trigger_dev_conn_id": "late"})
    if what == "Get":
        world.connect(conn_id="late")
        watcher.fail(what)
    watcher.start()
    world.sleep(150)
    world.connect(conn_id="late")
    watcher.fail(None)
    world.sleep(20)
    wanted = [end(world)]
    world.sleep(10)
    assert heard(watcher) == wanted
    reason = "Connection 'late' " if what == "connection" else "AirflowRuntimeError"
    *failures, begins, over = [line for line in world.log.lines if line.startswith("Watcher 'orders' ")]
    assert [line.startswith("Watcher 'orders' does not work for ") for line in failures] == [True] * 3
    assert [reason in line for line in failures] == [True] * 3
    assert begins.startswith("Watcher 'orders' begins at 20")
    assert over.startswith("Watcher 'orders' does not work: over after 15")


@pytest.mark.parametrize("since", ["start", "later"])
def test_a_position_that_cannot_be_stored_loses_no_end(world: World, watcher: Watcher, since: str) -> None:
    if since == "start":
        watcher.fail("Put")
    watcher.start()
    world.sleep(10)
    watcher.fail("Put")
    wanted = []
    for _ in range(15):
        world.sleep(10)
        wanted.append(end(world))
    world.sleep(10 if since == "start" else 70)
    assert heard(watcher) == wanted
    watcher.fail(None)
    world.sleep(80)
    watcher.kill()
    wanted.append(end(world))
    watcher.start()
    world.sleep(20)
    assert heard(watcher) == wanted
    restart = "it begins then" if since == "start" else "it continues from 20"
    failures = [line for line in world.log.of("warning") if "its position cannot be stored for " in line]
    assert [f"if the triggerer restarts first, {restart}" in line for line in failures] == [True] * 3
    assert [line for line in world.log.lines if "its position cannot be stored: over after 1" in line]
    assert [line for line in world.log.lines if "Watcher 'orders' continues from 20" in line]


def test_what_is_stored_does_not_grow(world: World, watcher: Watcher) -> None:
    """It names the ends that are read again after a restart, of about a minute."""
    watcher.start()
    sizes = []
    for _ in range(2):
        for _ in range(100):
            end(world)
            world.sleep(2)
        sizes.append(len(watcher.stored or ""))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.2)


@pytest.mark.parametrize("has_states", [False, *[True] * airflow_has.ASSET_STATES])
@pytest.mark.parametrize(
    "changed", [{}, {"statuses": ["COMPLETED", "FAILED"]}, {"trigger_dev_conn_id": "the_same"}]
)
def test_a_restart_says_where_it_begins(world: World, changed: dict[str, Any], has_states: bool) -> None:
    watcher = Watcher(world, has_states=has_states, **GIVEN)
    world.connect(conn_id="the_same")
    watcher.start()
    world.sleep(20)
    stored = watcher.stored
    world.sleep(600)
    assert watcher.stored == stored, "while nothing happens, nothing is stored"
    watcher.kill()
    end(world)
    world.sleep(60)
    watcher.start(**changed)
    world.sleep(20)
    begin, restart = [line for line in world.log.lines if line.startswith("Watcher ")]
    at = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(f"Watcher 'orders' begins at {at}", begin)
    continues = has_states or not changed  # before Airflow 3.3, other arguments are another watcher
    assert re.match(f"Watcher 'orders' {'continues from' if continues else 'begins at'} {at}", restart)
    assert len(watcher.events) == continues


@pytest.mark.parametrize("change", ["key", "key, mistyped at first", "branch"])
def test_it_follows_its_connection_and_begins_anew(world: World, watcher: Watcher, change: str) -> None:
    watcher.start()
    world.sleep(10)
    wanted = [end(world)]
    world.sleep(10)
    if "key" in change:
        world.server.rotate_key()
    key = "tr_prod_mistyped" if "mistyped" in change else None
    world.connect(key, **({"branch": "x"} if change == "branch" else {}))
    wanted += [end(world)] if "key" in change else []
    world.sleep(60)
    if "mistyped" in change:
        world.connect()
        world.sleep(60)
    wanted.append(end(world))
    world.sleep(10)
    assert heard(watcher) == wanted
    begins = [line for line in world.log.lines if line.startswith("Watcher 'orders' begins at ")]
    assert len(begins) == 1 + (change == "branch")
    warned = [line for line in world.log.lines if "begins again: its connection leads elsewhere now" in line]
    assert len(warned) == (change == "branch")


def test_a_key_of_another_environment_is_said(world: World, watcher: Watcher) -> None:
    other = world.server.add_environment("dev")
    watcher.start()
    world.sleep(10)
    for key in (other.secret_key, None):
        world.connect(key)
        world.sleep(60)
    lines = [line for line in world.log.of("warning") if "has a key of another environment now" in line]
    assert [line.partition(" has ")[0] for line in lines] == ["Watcher 'orders'"] * 2


def test_it_ends_with_the_event_loop(world: World) -> None:
    """The process of a triggerer whose supervisor was killed would never end."""
    watchers = [Watcher(world, name=f"{number}", task_identifiers=TASK) for number in range(10)]
    for one in watchers:
        one.start()
    world.sleep(10)
    ended: list[float] = []

    async def end_all() -> None:
        begun = world.now
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.get_running_loop().shutdown_asyncgens()
        ended.append(world.now - begun)

    world.triggerer.loop.call_soon_threadsafe(lambda: world.triggerer.loop.create_task(end_all()))
    world.sleep(10)
    assert ended == [pytest.approx(0, abs=0.01)]
