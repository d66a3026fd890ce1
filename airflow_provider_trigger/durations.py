"""Read numbers and durations, also of texts. Imports nothing of the package."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from operator import mul

Duration = float | str | timedelta
"""Seconds, a timedelta, or a text such as ``"5m"``."""

_TEXT = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_UNITS = (604_800, 86_400, 3_600, 60, 1)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)


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
    parts = [read_number(part or 0) for part in match.groups()]
    return None if None in parts else read_number(sum(map(mul, parts, _UNITS)))


def read_number(value: object) -> float | None:
    """Return a finite number that fits a float, also of a text without a sign; None if the value is none."""
    try:
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            value = float(value) if "." in value else int(value)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return value if is_number and math.isfinite(value) else None  # type: ignore[arg-type,return-value]
    except (ValueError, OverflowError):  # several hundred digits
        return None
