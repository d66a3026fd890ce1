"""A feed of ended runs in virtual time, with the local server: what listeners hear, what it requests."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from ends_scenario import follow_in_virtual_time
from fetched_hook import get_hook
from virtual_clock import Clock
from virtual_network import QUERY_PATH, Network, Outage

from airflow_provider_trigger.defaults import CONN_ID
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.run.ends import EndFilter, Position
from airflow_provider_trigger.run.ends_follower import Follower
from airflow_provider_trigger.testing.engine.engine import Engine
from airflow_provider_trigger.triggers import ends, ends_feed, ends_lost
from airflow_provider_trigger.triggers.ends import EndsListener, follow_ends

try:
    from airflow.sdk import Connection
except ImportError:
    from airflow.models import Connection  # type: ignore[assignment]

ETL = EndFilter(task_identifiers=("etl",), statuses=("COMPLETED", "CANCELED"))


class World:
    """A server, and the way to it."""

    def __init__(self, skew: float = 0.0) -> None:
        self.clock = clock = Clock()
        self.engine = Engine(clock=lambda: clock.wall() + skew, rate_limit=None)
        self.network = Network(
            clock=clock,
            engine=self.engine,
            chance=random.Random(1),
            rates={},
            latency=(0.05, 0.05),
            outages=[],
            broken_runs=set(),
            skew=skew,
        )
        self.sent: list[float] = []

    def play(self, main: Callable[[], Any]) -> Any:
        return follow_in_virtual_time(main(), self.network, self.sent)

    def add(self, name: str, status: str = "COMPLETED", *, after: float | None = None, **more: Any) -> None:
        """Add a run that has ended, or ends after so many seconds."""
        then = [(0.0, "EXECUTING"), (after, status)] if after is not None else []
        status = "QUEUED" if then else status
        self.engine.add_run(status, run_id=f"run_{name}", then=then, task_identifier="etl", **more)

    async def follow(self, seconds: float, position: Position | None = None, one: EndFilter = ETL) -> Any:
        """Follow for so many seconds; return the names of the runs, and the last position."""
        with follow_ends(await get_hook(CONN_ID), one, position) as listener:
            return await self.hear(listener, seconds)

    async def hear(self, listener: EndsListener, seconds: float) -> tuple[list[str], Position]:
        names, last, until = list[str](), await listener.first_position(), self.clock.now + seconds
        while self.clock.now < until:
            ended, last = await listener.next()
            assert len(ended) <= 50
            names += [run.id.removeprefix("run_") for run in ended]
        return names, last


@pytest.fixture
def world() -> World:
    return World()


def test_what_ends_after_the_first_start_is_handed_over_once_in_order(world: World) -> None:
    async def main() -> None:
        world.add("before")
        await asyncio.sleep(1)
        for name, after in (("b", 5.0), ("a", 3.0), ("c", 60.0)):
            world.add(name, after=after)
        world.add("other", after=4.0, tags=["x"])
        world.engine.runs["run_other"].task_identifier = "other"
        with follow_ends(await get_hook(CONN_ID), ETL, None) as listener:
            first = await listener.first_position()
            assert first.start == first.until
            names, _ = await world.hear(listener, 80)
        assert names == ["a", "b", "c"]

    world.play(main)


def test_however_many_watchers_there_are_one_query_serves_all(world: World) -> None:
    async def main() -> None:
        filters = [EndFilter(tags=("t", str(number))) for number in range(100)]
        jobs = [asyncio.create_task(world.follow(120, one=one)) for one in filters]
        await asyncio.sleep(10)
        for number in range(100):
            world.add(str(number), after=1.0, tags=["t", str(number)])
        assert [names for names, _ in await asyncio.gather(*jobs)] == [[str(n)] for n in range(100)]

    world.play(main)
    assert max(sum(at <= one < at + 60 for one in world.sent) for at in world.sent) <= 30


def test_who_is_far_behind_does_not_hold_up_the_others(world: World) -> None:
    async def main() -> float:
        _, old = await world.follow(3)
        for number in range(2500):
            world.add(f"{number:04}", after=number / 100)
        await asyncio.sleep(100)
        other = EndFilter(tags=("x",))
        quick = asyncio.create_task(world.follow(60, one=other))
        await asyncio.sleep(5)
        slow = asyncio.create_task(world.follow(200, old))
        await asyncio.sleep(10)
        world.add("x", after=1.0, tags=["x"])
        assert (await quick)[0] == ["x"]
        assert (await slow)[0] == [*(f"{number:04}" for number in range(2500)), "x"]
        return world.clock.now

    world.play(main)


@pytest.mark.parametrize("query", [True, False])
def test_a_run_canceled_before_its_start_is_handed_over_also_after_a_restart(
    world: World, query: bool
) -> None:
    world.engine.query = query

    async def main() -> None:
        for name in ("long ago", "meanwhile", "now"):
            world.add(name, "DELAYED")
        world.engine.runs["run_long ago"].cancel()
        await asyncio.sleep(95)
        world.add("just before", "DELAYED")
        world.engine.runs["run_just before"].cancel()
        await asyncio.sleep(5)
        _, position = await world.follow(60)
        world.engine.runs["run_meanwhile"].cancel()
        await asyncio.sleep(100)
        world.add("last", after=0.1)  # the position is beyond it at once
        job = asyncio.create_task(world.follow(150, position))
        await asyncio.sleep(30)
        world.engine.runs["run_now"].cancel()
        names, position = await job
        assert sorted(names) == ["last", "meanwhile", "now"]
        assert (await world.follow(60, position))[0] == []

    world.play(main)


@pytest.mark.parametrize("acknowledged_as", ["CANCELED", "COMPLETED"])
def test_a_canceled_run_is_handed_over_as_it_ends_for_good(world: World, acknowledged_as: str) -> None:
    async def main() -> None:
        is_late = acknowledged_as == "COMPLETED"
        world.add("a", "EXECUTING", acknowledge_after=20.0, completes_despite_cancel=is_late)
        with follow_ends(await get_hook(CONN_ID), ETL, None) as listener:
            await listener.first_position()
            world.engine.runs["run_a"].cancel()
            statuses = [run.status for _ in range(10) for run in (await listener.next())[0]]
        assert statuses == [acknowledged_as]

    world.play(main)


@pytest.mark.parametrize("count", [1, 20])
def test_an_end_that_the_query_has_lost_is_found_and_not_again(world: World, count: int) -> None:
    async def main() -> None:
        for number in range(count):
            world.add(str(number), "EXECUTING")
        _, position = await world.follow(3)
        world.engine.lose_in_query(*world.engine.runs)
        await asyncio.sleep(1)
        for run in world.engine.runs.values():
            run.status = "COMPLETED"
        names, position = await world.follow(240, position)
        assert sorted(names) == sorted(map(str, range(count)))
        assert (await world.follow(240, position))[0] == []

    world.play(main)


@pytest.mark.parametrize("query", [True, False])
def test_a_run_whose_check_always_fails_keeps_no_other_end_from_being_found(
    world: World, query: bool
) -> None:
    world.engine.query = query
    broken = "/api/v3/runs/run_0"
    world.network.outages = [Outage(start=0, end=math.inf, kind="page", path=broken)]

    async def main() -> None:
        for number in range(4):
            world.add(str(number), after=100.0)
        _, position = await world.follow(3)
        if query:
            world.engine.lose_in_query(*world.engine.runs)
        world.add("new", after=100.0)
        names, last = await world.follow(400, position)
        assert {"1", "2", "3", "new"}.issubset(names)
        assert query or last.until == position.until  # else a restart would lose it

    world.play(main)


def test_where_a_page_has_not_all_that_is_alive_none_is_handed_over_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ends_feed, "PAGE_SIZE", 10)
    monkeypatch.setattr(ends_lost, "PAGE_SIZE", 10)

    async def main() -> None:
        for number in range(45):
            world.add(f"{number:02}", after=60.0 + 3 * number)
        assert (await world.follow(700))[0] == [f"{number:02}" for number in range(45)]

    world.play(main)


def test_without_the_query_runs_of_a_watcher_that_has_left_are_checked_no_more(world: World) -> None:
    world.engine.query = False

    async def main() -> None:
        for number in range(60):
            world.add(f"other {number}", "EXECUTING", tags=["x"])
            world.engine.runs[f"run_other {number}"].task_identifier = "other"
        world.add("a", after=60.0)
        job = asyncio.create_task(world.follow(80))
        await world.follow(40, one=EndFilter(tags=("x",)))
        assert (await job)[0] == ["a"]
        assert world.clock.now < 110

    world.play(main)


def test_an_outage_is_logged_once_a_minute_and_its_end_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, ends_feed.__name__)
    world.network.outages = [Outage(start=30, end=170, kind="no database", path=QUERY_PATH)]

    async def main() -> None:
        world.add("a", after=100.0)
        assert (await world.follow(220))[0] == ["a"]

    world.play(main)
    lines = [record.getMessage() for record in caplog.records if record.name == ends_feed.__name__]
    assert [line.split(";")[0].split(":")[0] for line in lines] == [f"Connection {CONN_ID!r}"] * len(lines)
    assert ["ECONNREFUSED" in line for line in lines] == [True, True, True, False]
    assert "over after" in lines[-1]


def test_an_error_of_ours_ends_no_watcher(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    take_page, failures = Follower.take_page, iter([1, 1])

    def fail(*arguments: Any, **more: Any) -> None:
        take_page(*arguments, **more)
        if world.clock.now > 20 and next(failures, None):
            raise RuntimeError("simulated")

    monkeypatch.setattr(Follower, "take_page", fail)

    async def main() -> None:
        world.add("a", after=25.0)
        assert (await world.follow(60))[0] == ["a"]
        assert not ends._feeds[asyncio.get_running_loop()]  # closed with its last listener

    world.play(main)


def test_a_feed_that_is_opened_again_and_again_keeps_its_pace(world: World) -> None:
    world.network.latency = (0.55, 0.55)

    async def main() -> None:
        position: Position | None = None
        for _ in range(60):
            with follow_ends(await get_hook(CONN_ID), ETL, position) as listener:
                position = await listener.first_position()
                await asyncio.sleep(0.65)

    world.play(main)
    assert max(sum(at <= one < at + 60 for one in world.sent) for at in world.sent) <= 30


def test_watchers_that_come_with_other_keys_keep_the_pace(world: World) -> None:
    async def main() -> None:
        with follow_ends(await get_hook(CONN_ID), ETL, None):
            for number in range(100):
                key = f"tr_prod_{number % 2}"
                connection = Connection(
                    conn_id=CONN_ID, conn_type="trigger_dev", host="trigger.test", password=key
                )
                with follow_ends(TriggerDevHook(CONN_ID, connection=connection), ETL, None):
                    await asyncio.sleep(1)

    world.play(main)
    assert max(sum(at <= one < at + 60 for one in world.sent) for at in world.sent) <= 30


@pytest.mark.parametrize("begins", ["before", "after"])
def test_an_end_in_the_future_hides_no_other(world: World, begins: str) -> None:
    async def main() -> None:
        position = None if begins == "after" else (await world.follow(3))[1]
        world.add("wrong")
        run = world.engine.runs["run_wrong"]
        run.finished_at = run.created_at + timedelta(hours=1)
        world.add("right", after=60.0)
        names, position = await world.follow(90, position)
        assert names == (["right"] if begins == "after" else ["wrong", "right"])
        world.add("later", after=1.0)
        assert (await world.follow(30, position))[0] == ["later"]

    world.play(main)


@pytest.mark.parametrize("skew", [-30.0, 30.0])
def test_a_wrong_clock_hides_no_end_after_the_first_start(skew: float) -> None:
    world = World(skew)

    async def main() -> None:
        world.add("first", after=5.0)
        assert (await world.follow(30))[0] == ["first"]

    world.play(main)


@pytest.mark.parametrize("tag", ["it's", "C:\\new", "\\\\temp\\", "a\\'b", "''", "new\nline", "%_"])
@pytest.mark.parametrize("is_task", [True, False])
def test_any_text_finds_its_runs(world: World, tag: str, is_task: bool) -> None:
    async def main() -> None:
        for name in ("other", "a"):
            world.add(name, after=10.0, tags=["x"])
        run = world.engine.runs["run_a"]
        run.task_identifier, run.tags = (tag, ["x"]) if is_task else ("etl", [tag])
        one = EndFilter(task_identifiers=(tag,)) if is_task else EndFilter(tags=(tag,))
        assert (await world.follow(30, one=one))[0] == ["a"]

    world.play(main)
