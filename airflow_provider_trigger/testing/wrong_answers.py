"""Faults of the answer: errors, redirects, limits, and what no Trigger.dev server says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from starlette.responses import Response

from . import answers
from .faults import Exchange, FaultMenu
from .rate_limit import Take
from .runs import Run

_RUN_IN_PATH = re.compile(r"/api/v3/runs/([^/?]+)")


class WrongAnswers(FaultMenu):
    """
    What can go wrong with the answer, one method a fault; see :class:`FaultMenu` for ``path``.

    :param runs: the server's runs, by id
    :param rate_limit: the limit that a 429 names
    :param clock: tells the time, in seconds since 1970
    """

    def __init__(
        self, *, runs: Mapping[str, Run], rate_limit: int | None, clock: Callable[[], float]
    ) -> None:
        super().__init__()
        self._all_runs = runs
        self._now = clock
        self._named_limit = 750 if rate_limit is None else rate_limit

    def fail_next(
        self,
        times: int | None = 1,
        status: int = 500,
        *,
        path: str | None = None,
        method: str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        after_handling: bool = False,
    ) -> None:
        """
        Answer with an error; the request has no effect, and costs no token.

        :param times: how many requests
        :param status: the status code
        :param path: which paths
        :param method: which method
        :param body: what to send: a string as it is, anything else as JSON; by default ``{"error": …}``
        :param headers: further headers
        :param after_handling: let the request take effect nevertheless
        """
        text = "Not found" if status == 404 else f"Asked to fail with {status}"  # as the API says it of a run
        shown = {"error": text} if body is None else body

        async def act(exchange: Exchange) -> Response:
            if after_handling:
                exchange.handle()
            if isinstance(shown, str):
                return _text(shown, answers.TEXT, status=status, headers=headers)
            return answers.json_answer(shown, status=status, headers=headers)

        self._add(act, times, path, method)

    def rate_limit_next(
        self,
        times: int | None = 1,
        reset_after: float = 3.0,
        *,
        path: str | None = None,
        method: str | None = None,
    ) -> None:
        """
        Answer 429 exactly as an empty bucket does; the real bucket stays as it is.

        :param times: how many requests
        :param reset_after: the seconds from the answer to the reset that it announces
        :param path: which paths
        :param method: which method
        """

        async def act(exchange: Exchange) -> Response:
            now = self._now()
            take = Take(limit=self._named_limit, remaining=-1, reset=int((now + reset_after) * 1000))
            return answers.too_many_requests(take, now=now)

        self._add(act, times, path, method)

    def garbage_next(
        self,
        times: int | None = 1,
        body: str | bytes = answers.PAGE % "Welcome",
        content_type: str = answers.HTML,
        *,
        path: str | None = None,
        method: str | None = None,
        status: int = 200,
        after_handling: bool = False,
    ) -> None:
        """
        Answer something that no Trigger.dev server says, a page for people by default.

        :param times: how many requests
        :param body: what to send
        :param content_type: its content type
        :param path: which paths
        :param method: which method
        :param status: the status code
        :param after_handling: let the request take effect nevertheless
        """

        async def act(exchange: Exchange) -> Response:
            if after_handling:
                exchange.handle()
            return _text(body, content_type, status=status)

        self._add(act, times, path, method)

    def redirect_next(
        self,
        times: int | None = 1,
        location: str = "https://example.com/",
        *,
        path: str | None = None,
        method: str | None = None,
        status: int = 302,
    ) -> None:
        """
        Redirect elsewhere.

        :param times: how many requests
        :param location: where to
        :param path: which paths
        :param method: which method
        :param status: the status code
        """

        async def act(exchange: Exchange) -> Response:
            return answers.moved(location, status=status)

        self._add(act, times, path, method)

    def echo_key_next(
        self,
        times: int | None = 1,
        status: int = 500,
        *,
        path: str | None = None,
        method: str | None = None,
    ) -> None:
        """
        Answer with an error whose text repeats the Authorization header, as a careless proxy does.

        :param times: how many requests
        :param status: the status code
        :param path: which paths
        :param method: which method
        """

        async def act(exchange: Exchange) -> Response:
            authorization = exchange.request.headers.get("authorization", "")
            return answers.error_answer(f"Refused Authorization: {authorization}", status=status)

        self._add(act, times, path, method)

    def stale_next(self, times: int | None = 1, *, path: str | None = None) -> None:
        """
        Let a retrieve of a canceled run show what it was before the cancel, as a replica that lags behind.

        :param times: how many retrieves of runs that have been canceled; others don't count
        :param path: which paths
        """

        async def act(exchange: Exchange) -> Response:
            return exchange.handle(stale=True)

        self._add(act, times, path, "GET", only_if=self._was_canceled)

    def _was_canceled(self, target: str) -> bool:
        match = _RUN_IN_PATH.match(target)
        run = self._all_runs.get(unquote(match.group(1))) if match else None
        return run is not None and run.before_cancel is not None


def _text(
    body: str | bytes, content_type: str, *, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(body, status_code=status, headers={"content-type": content_type, **(headers or {})})
