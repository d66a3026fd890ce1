"""Long texts that were shortened when they were recorded: as they were sent, and how to compare with them."""

from __future__ import annotations

import re
from typing import Any

# Such as "xxxxx…<500000 characters>", of one character that was repeated.
_TEXT = re.compile(r"(?s)(.*?)(?:…|\.\.\.) ?[<(](\d+) (?:characters|bytes total)[>)]")
_LIST = re.compile(r"…<(\d+) in all>")


def as_sent(value: Any) -> Any:
    """Return a piece of JSON with its shortened texts in full."""
    if isinstance(value, dict):
        return {key: as_sent(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_sent(item) for item in value]
    match = _TEXT.fullmatch(value) if isinstance(value, str) else None
    return match[1][0] * int(match[2]) if match else value


def body_as_sent(text: str) -> str:
    """Return the body of a request in full: JSON that ends in its longest text."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return text
    end = '"' + "}" * (match[1].count("{") - match[1].count("}"))
    return match[1] + match[1][-1] * (int(match[2]) - len(match[1]) - len(end)) + end


def is_short_for(recorded: Any, ours: Any) -> bool | None:
    """Return whether a shortened text or list stands for ours; None for one that wasn't shortened."""
    if isinstance(recorded, list) and recorded and (match := _LIST.fullmatch(str(recorded[-1]))):
        return len(ours) == int(match[1])
    if isinstance(recorded, str) and (match := _TEXT.fullmatch(recorded)):
        return len(ours) == int(match[2]) and ours.startswith(match[1])
    return None
