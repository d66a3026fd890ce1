"""Ids, formed as Trigger.dev's are."""

from __future__ import annotations

import itertools
import random

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_counter = itertools.count()


def new_span_id() -> str:
    """Return the id of a span, or of a line in a log."""
    return f"{random.getrandbits(64):016x}"


def new_id(prefix: str) -> str:
    """
    Return an id that nothing else has; later ones sort behind.

    :param prefix: what it begins with: ``run``, ``batch`` or ``bulk``
    """
    number, tail = next(_counter), ""
    for _ in range(6):
        number, digit = divmod(number, 36)
        tail = _DIGITS[digit] + tail
    return f"{prefix}_cmlocal{tail}{''.join(random.choices(_DIGITS, k=12))}"
