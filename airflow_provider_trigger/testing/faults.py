"""Faults: what the next matching requests meet instead of a faithful answer, and how they are kept."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response


@dataclass(frozen=True, slots=True)
class Exchange:
    """
    One request, in the hands of a fault.

    :param request: the request, its body read
    :param handle: answers it faithfully and lets it take effect; ``stale=True`` reads a replica that lags
    :param follow: answers it as the next fault that matches wants, faithfully if there is none
    :param stopped: waits until the server stops
    """

    request: Request
    handle: Callable[..., Response]
    follow: Callable[[], Awaitable[Response | None]]
    stopped: Callable[[], Awaitable[None]]


# Returns what to answer, None for cutting the connection without a byte.
Action = Callable[[Exchange], Awaitable[Response | None]]


@dataclass(slots=True, eq=False)
class Fault:
    """
    Something that goes wrong, and for which requests.

    :param action: what happens
    :param times: how many requests it still meets, ``None`` for all
    :param path: which paths, see :meth:`matches`; ``None`` for all
    :param method: which method, ``None`` for all
    :param only_if: a further condition on the request's target
    """

    action: Action
    times: int | None = 1
    path: str | None = None
    method: str | None = None
    only_if: Callable[[str], bool] | None = None

    def matches(self, method: str, target: str) -> bool:
        """
        Tell whether it meets a request.

        :param method: the request's method
        :param target: its path and query, as sent; a ``path`` with a ``*`` is an fnmatch pattern for all of
            it, any other may stand anywhere in it
        """
        if self.method is not None and self.method.upper() != method:
            return False
        if self.path is not None:
            if "*" in self.path and not fnmatch.fnmatchcase(target, self.path):
                return False
            if "*" not in self.path and self.path not in target:
                return False
        return self.only_if is None or self.only_if(target)


class Faults:
    """All faults still to come, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Add a fault behind the others."""
        if fault.times is not None and fault.times < 1:
            return
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def take(self, method: str, target: str, *, met: Collection[Fault] = ()) -> Fault | None:
        """
        Return the fault that a request meets, and count it; ``None`` if it meets none.

        :param method: the request's method
        :param target: its path and query, as sent
        :param met: those it has met already
        """
        if not self._faults:
            return None
        with self._lock:
            for fault in self._faults:
                if fault not in met and fault.matches(method, target):
                    self._count(fault)
                    return fault
        return None

    def _count(self, fault: Fault) -> None:
        if fault.times is None:
            return
        fault.times -= 1
        if fault.times <= 0:
            self._faults.remove(fault)


class FaultMenu:
    """
    The base of all that can be asked to go wrong.

    A request meets the first fault that fits it, in the order in which they were asked for; only a delay lets
    the next one follow. All of them take the same three parameters:

    - ``times``: how many requests to meet; ``None`` for all until :meth:`clear_faults`
    - ``path``: any text of the path and query as sent; with a ``*`` in it, an fnmatch pattern for the whole;
      ``None`` for any
    - ``method``: the method; ``None`` for all
    """

    def __init__(self) -> None:
        self._faults = Faults()

    def clear_faults(self) -> None:
        """Forget all faults that are still to come; requests that are being held stay held."""
        self._faults.clear()

    def _add(
        self,
        act: Action,
        times: int | None,
        path: str | None,
        method: str | None,
        only_if: Callable[[str], bool] | None = None,
    ) -> None:
        self._faults.add(Fault(action=act, times=times, path=path, method=method, only_if=only_if))
