"""Deferred waits for waitpoint tokens, in virtual time: what they request when, and what they come to."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from fake_clock import Clock
from in_process import client, lost, network, server
from virtual_loop import run_in_virtual_time

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.exchange import Reply, Send
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.run.waited import WaitSettings, check_interval
from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.engine.environments import RateLimiter
from airflow_provider_trigger.tokens import wait as token_wait
from airflow_provider_trigger.triggers import run as triggers
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger
from airflow_provider_trigger.triggers.waitpoint import WaitpointTokenTrigger
from airflow_provider_trigger.triggers.watch import CHECK_CONCURRENCY, CHECKS_RESERVE, TOKENS_RESERVE

__all__ = ["client", "lost", "network", "server"]

ARGUMENTS: dict[str, Any] = {
    "token_id": "waitpoint_1",
    "begun_at": 1_795_600_000.5,
    "trigger_dev_conn_id": "other",
    "was_shown": True,
    "not_before": 1_795_600_000.25,
}
"""Of a connection by default, in seconds."""


# What is stored


def test_all_its_arguments_survive_and_those_that_can_be_missing_have_defaults() -> None:
    path, kept = WaitpointTokenTrigger(**ARGUMENTS).serialize()
    assert path == f"{WaitpointTokenTrigger.__module__}.WaitpointTokenTrigger"
    assert WaitpointTokenTrigger(**json.loads(json.dumps(kept))).serialize() == (path, ARGUMENTS)
    assert inspect.signature(WaitpointTokenTrigger).parameters.keys() == ARGUMENTS.keys()
    least = {name: ARGUMENTS[name] for name in ("token_id", "begun_at")}
    rest = {"trigger_dev_conn_id": "trigger_dev_default", "was_shown": False, "not_before": None}
    assert WaitpointTokenTrigger(**least).serialize()[1] == least | rest


# The wait


class Sent:
    """The requests of the waits."""

    def __init__(self, clock: Clock, server: TriggerDevServer) -> None:
        self.clock = clock
        self._bucket = RateLimiter(server, time=server.time)
        self.least_left = math.inf
        """How many tokens the bucket of the rate limit had at least."""
        self.latency = 0.0
        """How long each takes, in seconds."""
        self.times: dict[str, list[float]] = {}
        """When each was sent, by the last part of its path."""
        self.in_flight = self.most_in_flight = 0

    async def __call__(self, send_one: Callable[[Send], Reply], step: Send) -> Reply:
        self.times.setdefault(step.request.path.rsplit("/", 1)[1], []).append(self.clock.now)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(self.latency)
        self.in_flight -= 1
        take, reply = self._bucket.take("the key"), send_one(step)
        self.least_left = min(self.least_left, take.remaining)
        assert take.remaining >= 0, "the rate limit is used up"
        return (
            replace(reply, headers={**reply.headers, **take.headers})
            if isinstance(reply, Response)
            else reply
        )


@pytest.fixture
def log(keep_log):
    return keep_log(triggers.ResumingTrigger)


@pytest.fixture
def sent(use_virtual_time, server, clock: Clock, log, monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Let triggers wait by the clock, on an event loop without threads; return what they send."""
    sent = Sent(clock, server)
    monkeypatch.setattr(token_wait, "time", clock)
    use_virtual_time(sent)
    return sent


async def event_of(trigger: Any) -> Any:
    async with contextlib.aclosing(trigger.run()) as events:
        async for event in events:
            assert json.loads(json.dumps(event.payload)) == event.payload
            return event.payload
    raise AssertionError("no event")


def trigger(token: Any, clock: Clock, *, ago: float = 0.0, **arguments: Any) -> WaitpointTokenTrigger:
    """Make a trigger, as Airflow does of what it has stored, of a wait that began so many seconds ago."""
    given: dict[str, Any] = {"trigger_dev_conn_id": "mine", "begun_at": clock.time() - ago} | arguments
    made = WaitpointTokenTrigger(token_id=getattr(token, "id", token), **given)
    return WaitpointTokenTrigger(**json.loads(json.dumps(made.serialize()[1])))


@pytest.fixture
def wait(sent: Sent, clock: Clock, server, log) -> Callable[..., tuple[Any, float]]:
    """Wait for a token, to which something happens later; return the event, and how long it took."""

    def run(token: Any, act: Callable[[], Any] = int, *, after: float = 0.0, **arguments: Any) -> Any:
        made, begun = trigger(token, clock, **arguments), clock.now

        async def main() -> Any:
            asyncio.get_running_loop().call_later(after, act)
            return await event_of(made)

        event = run_in_virtual_time(main(), clock)
        assert not [
            one.path[-64:] for one in server.tokens.values() if one.path[-64:] in f"{event} {log.lines}"
        ]
        return event, clock.now - begun

    return run


