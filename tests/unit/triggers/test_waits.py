"""Many waits in a triggerer in virtual time: what they request, what an outage is to them, and their end."""

from __future__ import annotations

import asyncio
import re
from itertools import pairwise
from typing import Any

import pytest
from fake_clock import Clock
from in_process import client, lost, network, server
from virtual_watch import watch_by

from airflow_provider_trigger.run import watch as run_watch
from airflow_provider_trigger.run.waited import WaitSettings
from airflow_provider_trigger.run.watch import QUERY_INTERVAL, Watch
from airflow_provider_trigger.triggers import watch
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger

__all__ = ["client", "lost", "network", "server"]

QUERY, GET = "POST /api/v1/query", "GET /api/v3/runs/"
ENDS_AT = 290


async def event_of(*run_ids: str, **wait: Any) -> Any:
    made = TriggerDevRunTrigger(run_ids=run_ids, wait={"cancels": False} | wait)
    async for event in made.run():
        return event.payload["runs"]
    raise AssertionError("no event")


def test_one_query_every_2_s_shows_the_ends_of_all_waits(in_triggerer, network, server, clock: Clock) -> None:
    runs = [server.add_run("EXECUTING", then=[(60 + one / 10, "COMPLETED")]) for one in range(100)]
    times: list[float] = []
    network.before = lambda request: times.append(clock.now) if request == QUERY else None

    async def main() -> list[float]:
        async def ends_at(run_id: str) -> float:
            [seen] = await event_of(run_id)
            assert (seen["end"], seen["status"]) == ("final", "COMPLETED")
            return clock.now

        return await asyncio.gather(*(ends_at(one.id) for one in runs))

    begun = clock.now
    ended = in_triggerer(main())
    assert max(at - begun - 60 - number / 10 for number, at in enumerate(ended)) < 3.5
    assert {round(later - earlier, 1) for earlier, later in pairwise(times)} == {QUERY_INTERVAL}
    assert len(network.sent(GET)) <= 1 + clock.now - begun, "one check a second in the background"


def test_if_it_crashes_its_waits_fail_and_the_next_ones_have_another(
    in_triggerer, network, server, clock, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    one = server.add_run("EXECUTING", then=[(30, "COMPLETED")])

    async def main() -> Any:
        waiting = asyncio.create_task(event_of(one.id))
        await asyncio.sleep(5)
        with monkeypatch.context() as broken:
            broken.setattr(Watch, "_due_checks", lambda *_: 1 / 0)
            with pytest.raises(RuntimeError, match="ZeroDivisionError"):
                await waiting
        assert clock.now < 1010
        return await event_of(one.id)

    [seen] = in_triggerer(main())
    assert seen["status"] == "COMPLETED"
    [record] = [one for one in caplog.records if one.name == watch.__name__]
    assert record.getMessage() == "The watch of connection 'mine' crashed"


# What is logged of an outage, in the worker and deferred


@pytest.fixture
def wait(request: pytest.FixtureRequest, client, network, server, clock, log, lost, monkeypatch) -> Any:
    """Wait for so many runs, with an outage from 40 s to 259 s; return each line with its level."""

    def before(_: str) -> None:
        network.repair()
        if 1040 <= clock.now < 1259:
            network.fault("", lost)

    def run(where: str, count: int) -> list[str]:
        network.before = before
        runs = [server.add_run("EXECUTING", then=[(ENDS_AT, "COMPLETED")]) for _ in range(count)]
        settings = WaitSettings(logs_progress=True, names_completed=False)
        run_ids = [one.id for one in runs]
        if where == "deferred":
            request.getfixturevalue("in_triggerer")(event_of(*run_ids, **settings.to_json()))
        else:
            watch_by(clock, monkeypatch)
            run_watch.wait_for_runs(run_ids, settings, client, log=log)
        return [f"{level}: {text}" for level, text in log.leveled if not text.startswith("Connection ")]

    return run


def matches(shown: str, line: str) -> bool:
    """Whether a line is as shown, where ``…`` may be anything."""
    return re.fullmatch(".*".join(map(re.escape, shown.split("…"))), line) is not None


@pytest.mark.parametrize(
    ("where", "count"),
    [("worker", 5), ("worker", 25), ("deferred", 5), ("deferred", 100)],
)
def test_an_outage_is_a_line_at_its_begin_one_a_minute_and_one_at_its_end(wait, where, count) -> None:
    said = wait(where, count)
    failed = f"warning: Status checks of … of {count} runs"
    expected = [
        f"info: Waiting for {count} runs",
        f"info: 0 of {count} runs have ended: {count} EXECUTING",
        f"{failed} failed…; still waiting: …ConnectionError",
        *[f"{failed} have failed for 1… s; still waiting: …ConnectionError"] * 3,
        "info: … runs can be checked again after 2… s",
    ]
    expected[3] = expected[3].replace("1…", "…")
    assert [line for line, shown in zip(said, expected, strict=False) if not matches(shown, line)] == []
    assert said[-1] == f"info: {count} of {count} runs have ended: {count} COMPLETED"
    assert not [line for line in said[len(expected) :] if line.startswith("warning")]
