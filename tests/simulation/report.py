"""What a course of events led to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Report:
    """What a seed led to; ``violations`` is empty when every promise was kept."""

    seed: int
    description: str
    duration: float
    requests: int
    outcomes: Counter[str]
    violations: list[str] = field(default_factory=list)
