"""A line of a run's log, and a span of its trace, as the API shows both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_trigger.api.responses import read_text

MAX_MESSAGE_LENGTH = 256
"""The server cuts a message to so many characters, without a mark (measured)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEvent:
    """
    A line of a run's log, or a span.

    :param message: perhaps cut, see :attr:`is_cut`
    :param level: of a span ``TRACE``, as of a line that the task logs so
    :param started_at: in UTC, to the microsecond
    :param is_root: whether it is the span of the run itself
    :param is_partial: whether a span has not ended yet
    """

    message: str
    level: str
    started_at: datetime | None
    is_root: bool
    is_error: bool
    is_partial: bool

    @property
    def is_cut(self) -> bool:
        """Whether the server has cut the message; one of exactly that length looks the same."""
        # JavaScript counts in UTF-16; in ASCII, as measured, it is the same.
        return len(self.message.encode("utf-16-le", "surrogatepass")) >= 2 * MAX_MESSAGE_LENGTH

    @classmethod
    def from_answer(cls, shown: Mapping[str, Any]) -> RunEvent:
        """Read an item of the server's list."""
        return cls(
            message=read_text(shown.get("message")) or "",
            level=read_text(shown.get("level")) or "",
            started_at=_read_start(shown.get("startTime")),
            is_root=not shown.get("parentId"),
            is_error=shown.get("isError") is True,
            is_partial=shown.get("isPartial") is True,
        )


def _read_start(value: object) -> datetime | None:
    """Return the time in a text of nanoseconds since 1970."""
    if not (isinstance(value, str) and value.isascii() and value.isdecimal()):
        return None
    try:
        return _EPOCH + timedelta(microseconds=int(value) // 1000)
    except (OverflowError, ValueError):
        return None
