"""The time left for a piece of work. Pure: the caller says what time it is."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a piece of work must have ended."""

    at: float = math.inf

    @classmethod
    def after(cls, seconds: float | None, *, now: float) -> Deadline:
        """Return the deadline for work that begins now."""
        return NEVER if seconds is None else cls(now + seconds)

    def remaining(self, now: float) -> float:
        """Return the seconds left: 0 when it has passed, infinite without a limit."""
        return max(0.0, self.at - now)

    def before(self, share: float, *, now: float) -> Deadline:
        """Return the deadline for the first part of what is left."""
        return self if math.isinf(self.at) else Deadline(now + share * self.remaining(now))


NEVER = Deadline()
