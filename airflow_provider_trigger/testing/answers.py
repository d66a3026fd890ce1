"""The server's answers that are not a run: errors, redirects, pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from .engine.environments import Take
from .engine.packets import compact

JSON = "application/json; charset=utf-8"
PROBLEM = "application/problem+json; charset=utf-8"
HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"

_STATUS_PAGE = "https://developer.mozilla.org/en-US/docs/Web/HTTP/Status/"
PAGE = "<!DOCTYPE html><html><head><title>Trigger.dev</title></head><body><h1>%s</h1></body></html>"


class TruncatedResponse(Response):
    """A response that ends halfway, after a Content-Length for all of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the first half of the body and leave the answer open."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})


def json_answer(
    body: Any, *, status: int = 200, content_type: str = JSON, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a JSON answer."""
    return Response(
        compact(body), status_code=status, headers={**(headers or {}), "content-type": content_type}
    )


def error_answer(message: str, *, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Return the usual error, ``{"error": message}``."""
    return json_answer({"error": message}, status=status, headers=headers)


def html_answer(text: str, *, status: int) -> Response:
    """Return an HTML page, as the server answers what is not part of its API."""
    return plain_answer(PAGE % text, HTML, status=status)


def plain_answer(
    body: str | bytes, content_type: str, *, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer with a body that is sent as it is."""
    body = body.encode("utf-8", "backslashreplace") if isinstance(body, str) else body
    return Response(body, status_code=status, headers={"content-type": content_type, **(headers or {})})


def unexpected_method(*, status: int) -> Response:
    """Return the answer to a method that a path does not support."""
    body = {"message": "Unexpected Server Error"}
    return json_answer(body, status=status, headers={"x-remix-error": "yes"})


def moved(location: str, *, status: int = 301) -> Response:
    """Return a redirect."""
    words = "Moved Permanently" if status == 301 else "Found"
    text = f"{words}. Redirecting to {location}"
    return plain_answer(text, TEXT, status=status, headers={"location": location})


def oversize_answer(size: int) -> Response:
    """Return JSON of enormous length, made while it is sent."""
    piece = b"a" * 65536

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"id":"'
        for _ in range(size // len(piece)):
            yield piece
        yield b'"}'

    return StreamingResponse(pieces(), headers={"content-type": JSON})


def no_authorization() -> Response:
    """Return the 401 of a request without an Authorization header."""
    detail = "No authorization header provided"
    return _problem(401, "Unauthorized", detail, {})


def unauthorized() -> Response:
    """Return the 403 of a key that lacks a right."""
    body = {"error": "Unauthorized", "code": "unauthorized", "param": "access_token", "type": "authorization"}
    return json_answer(body, status=403)


def too_many_requests(take: Take, *, now: float) -> Response:
    """Return the 429 of an empty bucket."""
    seconds = max(0, take.reset - int(now * 1000)) / 1000
    # The server writes numbers as JavaScript does: 3, not 3.0.
    shown = int(seconds) if seconds.is_integer() else seconds
    detail = f"Rate limit exceeded 0/{take.limit} requests remaining. Retry in {shown} seconds."
    counts = {
        "reset": take.reset,
        "limit": take.limit,
        "remaining": take.remaining,
        "secondsUntilReset": shown,
    }
    answer = _problem(429, "Rate Limit Exceeded", detail, counts)
    answer.headers.update(take.headers)
    return answer


def _problem(status: int, title: str, detail: str, more: dict[str, Any]) -> Response:
    body = {"title": title, "status": status, "type": f"{_STATUS_PAGE}{status}", "detail": detail}
    return json_answer(body | more | {"error": detail}, status=status, content_type=PROBLEM)
