"""What a call is: a path of the API, and a request to it as the function that answers sees it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from .environments import Environment

MODERN_VERSION = "2025-07-16"
READING = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Call:
    """
    A request, as the function that answers it sees it.

    :param request: the request
    :param environment: the environment of its key
    :param path_id: the id in its path, decoded; empty where the path has none
    :param body: its body
    :param stale: whether to read from a replica that hasn't seen any cancel yet
    """

    request: Request
    environment: Environment
    path_id: str = ""
    body: bytes = field(default=b"", repr=False)
    stale: bool = False

    @property
    def modern(self) -> bool:
        """Tell whether the client asked for the modern status words."""
        return self.request.headers.get("x-trigger-api-version") == MODERN_VERSION


Handler = Callable[[Call], Response]


@dataclass(frozen=True, slots=True)
class Route:
    """
    A path, and what it does for a reading and for a changing method.

    :param path: what the whole raw path has to match
    :param load: answers GET and HEAD
    :param act: answers POST, PUT, PATCH and DELETE, which are all the same to the real server
    :param takes_tokens: whether it takes public access tokens, which shows in how it refuses a bad one
    """

    path: re.Pattern[str]
    load: Handler | None = None
    act: Handler | None = None
    takes_tokens: bool = True
