"""What a run has logged."""

from __future__ import annotations

from dataclasses import dataclass

from .ids import new_span_id

LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR")


@dataclass(frozen=True, slots=True)
class LogLine:
    """
    A line that a run has logged, or a span that is over.

    :param at: when, in seconds since 1970
    :param level: one of ``LEVELS``; ``TRACE`` for a span
    :param text: all of it
    :param is_error: of a span, whether it failed
    """

    at: float
    level: str
    text: str
    is_error: bool
    span_id: str

    @classmethod
    def made(cls, at: float, level: str, text: str, *, failed: bool) -> LogLine:
        """
        Return a new line.

        :raises ValueError: there is no such level
        """
        if level not in LEVELS:
            raise ValueError(f"log: the level must be one of {', '.join(LEVELS)}, not {level!r}")
        return cls(at, level, text, failed or level == "ERROR", new_span_id())
