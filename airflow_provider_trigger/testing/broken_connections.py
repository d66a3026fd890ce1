"""Faults of the connection: answers that come late, in part, without end, or not at all."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from .answers import CutShort, huge_answer
from .faults import Exchange, FaultMenu


class BrokenConnections(FaultMenu):
    """What can go wrong with the connection, one method a fault; see :class:`FaultMenu` for ``path``."""

    def delay_next(
        self,
        times: int | None = 1,
        seconds: float = 1.0,
        *,
        path: str | None = None,
        method: str | None = None,
        after_handling: bool = True,
    ) -> None:
        """
        Answer late, and then faithfully or as the next fault that fits wants.

        :param times: how many requests
        :param seconds: how late
        :param path: which paths
        :param method: which method
        :param after_handling: let the request take effect at once, else only after the delay
        """

        async def act(exchange: Exchange) -> Response | None:
            response = await exchange.follow() if after_handling else None
            await asyncio.sleep(seconds)
            return response if after_handling else await exchange.follow()

        self._add(act, times, path, method)

    def hang_up_next(
        self,
        times: int | None = 1,
        *,
        path: str | None = None,
        method: str | None = None,
        after_handling: bool = True,
    ) -> None:
        """
        Cut the connection without a byte of an answer.

        :param times: how many requests
        :param path: which paths
        :param method: which method
        :param after_handling: let the request take effect before
        """

        async def act(exchange: Exchange) -> None:
            if after_handling:
                exchange.handle()

        self._add(act, times, path, method)

    def never_answer_next(
        self,
        times: int | None = 1,
        *,
        path: str | None = None,
        method: str | None = None,
        after_handling: bool = False,
    ) -> None:
        """
        Accept the request and hold its connection open, until the client or the server gives up.

        :param times: how many requests
        :param path: which paths
        :param method: which method
        :param after_handling: let the request take effect before
        """

        async def act(exchange: Exchange) -> None:
            if after_handling:
                exchange.handle()
            await exchange.stopped()

        self._add(act, times, path, method)

    def cut_short_next(
        self, times: int | None = 1, *, path: str | None = None, method: str | None = None
    ) -> None:
        """
        Send the faithful answer's headers and half of its body, then cut the connection.

        :param times: how many requests
        :param path: which paths
        :param method: which method
        """

        async def act(exchange: Exchange) -> Response:
            whole = exchange.handle()
            return CutShort(whole.body, status_code=whole.status_code, headers=dict(whole.headers))

        self._add(act, times, path, method)

    def huge_next(
        self,
        times: int | None = 1,
        size: int = 100_000_000,
        *,
        path: str | None = None,
        method: str | None = None,
    ) -> None:
        """
        Answer 200 with an enormous piece of JSON, sent bit by bit without a Content-Length.

        :param times: how many requests
        :param size: how many bytes, roughly
        :param path: which paths
        :param method: which method
        """

        async def act(exchange: Exchange) -> Response:
            exchange.handle()
            return huge_answer(size)

        self._add(act, times, path, method)
