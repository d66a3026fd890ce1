"""A course of events in a world, all of it drawn from a seed, and what it led to."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from hub import Thread
from world import new_world

FAULTS = [(kind, is_after) for kind in ("hang", "lost", "500") for is_after in (False, True)]
FAULTS += [(kind, False) for kind in ("503", "401", "429", "page", "stale")]
"""What can become of any request, and whether it takes effect."""


class Scenario:
    """
    What all scenarios share.

    :param seed: from which all is drawn
    :param runs: how many runs, or tasks
    """

    def __init__(self, seed: int, runs: int) -> None:
        self.seed, self.runs = seed, runs
        self.chance = random.Random(seed)
        self.violations: list[str] = []
        """Empty when every promise was kept."""
        self.outcomes = Counter[str]()
        self.description = ""
        self.requests = self.rejected = 0
        """How many there were, and how many a rate limit has rejected that no one else had used up."""
        self.duration = 0.0

    def play(self) -> Scenario:
        """Let all happen, and compare."""
        self.skew = self.chance.choice([0.0, 0.0, 40.0, -40.0])
        settings = self.draw_settings()
        with new_world(seed=self.seed, skew=self.skew, **settings) as self.world:
            self.world.connect(timeout=30, retry_for=120)
            self.world.hub.run(self._happen, limit=20_000)
        network = self.world.network
        faults = [(one.kind, one.after, one.part, one.start, one.end, one.rate) for one in network.faults]
        self.description += f" skew={self.skew} {settings} {faults}"
        self.requests = len(network.sent)
        return self

    def _happen(self) -> None:
        self.world.start()
        self.happen()
        self.duration = self.world.now
        self.world.triggerer.close()

    def draw_settings(self) -> dict[str, Any]:
        """Return what the server is like."""
        raise NotImplementedError

    def happen(self) -> None:
        """Let all happen, and take in what is wrong."""
        raise NotImplementedError

    def draw_faults(self, *, most: int) -> None:
        """Let some faults happen now and then; 401s are rare, as two mean a rejected key."""
        chance = self.chance
        for kind, is_after in chance.sample(FAULTS, k=chance.randint(0, most)):
            rate = chance.uniform(0.002, 0.003 if kind == "401" else 0.05)
            headers = {"retry-after": "1"} if kind == "429" else None
            self.world.network.fault(kind, after=is_after, rate=rate, headers=headers)

    def begin(self, works: Iterable[Callable[[], None]]) -> list[Thread]:
        """Begin some works, each in a thread of its own."""
        threads = [Thread(target=work) for work in works]
        for thread in threads:
            thread.start()
        return threads

    def span(self, shortest: float, longest: float, *, latest: float = 250.0) -> tuple[float, float]:
        """Draw a time, in seconds of the world."""
        start = self.chance.uniform(0, latest)
        return start, start + self.chance.uniform(shortest, longest)

    def use_up(self, start: float, end: float) -> None:
        """Let another user of the key take all tokens for a while."""
        world = self.world
        world.sleep(start - world.now)
        while world.now < end:
            world.server.take_tokens(world.server.take_tokens(0))
            world.sleep(0.2)
