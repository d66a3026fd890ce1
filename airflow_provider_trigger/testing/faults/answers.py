"""Faults of the answer: errors, redirects, limits, and what no Trigger.dev server sends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Unpack
from urllib.parse import unquote

from starlette.responses import Response

from ..engine import constants
from ..engine.token_buckets import Take
from ..http import answers
from ..http.pending_request import PendingRequest
from .methods import FaultMethods
from .queue import RequestFilter

_RUN_IN_PATH = re.compile(r"/api/v3/runs/([^/?]+)")


class AnswerFaults(FaultMethods):
    """What can go wrong with the answer, one method a fault; see :class:`FaultMethods`."""

    def fail_next(
        self,
        times: int | None = 1,
        status: int = 500,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        after_handling: bool = False,
        **requests: Unpack[RequestFilter],
    ) -> None:
        """
        Answer with an error; the request has no effect, and costs no token.

        :param status: the status code
        :param body: what to send: a string as it is, anything else as JSON; by default ``{"error": …}``
        :param headers: further headers
        :param after_handling: let the request take effect nevertheless
        """
        # A run that is not there has the real server's words.
        text = "Not found" if status == 404 else f"Simulated error {status}"
        shown = {"error": text} if body is None else body

        def answer(pending: PendingRequest) -> Response:
            if isinstance(shown, str):
                return answers.plain_answer(shown, answers.TEXT, status=status, headers=headers)
            return answers.json_answer(shown, status=status, headers=headers)

        self._answer(times, requests, answer, after_handling=after_handling)

    def rate_limit_next(
        self, times: int | None = 1, reset_after: float = 3.0, **requests: Unpack[RequestFilter]
    ) -> None:
        """
        Answer 429 exactly as an empty bucket does; the real bucket stays as it is.

        :param reset_after: the seconds from the answer to the reset that it announces
        """
        limit = constants.RATE_LIMIT if self.rate_limit is None else self.rate_limit

        def answer(pending: PendingRequest) -> Response:
            now = self.clock()
            take = Take(limit=limit, remaining=-1, reset=int((now + reset_after) * 1000))
            return answers.too_many_requests(take, now=now)

        self._answer(times, requests, answer)

    def malformed_next(
        self,
        times: int | None = 1,
        body: str | bytes = answers.PAGE % "Down for maintenance",
        content_type: str = answers.HTML,
        *,
        status: int = 200,
        after_handling: bool = False,
        **requests: Unpack[RequestFilter],
    ) -> None:
        """
        Answer with what no Trigger.dev server sends, by default a maintenance page with status 200.

        :param body: what to send
        :param content_type: its content type
        :param status: the status code
        :param after_handling: let the request take effect nevertheless
        """
        self._answer(
            times,
            requests,
            lambda pending: answers.plain_answer(body, content_type, status=status),
            after_handling=after_handling,
        )

    def redirect_next(
        self,
        times: int | None = 1,
        location: str = "https://example.com/",
        *,
        status: int = 302,
        **requests: Unpack[RequestFilter],
    ) -> None:
        """
        Redirect elsewhere.

        :param location: where to
        :param status: the status code
        """
        self._answer(times, requests, lambda pending: answers.moved(location, status=status))

    def echo_key_next(
        self, times: int | None = 1, status: int = 500, **requests: Unpack[RequestFilter]
    ) -> None:
        """
        Answer with an error whose text repeats the Authorization header, as a careless proxy does.

        :param status: the status code
        """

        def answer(pending: PendingRequest) -> Response:
            authorization = pending.request.headers.get("authorization", "")
            return answers.error_answer(f"Rejected Authorization: {authorization}", status=status)

        self._answer(times, requests, answer)

    def stale_next(self, times: int | None = 1, *, path: str | None = None) -> None:
        """
        Let a retrieve of a canceled run show what it was before the cancel, as a replica that lags behind.

        Only GETs of runs that have been canceled count.

        :param path: which of them, see :class:`RequestFilter`
        """
        requests: RequestFilter = {"path": path, "method": "GET"}
        self._answer(times, requests, lambda pending: pending.handle(stale=True), only_if=self._was_canceled)

    def _was_canceled(self, target: str) -> bool:
        match = _RUN_IN_PATH.match(target)
        run = self.runs.get(unquote(match.group(1))) if match else None
        return run is not None and run.before_cancel is not None