def test_its_event_says_that_the_token_is_completed_and_not_the_data(wait, server, clock, log) -> None:
    token, begun_at = server.create_token()[0], clock.time()
    event, took = wait(token, lambda: server.complete_token(token.id, "a secret"), after=99.0)
    assert event == {"error": "", "is_final": False, "begun_at": begun_at}
    assert 99 <= took <= 109
    shown = f"Waitpoint token {token.id} of connection 'mine'"
    assert log.lines == [f"Waiting for waitpoint token {token.id}", f"{shown} is COMPLETED"]


@pytest.mark.parametrize("ago", [0.0, 100.0, 86_400.0])
def test_a_token_is_checked_less_and_less_often_also_after_a_restart(ago: float, wait, server, sent) -> None:
    token = server.create_token()[0]
    wait(token, lambda: server.complete_token(token.id), after=600.0, ago=ago)
    assert sent.times.keys() == {token.id}
    first, *_ = times = sent.times[token.id]
    intervals = [later - earlier for earlier, later in pairwise(times)]
    assert intervals == pytest.approx([check_interval(ago + at - first) for at in times[:-1]])
    assert (min(intervals), max(intervals)) == pytest.approx((2 if not ago else min(30, ago / 10), 30))


@pytest.mark.parametrize(
    ("hold", "trigger_id", "seconds"),
    [
        pytest.param(8.0, 17, 8.0, id="its wait was quick"),
        pytest.param(-60.0, 17, 0.0, id="it was deferred long ago, or is on another triggerer now"),
        pytest.param(3600.0, 17, defaults.LONGEST_EVENT_HOLD, id="the clock of the worker is ahead"),
        pytest.param(8.0, None, 0.0, id="there is no scheduler, as in dag.test()"),
    ],
)
def test_no_event_is_sent_before_the_scheduler_has_seen_the_deferral(
    hold: float, trigger_id: int | None, seconds: float, sent, server, clock
) -> None:
    token, begun = server.create_token()[0], clock.now
    server.complete_token(token.id)
    made = trigger(token, clock, not_before=clock.time() + hold)
    made.trigger_id = trigger_id
    run_in_virtual_time(event_of(made), clock)
    assert clock.now - begun == seconds


# Many waits


@pytest.fixture
def small_server(clock: Clock) -> TriggerDevServer:
    """A server with a fifth of the usual rate limit."""
    return TriggerDevServer(
        clock=clock.time, rate_limit=150, refill=50, secret_key="tr_prod_marker/of+the=test"
    )


class TestMany:
    """A fifth of 1,000 tokens and of the rate limit: their checks would take more than it gives."""

    @pytest.fixture
    def server(self, small_server: TriggerDevServer) -> TriggerDevServer:
        return small_server

    @pytest.fixture
    def ends(self, sent: Sent, server, clock) -> Callable[[int], list[float]]:
        """Wait for so many tokens, and for runs meanwhile; return how long after its end each run is seen."""

        def run(count: int) -> list[float]:
            sent.latency = 0.1
            tokens = [server.create_token()[0] for _ in range(count)]

            async def see(number: int) -> float:
                ends_at = 100 + 7.3 * number
                one = server.add_run("EXECUTING", then=[(ends_at, "COMPLETED")])
                begun = clock.now
                await event_of(
                    TriggerDevRunTrigger(run_ids=[one.id], wait=WaitSettings(cancels=False).to_json())
                )
                return clock.now - begun - ends_at

            async def main() -> list[float]:
                waits = [asyncio.create_task(event_of(trigger(one, clock, ago=3600.0))) for one in tokens]
                seen = await asyncio.gather(*(see(number) for number in range(10)))
                for each in waits:
                    each.cancel()
                await asyncio.gather(*waits, return_exceptions=True)
                return list(seen)

            return run_in_virtual_time(main(), clock)

        return run

    def test_their_checks_leave_what_others_need_and_none_starves(self, ends, sent, clock) -> None:
        began = clock.now
        with_tokens = ends(200)
        assert 150 * CHECKS_RESERVE < sent.least_left < 150 * TOKENS_RESERVE
        assert sent.most_in_flight <= CHECK_CONCURRENCY + 2
        tokens = {one: times for one, times in sent.times.items() if one.startswith("waitpoint_")}
        assert len(tokens) == 200
        for times in tokens.values():
            assert max(later - earlier for earlier, later in pairwise([began, *times, clock.now])) < 90
        assert max(with_tokens) <= max(ends(0)) + 0.5, "and ends of runs are noticed no later"
