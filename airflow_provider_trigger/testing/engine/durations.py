"""Durations and dates as the API's options write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from .server_time import ServerTime

_PARTS = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)hr?)?(?:(\d+)m)?(?:(\d+)s)?")
_SECONDS = (7 * 86400, 86400, 3600, 60, 1)


def read_duration(text: str | None) -> float | None:
    """
    Return a duration in seconds, ``None`` for one that is malformed: the server ignores it.

    :param text: such as ``10s`` or ``1h30m``
    """
    match = _PARTS.fullmatch(text or "")
    if match is None or not text:
        return None
    return float(sum(int(part) * size for part, size in zip(match.groups(), _SECONDS, strict=True) if part))


def read_delay(text: str | None, time: ServerTime) -> float | None:
    """
    Return when a delay is over, in seconds since 1970; ``None`` if it is malformed or in the past.

    :param text: a duration, or a date in ISO 8601
    """
    seconds = read_duration(text)
    now = time.now()
    if seconds is not None:
        return time.after(seconds, now)
    try:
        due = read_date(text or "")
    except ValueError:
        return None
    return due if due > now else None


def read_date(text: str) -> float:
    """
    Return a date in seconds since 1970; without a time zone it is in UTC.

    :param text: the date in ISO 8601
    :raises ValueError: for anything else
    """
    date = datetime.fromisoformat(text)
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
