"""What Airflow's versions give a task to log with, for annotations, and how lines are written to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol

Level = Literal["debug", "info", "warning", "error"]

Line = tuple[Level, str]
"""A level, and the text."""


class Log(Protocol):
    """A logger: the standard library's, or Airflow 3's."""

    def debug(self, message: str, /, *args: Any) -> Any: ...  # noqa: D102
    def info(self, message: str, /, *args: Any) -> Any: ...  # noqa: D102
    def warning(self, message: str, /, *args: Any) -> Any: ...  # noqa: D102
    def error(self, message: str, /, *args: Any) -> Any: ...  # noqa: D102


def write(log: Log, lines: Iterable[Line], *, origin: str = "") -> None:
    """Write lines, each after where it comes from, in a log that is not the task's own."""
    for level, text in lines:
        getattr(log, level)("%s%s", origin, text)
