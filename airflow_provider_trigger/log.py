"""What a task logs with, how lines are written to it, and texts that several messages are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol

Level = Literal["debug", "info", "warning", "error"]

Line = tuple[Level, str]


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


MAX_NAMED = 10  # in a text or in lines of their own; more are counted
MAX_LINES = 100  # of one kind
MAY_RUN = "may still be running"  # docs/outcomes.md says what to do about it


def counted(count: int, name: str) -> str:
    """Return a number with the name of what is counted, such as ``1 run`` and ``2 runs``."""
    return f"{count} {name}{'s' * (count != 1)}"


def capitalized(text: str) -> str:
    """Return a text as the begin of a sentence; the rest, such as the id of a run, stays as it is."""
    return text[0].upper() + text[1:]


def enumeration(items: Iterable[object], separator: str = ", ", *, named: int = MAX_NAMED) -> str:
    """Return the first few items, and how many more there are."""
    texts = [str(item) for item in items]
    more = f" … and {len(texts) - named} more" if len(texts) > named else ""
    return separator.join(texts[:named]) + more
