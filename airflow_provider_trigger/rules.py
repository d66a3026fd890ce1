"""Rules of arguments: each checks a value and returns it as it is used, or raises a ValueError. Pure."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

# The text that Jinja makes of the outputs of a mapped task if it does not render natively. The word has a
# limit: without one, a search takes the square of a text's length.
SEQUENCE_TEXT = re.compile(r"Lazy\w{0,30}Sequence\((?:\[\d+ items?\]|<unevaluated length>)\)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """What a rule needs to know besides the value."""

    # Whether a value, or a part of it, is not known yet, such as a template. It is then not checked.
    skip: Callable[[object], bool] = lambda value: False
    is_rendered: bool = False  # a native Dag may have made a number of a text


AS_GIVEN = Circumstances()
RENDERED = Circumstances(is_rendered=True)

Rule = Callable[[str, Any, Circumstances], Any]
"""Takes the argument's name, for the message, and a value."""


def checked(
    rules: Mapping[str, Rule], values: Mapping[str, Any], when: Circumstances = AS_GIVEN
) -> dict[str, Any]:
    """Return arguments as their rules do; those that are not known yet are left out."""
    return {name: rules[name](name, value, when) for name, value in values.items() if not when.skip(value)}


def checked_given(
    rules: Mapping[str, Rule], values: Mapping[str, Any], when: Circumstances = AS_GIVEN
) -> dict[str, Any]:
    """Return the same of those arguments that are not None."""
    return checked(rules, {name: value for name, value in values.items() if value is not None}, when)


@contextmanager
def naming(owner: str, kind: type[Exception] = ValueError) -> Iterator[None]:
    """Let the error of an invalid argument begin with whose it is."""
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise kind(f"{owner}: {error}") from None


def invalid(name: str, what: str, value: object) -> ValueError:
    """Return the error for a value."""
    return ValueError(f"{name} must be {what}, not {shown(value)}")


def shown(value: object) -> str:
    """Return how a message shows a value: 100 characters of it."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def optional(rule: Rule) -> Rule:
    """Return a rule that takes None, too."""
    return lambda name, value, when: None if value is None else rule(name, value, when)


def boolean(name: str, value: Any, _: Circumstances) -> bool:
    """Take True or False."""
    if value is not True and value is not False:
        raise invalid(name, "True or False", value)
    return bool(value)


def number(unit: str, *, least: float, whole: bool = False) -> Rule:
    """Return a rule that takes a number of some unit, also in a text, as a template gives it."""
    kind = "whole number" if whole else "number"

    def check(name: str, value: Any, _: Circumstances) -> float:
        found = read_number(value)
        if found is None or found < least or (whole and found != int(found)):
            raise invalid(name, f"a {kind} of {unit}, {least:g} or more", value)
        return int(found) if whole else found

    return check


def duration(*, least: float) -> Rule:
    """Return a rule that takes seconds, a timedelta or a text, and returns seconds."""
    what = f"a duration of {least:g} s or more: seconds, a timedelta, or a text such as '5m'"

    def check(name: str, value: Any, _: Circumstances) -> float:
        seconds = read_duration(value)
        if seconds is None or seconds < least:
            raise invalid(name, what, value)
        return float(seconds)

    return check


def choice(*words: str) -> Rule:
    """Return a rule that takes one of some words."""
    what = f"one of {', '.join(words)}" if len(words) > 3 else " or ".join(map(repr, words))

    def check(name: str, value: Any, _: Circumstances) -> Any:
        if value not in words:
            raise invalid(name, what, value)
        return value

    return check


def list_of(kind: str, words: Collection[str]) -> Rule:
    """Return a rule that takes a list of some words, in any number."""

    def check(name: str, value: Any, _: Circumstances) -> Any:
        if not isinstance(value, (list, tuple)) or not all(
            isinstance(item, str) and item in words for item in value
        ):
            raise invalid(name, f"a list of {kind} ({', '.join(sorted(words))})", value)
        return value

    return check


def text(what: str = "a string that is not empty") -> Rule:
    """Return a rule that takes any text but a blank one."""

    def check(name: str, value: Any, when: Circumstances) -> str:
        if when.is_rendered and type(value) is float:  # of 1.10 and 1.1, a native Dag makes the same
            how = "in quotes, or with render_template_as_native_obj=True as '{{ … | tojson }}'"
            raise ValueError(f"{name} must be a text, not {value!r}, which may lack a digit: write it {how}")
        found = str(value) if when.is_rendered and type(value) is int else value
        if not isinstance(found, str) or not found.strip():
            raise invalid(name, what, value)
        if not is_encodable(found):
            raise invalid(name, "a text that can be encoded, without a lone surrogate", value)
        return found

    return check


connection_id = text("the id of a connection")

_WORD = "a string that is not empty, without a comma"
_word = text(_WORD)


def word(name: str, value: Any, when: Circumstances) -> str:
    """Take a text by which runs can be listed: there a comma separates two (measured)."""
    found: str = _word(name, value, when)
    if "," in found:
        how = "; for a list, use a task's .output, or render_template_as_native_obj=True"
        raise ValueError(f"{invalid(name, _WORD, value)}{how if when.is_rendered else ''}")
    return found


def read_literal(text: str) -> object:
    """Read what Jinja makes of a list, a dict or a quoted text, or JSON; ValueError if it is neither."""
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("neither JSON nor a Python literal") from None


def read_list(value: object) -> object:
    """Return the list that a text or a set stands for, any other value as it is."""
    if isinstance(value, str):
        with suppress(ValueError):  # a tag may begin with a bracket
            found = read_literal(value) if value.strip().startswith(("[", "(")) else value
            if isinstance(found, (list, tuple)):
                return found
        return [value]
    return sorted(value, key=str) if isinstance(value, (set, frozenset)) else value


def is_encodable(text: str) -> bool:
    """Return whether a text has no lone surrogate, which cannot be encoded."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


Duration = float | str | timedelta
"""Seconds, a timedelta, or a text such as ``"5m"``."""

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_TEXT = re.compile("".join(rf"(?:(\d{{1,9}}){unit})?" for unit in _UNITS), re.ASCII)
_NUMBER = re.compile(r"\d{1,300}(?:\.\d{1,300})?", re.ASCII)


def read_duration(value: object) -> float | None:
    """Return the seconds of a timedelta, a number, or a text such as ``1h30m``; None if it is none."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    match = _TEXT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or not any(match.groups()):
        return read_number(value)
    return sum(int(part or 0) * unit for part, unit in zip(match.groups(), _UNITS.values(), strict=True))


def read_number(value: object) -> float | None:
    """Return a finite number that fits a float, also of a text without a sign; None if the value is none."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value) if "." in value else int(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and abs(value) <= sys.float_info.max else None  # type: ignore[arg-type,return-value]
