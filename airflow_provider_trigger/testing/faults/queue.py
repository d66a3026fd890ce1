"""What goes wrong, for which requests, and in which order."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TypedDict

from starlette.responses import Response

from ..http.pending_request import PendingRequest, Responder

# What a fault does with a request. The second argument answers it as the next fault that applies wants,
# correctly if there is none. Returns what to answer, None for closing the connection without a byte.
Action = Callable[[PendingRequest, Responder], Awaitable[Response | None]]


class RequestFilter(TypedDict, total=False):
    """
    Which requests a fault applies to. Every fault method takes these keyword arguments.

    :param path: any part of the path and query as sent; with a ``*`` in it, an fnmatch pattern for all of
        it; ``None``, the default, for any
    :param method: the HTTP method; ``None``, the default, for all
    """

    path: str | None
    method: str | None


@dataclass(slots=True, eq=False)
class Fault:
    """
    Something that goes wrong, and for which requests.

    :param action: what happens
    :param times: how many requests it still applies to, ``None`` for all
    :param path: see :class:`RequestFilter`
    :param method: see :class:`RequestFilter`
    :param only_if: a further condition on the request's target
    """

    action: Action
    times: int | None = 1
    path: str | None = None
    method: str | None = None
    only_if: Callable[[str], bool] | None = None

    def matches(self, method: str, target: str) -> bool:
        """Return whether it applies to a request."""
        if self.method is not None and self.method.upper() != method:
            return False
        if self.path is not None:
            if "*" in self.path and not fnmatch.fnmatchcase(target, self.path):
                return False
            if "*" not in self.path and self.path not in target:
                return False
        return self.only_if is None or self.only_if(target)


class FaultQueue:
    """All faults still to come, in the order in which they were added."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._faults)

    def add(self, fault: Fault) -> None:
        """
        Add a fault behind the others.

        :param fault: the fault; one for no request is left out
        """
        if fault.times is not None and fault.times < 1:
            return
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    async def respond(self, pending: PendingRequest, *, applied: Collection[Fault] = ()) -> Response | None:
        """Answer a request as the first fault that applies to it wants, correctly if there is none."""
        fault = self.take(pending.request.method, pending.target, applied=applied)
        if fault is None:
            return pending.handle()
        return await fault.action(pending, lambda pending: self.respond(pending, applied=[*applied, fault]))

    def take(self, method: str, target: str, *, applied: Collection[Fault] = ()) -> Fault | None:
        """Return the first fault that applies to a request, and count it; ``None`` if there is none."""
        if not self._faults:
            return None
        with self._lock:
            for fault in self._faults:
                if fault not in applied and fault.matches(method, target):
                    self._count(fault)
                    return fault
        return None

    def _count(self, fault: Fault) -> None:
        if fault.times is None:
            return
        fault.times -= 1
        if fault.times <= 0:
            self._faults.remove(fault)
