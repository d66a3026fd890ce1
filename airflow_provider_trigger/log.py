"""The logger of a task, and the words that several messages share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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


# In the address of a waitpoint token, a secret follows this part.
_TOKEN_SECRET = re.compile(r"(?<=callback/)[^\s'\",\])}]+")


def without_token_secrets(text: str) -> str:
    """Return a text without the secret by which anyone can complete a waitpoint token."""
    return _TOKEN_SECRET.sub("…", text)


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


def named(run_ids: Sequence[str], *, most: int = MAX_NAMED) -> str:
    """Return, for example, ``run a``, ``3 runs (a, b, c)`` or ``60 runs (a, b … and 58 more)``."""
    if len(run_ids) == 1:
        return f"run {run_ids[0]}"
    return f"{len(run_ids)} runs ({enumeration(run_ids, named=most)})"


LOG_INTERVAL = 300.0  # between two lines that say that nothing has changed, in seconds
OUTAGE_INTERVAL = 60.0  # between two lines of one outage, in seconds


class Outage:
    """Log that something fails, once a minute, and when it works again; ``then`` is what it does then."""

    def __init__(self, what: str, log: Log, *, then: str = "continues where it was") -> None:
        self._what, self._log, self._then = what, log, then
        self._since: float | None = None  # None while it works
        self._logged_at: float | None = None

    def failed(self, error: object, now: float) -> None:
        """Log a failure, unless it is the first one in a row."""
        if self._since is None:
            self._since = now
        elif self._logged_at is None or now - self._logged_at >= OUTAGE_INTERVAL:
            self._logged_at = now
            text = "%s for %.0f s now; it is tried again, and %s: %s"
            self._log.warning(text, self._what, now - self._since, self._then, error)

    def worked(self, now: float) -> None:
        """Log the end of an outage that was logged."""
        if self._since is not None and self._logged_at is not None and self._logged_at >= self._since:
            self._log.info("%s: over after %.0f s", self._what, now - self._since)
        self._since = None
