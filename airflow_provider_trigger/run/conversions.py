"""
Check the options of a run, and turn each into what the API takes. Pure.

Each function gets the option's name, a value and the :class:`Circumstances`; it returns the value as the API
takes it, or raises a ValueError that names the option. Templates give strings, so a number may be one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_trigger.api.endpoints.paths import is_encodable
from airflow_provider_trigger.durations import read_duration_text, read_number
from airflow_provider_trigger.run.identity import MAX_TAG_LENGTH
from airflow_provider_trigger.run.json_values import Skip, check_json

MAX_METADATA_SIZE = 256 * 1024
"""As JSON, in bytes (measured)."""

MAX_KEY_LENGTH = 2048
"""As the server counts, in units of UTF-16 (measured)."""

MACHINES = ("micro", "small-1x", "small-2x", "medium-1x", "medium-2x", "large-1x", "large-2x")
"""All machine presets (measured)."""

MAX_TAGS = 10
"""How many tags a run may have (measured)."""

_MAX_SHOWN_LENGTH = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """
    What decides about a value besides itself.

    :param skip: whether a part of it is not known yet
    :param now: the time
    :param tags_of_ours: how many tags the provider adds to those given
    """

    skip: Skip
    now: datetime
    tags_of_ours: int


Conversion = Callable[[str, Any, Circumstances], Any]


def text(name: str, value: Any, _: Circumstances) -> str:
    """Take any text but a blank one."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be a string that is not empty, not {_shown(value)}")
    return _encodable(name, value)


def queue(name: str, value: Any, circumstances: Circumstances) -> dict[str, str]:
    """Take the name of a queue."""
    return {"name": text(name, value, circumstances)}


def machine(name: str, value: Any, _: Circumstances) -> str:
    """Take one of :data:`MACHINES`."""
    if value not in MACHINES:
        raise ValueError(f"{name} must be one of {', '.join(MACHINES)}, not {_shown(value)}")
    return str(value)


def number(unit: str, *, least: int, whole: bool) -> Conversion:
    """
    Return what takes a number, also one in a string.

    :param unit: what it counts
    :param least: the lowest value allowed
    :param whole: whether it must be an integer
    """

    def convert(name: str, value: Any, _: Circumstances) -> float:
        found = read_number(value)
        if found is None or found < least or (whole and found != int(found)):
            kind = "whole number" if whole else "number"
            raise ValueError(f"{name} must be a {kind} of {unit}, {least} or more, not {_shown(value)}")
        return int(found) if whole else found

    return convert


def ttl(name: str, value: Any, _: Circumstances) -> str | int:
    """Take a duration, or seconds."""
    seconds = math.ceil(value.total_seconds()) if isinstance(value, timedelta) else read_number(value)
    if seconds is not None and seconds > 0 and seconds == int(seconds):
        return int(seconds)
    if isinstance(value, str) and _is_duration(value):
        return value.strip()
    what = "a duration above 0, such as '1h30m', in whole seconds or a timedelta"
    raise ValueError(f"{name} must be {what}, not {_shown(value)}")


def key_ttl(name: str, value: Any, circumstances: Circumstances) -> str:
    """Take a duration, or seconds; here the server ignores a number without a unit (measured)."""
    duration = ttl(name, value, circumstances)
    return f"{duration}s" if isinstance(duration, int) else duration


def delay(name: str, value: Any, circumstances: Circumstances) -> str:
    """Take a duration, or a time in the future; one without a zone is in UTC."""
    if isinstance(value, timedelta) and value > timedelta():
        return f"{math.ceil(value.total_seconds())}s"
    if isinstance(value, str) and _is_duration(value):
        return value.strip()
    due = _read_time(value)
    if due is None:
        what = "a duration above 0, such as '1h30m', a timedelta, a datetime or an ISO date"
        raise ValueError(f"{name} must be {what}, not {_shown(value)}")
    if due <= circumstances.now:
        raise ValueError(f"{name} must be in the future, not {_shown(value)}")
    return due.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def tags(name: str, value: Any, circumstances: Circumstances) -> list[str]:
    """Take one tag or several; each is sent once, as the server counts repeated ones (measured)."""
    given = [value] if isinstance(value, str) else value
    is_list = isinstance(given, (list, tuple))
    if not is_list:
        raise ValueError(f"{name} must be a list of strings, not {_shown(value)}")
    for index, tag in enumerate(given):
        if not circumstances.skip(tag):
            _check_tag(f"{name}[{index}]" if given is value else name, tag)
    found = [tag for index, tag in enumerate(given) if tag not in given[:index]]
    ours = circumstances.tags_of_ours
    if len(found) > MAX_TAGS - ours:
        why = f": a run has up to {MAX_TAGS}, and {ours} are the provider's" if ours else ""
        raise ValueError(f"{name} must be {MAX_TAGS - ours} tags or fewer, not {len(found)}{why}")
    return found


def metadata(name: str, value: Any, circumstances: Circumstances) -> dict[str, Any]:
    """Take a JSON object, also in a string."""
    found = value
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            found = None
    is_dict = isinstance(found, dict)
    if not is_dict:
        raise ValueError(f"{name} must be a dict of JSON, not {_shown(value)}")
    check_json(name, found, skip=circumstances.skip, max_size=MAX_METADATA_SIZE)
    return dict(found)


def key(name: str, value: Any, circumstances: Circumstances) -> str:
    """Take an idempotency key, but none of dots only, which could not be reset (measured)."""
    found = text(name, value, circumstances)
    if found.strip().lower() in ("none", "null"):
        why = "a template that finds nothing renders to this, and all tasks with this key would share one run"
        raise ValueError(f"{name} must not be {_shown(value)}: {why}")
    if _length(found) > MAX_KEY_LENGTH or not found.strip("."):
        what = f"a string of 1 to {MAX_KEY_LENGTH} characters, not of dots only"
        raise ValueError(f"{name} must be {what}, not {_shown(value)}")
    return found


def _check_tag(name: str, tag: Any) -> None:
    is_text = isinstance(tag, str) and bool(tag.strip())
    if not is_text or _length(tag) > MAX_TAG_LENGTH or "," in tag:
        # A comma separates tags where runs are listed: such a tag finds nothing (measured).
        what = f"a string of 1 to {MAX_TAG_LENGTH} characters without a comma"
        raise ValueError(f"{name} must be {what}, not {_shown(tag)}")
    _encodable(name, tag)


def _encodable(name: str, value: str) -> str:
    if not is_encodable(value):
        raise ValueError(f"{name} must not have a lone surrogate, which cannot be encoded: {_shown(value)}")
    return value


def _is_duration(value: str) -> bool:
    """Return whether a string is a duration above 0."""
    return bool(read_duration_text(value))


def _read_time(value: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
        if not isinstance(time, datetime):
            return None
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):  # in UTC, it may be before the year 1 or after 9999
        return None


def _length(value: str) -> int:
    """Return the length as the server counts it, in units of UTF-16."""
    return len(value.encode("utf-16-le", "surrogatepass")) // 2


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _MAX_SHOWN_LENGTH else f"{shown[:_MAX_SHOWN_LENGTH]}…"
