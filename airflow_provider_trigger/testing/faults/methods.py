"""What all fault methods share."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response

from ..engine.runs import ServerRun
from ..http.pending_request import PendingRequest, Responder
from .queue import Action, Fault, FaultQueue, RequestFilter


class FaultMethods:
    """
    The base of all fault methods, and what they need of the server.

    Every fault method takes ``times`` first: how many requests it applies to, ``None`` for all until
    :meth:`clear_faults`. The keyword arguments of :class:`RequestFilter` say to which requests. A request
    meets the first fault that applies to it, in the order in which they were added; only a delay lets the
    next one apply too.
    """

    runs: dict[str, ServerRun]
    rate_limit: int | None
    clock: Callable[[], float]
    _faults: FaultQueue

    def clear_faults(self) -> None:
        """Remove all faults that are still to come; a request that hangs stays so."""
        self._faults.clear()

    @property
    def pending_faults(self) -> int:
        """Return how many faults are still to come, so that a test can make sure that all were met."""
        return len(self._faults)

    def _add(
        self,
        times: int | None,
        requests: RequestFilter,
        action: Action,
        *,
        only_if: Callable[[str], bool] | None = None,
    ) -> None:
        self._faults.add(Fault(action=action, times=times, only_if=only_if, **requests))

    def _answer(
        self,
        times: int | None,
        requests: RequestFilter,
        answer: Callable[[PendingRequest], Response],
        *,
        after_handling: bool = False,
        only_if: Callable[[str], bool] | None = None,
    ) -> None:
        """Add a fault that only gives another answer."""

        async def act(pending: PendingRequest, follow: Responder) -> Response:
            if after_handling:
                pending.handle()
            return answer(pending)

        self._add(times, requests, act, only_if=only_if)
