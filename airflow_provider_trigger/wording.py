"""Texts that several messages are made of. Imports nothing of the package."""

from __future__ import annotations

from collections.abc import Iterable

MAX_NAMED = 10
"""How many items an enumeration shows."""

MAX_LINES = 100
"""How many lines of one kind a log gets."""


def counted(count: int, name: str) -> str:
    """Return a number with the name of what is counted, such as ``1 run`` and ``2 runs``."""
    return f"{count} {name}{'s' * (count != 1)}"


def enumeration(items: Iterable[object], separator: str = ", ") -> str:
    """Return the first few items, and how many more there are."""
    texts = [str(item) for item in items]
    more = f" … and {len(texts) - MAX_NAMED} more" if len(texts) > MAX_NAMED else ""
    return separator.join(texts[:MAX_NAMED]) + more
