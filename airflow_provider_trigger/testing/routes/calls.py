"""A call: a path of the API, and a request to it as the function that answers it sees it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from ..engine.environments import Environment

MODERN_VERSION = "2025-07-16"
READING = ("GET", "HEAD")
_KINDS = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}


@dataclass(frozen=True, slots=True)
class Call:
    """A request as its handler sees it; ``at_once`` counts those to its path in progress, with this one."""

    request: Request
    environment: Environment
    path_id: str = ""
    body: bytes = field(default=b"", repr=False)
    stale: bool = False
    at_once: int = 1

    @property
    def modern(self) -> bool:
        """Return whether the client named the modern API version, and so gets the modern status words."""
        return self.request.headers.get("x-trigger-api-version") == MODERN_VERSION


Handler = Callable[[Call], Response]


class _Owned(Protocol):
    environment: Environment


Item = TypeVar("Item", bound=_Owned)


def find_in(items: Mapping[str, Item], call: Call) -> Item | None:
    """Return what a call's path names, ``None`` if there is no such thing in the environment of its key."""
    item = items.get(call.path_id)
    return item if item is not None and item.environment == call.environment else None


@dataclass(frozen=True, slots=True)
class Route:
    """A path, and what it does for a reading and for a changing method."""

    path: re.Pattern[str]
    load: Handler | None = None
    act: Handler | None = None  # POST, PUT, PATCH and DELETE, which the real server treats alike
    accepts_tokens: bool = True  # public access tokens, as its answer to an invalid one shows


class InvalidBodyError(ValueError):
    """An invalid body; its text is the answer's."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def read_json(body: bytes) -> Any:
    """Return the JSON of a body."""
    if not body:
        raise InvalidBodyError("Request body is empty")
    try:
        return json.loads(body)
    except ValueError:
        raise InvalidBodyError("Invalid JSON") from None


def kind_of(given: Any) -> str:
    """Return the server's word for a JSON value's type."""
    return _KINDS.get(type(given), "null")
