"""One request in progress, and what can be done with it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """
    One request, which a fault may keep from its answer.

    :param target: its path and query, as sent
    :param handle: lets the request take effect and returns its correct answer; ``stale=True`` reads a replica
        that has not seen any cancel yet
    :param stopped: waits until the server stops
    """

    request: Request
    target: str
    handle: Callable[..., Response]
    stopped: Callable[[], Awaitable[None]]


# Returns what to answer, None for closing the connection without a byte.
Responder = Callable[[PendingRequest], Awaitable[Response | None]]
