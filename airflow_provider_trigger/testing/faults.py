"""What goes wrong with requests: the fault methods, and the queue in which faults wait for theirs."""

from __future__ import annotations

import asyncio
import fnmatch
import re
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from . import answers
from .answers import TruncatedResponse, oversize_answer
from .engine import settings
from .engine.environments import Take
from .engine.runs import ServerRun

_RUN_IN_PATH = re.compile(r"/api/v3/runs/([^/?]+)")


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A request that a fault may keep from its answer; ``handle(stale=True)`` has not seen any cancel."""

    request: Request
    target: str
    handle: Callable[..., Response]
    stopped: Callable[[], Awaitable[None]]


# Returns what to answer, None for closing the connection without a byte.
Responder = Callable[[PendingRequest], Awaitable[Response | None]]


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
    """Something that goes wrong, and for which requests."""

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
        """Add a fault behind the others."""
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


class FaultMethods:
    """The base of all fault methods, see :class:`TriggerDevServer`, and what they need of the server."""

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
        limit = settings.RATE_LIMIT if self.rate_limit is None else self.rate_limit

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
