"""What the calls with a JSON body share: reading it, and the error for an invalid one."""

from __future__ import annotations

import json
from typing import Any

_KINDS = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}


class InvalidBodyError(ValueError):
    """
    An invalid body; its text is the answer's.

    :param status: the answer's status code
    """

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def read_json(body: bytes) -> Any:
    """
    Return the JSON of a body.

    :raises InvalidBodyError: if it is empty or no JSON
    """
    if not body:
        raise InvalidBodyError("Request body is empty")
    try:
        return json.loads(body)
    except ValueError:
        raise InvalidBodyError("Invalid JSON") from None


def kind_of(given: Any) -> str:
    """Return the server's word for a JSON value's type."""
    return _KINDS.get(type(given), "null")
