"""Between which times the runs that a list or a bulk action selects were created."""

from __future__ import annotations

import re
from typing import Any

from ..engine.durations import read_date

# How far back a filter reaches that names no time, in seconds.
_DEFAULT = 7 * 86400.0
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def created_between(
    start: float | None, end: float | None, period: str | None, *, now: float
) -> tuple[float, float]:
    """
    Return the first and the last time of creation that a filter wants, in seconds since 1970.

    :param start: the first time that it names, ``None`` if it names none
    :param end: the last time that it names
    :param period: how far back the filter reaches, such as ``30d``; a malformed one is ignored
    :param now: the time, in seconds since 1970
    """
    match = re.fullmatch(r"(\d+)([smhdw])", period or "")
    if match is not None:
        start = now - int(match[1]) * _SECONDS[match[2]]
    elif start is None and end is None:
        start = now - _DEFAULT
    return (float("-inf") if start is None else start), (float("inf") if end is None else end)


def read_moment(given: Any) -> float:
    """
    Return a time in seconds since 1970.

    :param given: milliseconds since 1970, also as a text, or a date in ISO 8601
    :raises ValueError: for anything else
    """
    try:
        return float(given) / 1000
    except ValueError:
        return read_date(given)
    except TypeError:
        raise ValueError(f"Not a time: {given!r}") from None
