"""Read responses: an error status becomes an error, a body of a limited size becomes JSON and its values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    NotFoundError,
    NotTriggerDevError,
    OversizeError,
    PermissionDeniedError,
    RateLimitError,
    RedirectError,
    ResponseError,
    ServerError,
    UnexpectedAnswerError,
)
from airflow_provider_trigger.api.http import MAX_BODY_BYTES, Request, Response
from airflow_provider_trigger.api.retry import may_pass
from airflow_provider_trigger.api.rights import RIGHTS, kind_of
from airflow_provider_trigger.api.server_advice import should_retry


def well_formed(text: str) -> str:
    """Return a text that can be encoded: JSON can hold lone surrogates, for which U+FFFD stands."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def read_text(value: object) -> str | None:
    """Return a text, None for anything else and for an empty one."""
    return well_formed(value) if isinstance(value, str) and value else None


def read_time(value: object) -> datetime | None:
    """Return a time with its zone, None for anything else."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    # Without a zone it could not be compared with one that has it; the API speaks UTC.
    return time.replace(tzinfo=UTC) if time and not time.tzinfo else time


SUPERJSON = "application/super+json"
"""The type of a document that holds a value of JavaScript, see :func:`from_superjson`."""


def from_superjson(value: Any) -> Any:
    """Return what a superjson document holds; what is none stays as it is."""
    is_document = isinstance(value, dict) and bool(value) and value.keys() <= {"json", "meta"}
    return value.get("json") if is_document else value  # without "json" it is undefined


MAX_DETAIL_LENGTH = 300

# What the API's own 404 says (measured; the last one of other paths). Other products say "Not Found".
_NOT_FOUND = ("Resource not found", "Not found", "Run not found", "Waitpoint not found")
# Where the API's answers, and problem+json, have their message.
_MESSAGE_KEYS = ("error", "detail", "message")
# With these a gateway in front of Trigger.dev says in a form of its own that it is busy, wants a key, or does
# not take a payload of this size.
_OF_GATEWAYS = frozenset({401, 408, 413, 425, 429, 500, *range(502, 600)})
_NOT_TRIGGER_DEV = "this is not a Trigger.dev server, or a proxy stands in front of it"

ErrorsByStatus = Mapping[int, type[ResponseError]]

_ERRORS_BY_STATUS: ErrorsByStatus = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitError,
}


def json_object(
    request: Request, response: Response, *, errors: ErrorsByStatus = MappingProxyType({})
) -> dict[str, Any]:
    """
    Return the JSON object of a successful response; ``errors`` are those of this call only, by status.

    :raises ResponseError: it has an error status

    :raises UnexpectedAnswerError: its body is not a JSON object
    """
    raise_unless_success(request, response, errors=errors)
    answer = response.json()
    if answer is None:
        kind = response.headers.get("content-type", "no content type")[:100]
        what = f"{response.status} without valid JSON ({kind}, {len(response.body)} bytes)"
        raise UnexpectedAnswerError(f"{request} answered {what}: {_NOT_TRIGGER_DEV}")
    if not isinstance(answer, dict):
        raise UnexpectedAnswerError(f"{request} answered JSON that is not an object: {_NOT_TRIGGER_DEV}")
    return answer


def read_id(request: Request, answer: Mapping[str, Any], *, what: str) -> str:
    """Return the id that an answer has; UnexpectedAnswerError if it has none, which names it as ``what``."""
    if (found := read_text(answer.get("id"))) is None:
        raise UnexpectedAnswerError(f"{request} answered {what} without an id")
    return found


def raise_unless_success(
    request: Request, response: Response, *, errors: ErrorsByStatus = MappingProxyType({})
) -> None:
    """Raise the ResponseError that a status other than 2xx stands for."""
    status = response.status
    if 200 <= status < 300:
        return
    kind, detail = _error_class(response, errors), server_message(response)
    is_denied = kind is PermissionDeniedError
    hint = f": the key may lack the right {RIGHTS[kind_of(request)]}" if is_denied else ""
    if 300 <= status < 400:
        location = response.headers.get("location", "nowhere")[:200]
        detail = f"a redirect to {location}, not followed"
    elif kind is NotTriggerDevError:
        detail = f"{detail}: {_NOT_TRIGGER_DEV}"
    error = kind(
        method=request.method,
        path=request.path[:200],
        status=status,
        detail=detail + hint,
        request_id=response.headers.get("x-request-id", "")[:100] or None,
        # A GET's 404 says "x-should-retry: true" every time (measured): it means now, not later.
        retryable=should_retry(response) is not False and may_pass(status),
    )
    error.detail = detail
    raise error


def server_message(response: Response) -> str:
    """Return the server's own message in one line of limited length."""
    answer = response.json_object()
    for key in _MESSAGE_KEYS:
        if isinstance(answer.get(key), str):
            return " ".join(well_formed(answer[key]).split())[:MAX_DETAIL_LENGTH]
    kind = response.headers.get("content-type", "no content type").split(";")[0]
    return f"({kind[:100]}, {len(response.body)} bytes)"


def _error_class(response: Response, errors: ErrorsByStatus) -> type[ResponseError]:
    status = response.status
    if 300 <= status < 400:
        return RedirectError
    answer = response.json_object()
    if status == 404 and answer.get("error") not in _NOT_FOUND:
        # A page, or another product's JSON. The path is unknown there, not the run (measured).
        return NotTriggerDevError
    if status not in _OF_GATEWAYS and not any(isinstance(answer.get(key), str) for key in _MESSAGE_KEYS):
        return NotTriggerDevError
    known = {**_ERRORS_BY_STATUS, **errors}
    return known.get(status, ServerError if status >= 500 else ResponseError)


def read_body(request: Request, pieces: Iterable[bytes], *, length: int | None) -> bytes:
    """Return a body that arrives in pieces, or raise OversizeError; ``length`` is the announced one."""
    limit = min(request.limit, MAX_BODY_BYTES)
    body = bytearray()
    if (length or 0) > limit:
        raise OversizeError(str(request), limit=limit, size=length)
    for piece in pieces:
        body += piece
        if len(body) > limit:
            raise OversizeError(str(request), limit=limit, size=length)
    return bytes(body)
