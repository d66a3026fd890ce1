"""Faults of the connection: answers that come late, in part, without end, or not at all."""

from __future__ import annotations

import asyncio
from typing import Unpack

from starlette.responses import Response

from ..http.answers import TruncatedResponse, oversize_answer
from ..http.pending_request import PendingRequest, Responder
from .methods import FaultMethods
from .queue import RequestFilter


class ConnectionFaults(FaultMethods):
    """What can go wrong with the connection, one method a fault; see :class:`FaultMethods`."""

    def delay_next(
        self,
        times: int | None = 1,
        seconds: float = 1.0,
        *,
        after_handling: bool = True,
        **requests: Unpack[RequestFilter],
    ) -> None:
        """
        Answer late, and then correctly or as the next fault that applies wants.

        :param seconds: how late
        :param after_handling: let the request take effect at once, else only after the delay
        """

        async def act(pending: PendingRequest, follow: Responder) -> Response | None:
            response = await follow(pending) if after_handling else None
            await asyncio.sleep(seconds)
            return response if after_handling else await follow(pending)

        self._add(times, requests, act)

    def disconnect_next(
        self, times: int | None = 1, *, after_handling: bool = True, **requests: Unpack[RequestFilter]
    ) -> None:
        """
        Close the connection without a byte of an answer.

        :param after_handling: let the request take effect before
        """

        async def act(pending: PendingRequest, follow: Responder) -> None:
            if after_handling:
                pending.handle()

        self._add(times, requests, act)

    def hang_next(
        self, times: int | None = 1, *, after_handling: bool = False, **requests: Unpack[RequestFilter]
    ) -> None:
        """
        Accept the request and never answer; its connection stays open until one of the two sides closes it.

        :param after_handling: let the request take effect before
        """

        async def act(pending: PendingRequest, follow: Responder) -> None:
            if after_handling:
                pending.handle()
            await pending.stopped()

        self._add(times, requests, act)

    def truncate_next(self, times: int | None = 1, **requests: Unpack[RequestFilter]) -> None:
        """Send the correct answer's headers and half of its body, then close the connection."""

        def answer(pending: PendingRequest) -> Response:
            whole = pending.handle()
            return TruncatedResponse(whole.body, status_code=whole.status_code, headers=dict(whole.headers))

        self._answer(times, requests, answer)

    def oversize_next(
        self, times: int | None = 1, size: int = 100_000_000, **requests: Unpack[RequestFilter]
    ) -> None:
        """
        Answer 200 with enormous JSON, sent in pieces without a Content-Length; the request takes effect.

        :param size: how many bytes, roughly
        """
        self._answer(times, requests, lambda pending: oversize_answer(size), after_handling=True)
