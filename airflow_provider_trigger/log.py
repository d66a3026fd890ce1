"""What Airflow's versions give a task to log with, for annotations, and how lines are written to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partialmethod
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


# Not in an address, nor in the path of a request.
_RUN_ID = re.compile(r"(?<![/\w])run_\w+")


class ItemLog:
    """
    The log of a batch: the index of its item follows each run that a line names.

    :param log: what it writes to
    :param run_ids: returns the run ids known by now, in the order of the items
    """

    def __init__(self, log: Log, run_ids: Callable[[], Sequence[str | None]]) -> None:
        self._log = log
        self._run_ids = run_ids

    def _write(self, level: Level, message: str, /, *args: Any) -> None:
        getattr(self._log, level)("%s", self._indexed(message, args))

    debug = partialmethod(_write, "debug")
    info = partialmethod(_write, "info")
    warning = partialmethod(_write, "warning")
    error = partialmethod(_write, "error")

    def _indexed(self, message: str, args: tuple[Any, ...]) -> str:
        text = message % args if args else message
        if not _RUN_ID.search(text):
            return text
        items = {run_id: f"{run_id} (item {index})" for index, run_id in enumerate(self._run_ids()) if run_id}
        return _RUN_ID.sub(lambda found: items.get(found[0], found[0]), text)


def write(log: Log, lines: Iterable[Line], *, origin: str = "") -> None:
    """Write lines, each after where it comes from, in a log that is not the task's own."""
    for level, text in lines:
        getattr(log, level)("%s%s", origin, text)
