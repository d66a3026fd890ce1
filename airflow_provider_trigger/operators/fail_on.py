"""When a task with many runs fails, by how many of them did not complete. Pure."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

from airflow_provider_trigger.durations import read_number
from airflow_provider_trigger.rules import Circumstances, invalid

FailOn = Literal["any", "all", "never"] | int | str
"""A number of failed runs, at most all that there are, or a share of all runs, such as ``"10%"``."""

_WORDS = ("any", "all", "never")
_WHAT = "'any', 'all', 'never', a whole number of runs, 1 or more, or a share above 0% and below 100%"


def is_threshold(fail_on: FailOn) -> bool:
    """Return whether it is a number or a share."""
    return fail_on not in _WORDS


def is_failure(fail_on: FailOn, *, failed: int, count: int) -> bool:
    """Return whether the task fails where so many of all runs have failed; it does not where none has."""
    if fail_on == "never":
        return False
    if isinstance(fail_on, int):
        return failed >= max(1, min(fail_on, count))
    if fail_on == "all":
        return 0 < failed == count
    return failed > (0 if fail_on == "any" else _share(fail_on) * count)


def fail_on_rule(name: str, value: Any, _: Circumstances) -> Any:
    """Take one of the words, a number or a share."""
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    is_share = isinstance(value, str) and value.endswith("%") and read_number(value[:-1]) is not None
    if value in _WORDS or is_number or (is_share and 0 < _share(value) < 1):
        return value
    raise invalid(name, _WHAT, value)


def _share(text: str) -> Fraction:
    return Fraction(text[:-1].strip()) / 100
