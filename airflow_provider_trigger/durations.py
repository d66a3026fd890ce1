"""Read numbers and durations, also of texts. Imports nothing of the package."""

from __future__ import annotations

import re
import sys
from datetime import timedelta

Duration = float | str | timedelta
"""Seconds, a timedelta, or a text such as ``"5m"``."""

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_TEXT = re.compile("".join(rf"(?:(\d{{1,9}}){unit})?" for unit in _UNITS), re.ASCII)
_NUMBER = re.compile(r"\d{1,300}(?:\.\d{1,300})?", re.ASCII)


def read_duration(value: object) -> float | None:
    """Return a duration in seconds, None if the value is none."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    seconds = read_number(value)
    return read_duration_text(value) if seconds is None and isinstance(value, str) else seconds


def read_duration_text(text: str) -> float | None:
    """Return the seconds of a text such as ``1h30m``, None if it is none; the units are w, d, h, m and s."""
    match = _TEXT.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        return None
    return sum(int(part or 0) * unit for part, unit in zip(match.groups(), _UNITS.values(), strict=True))


def read_number(value: object) -> float | None:
    """Return a finite number that fits a float, also of a text without a sign; None if the value is none."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value) if "." in value else int(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and abs(value) <= sys.float_info.max else None  # type: ignore[arg-type,return-value]
