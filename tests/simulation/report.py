"""What a course of events led to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Report:
    """
    What a seed led to.

    :param rejected: how many requests the rate limit has rejected, while no one else had used it up
    :param violations: empty when every promise was kept
    """

    seed: int
    description: str
    duration: float
    requests: int
    outcomes: Counter[str]
    rejected: int = 0
    violations: list[str] = field(default_factory=list)
