"""Read responses: their values, their errors, what they say of another try, and their clock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.http import Request, Response, read_http_date
from airflow_provider_trigger.rules import read_number

E = TypeVar("E", bound=errors.ResponseError)


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
    # A time without a zone cannot be compared with one that has a zone; the API uses UTC.
    return time.replace(tzinfo=UTC) if time and not time.tzinfo else time


SUPERJSON = "application/super+json"  # see from_superjson


def from_superjson(value: Any) -> Any:
    """Return the value in a superjson document; another value stays as it is."""
    is_document = isinstance(value, dict) and bool(value) and value.keys() <= {"json", "meta"}
    return value.get("json") if is_document else value  # without "json" it is undefined


MAX_DETAIL_LENGTH = 300

# The texts of the API's own 404 (measured; the last one of other paths). Other products say "Not Found".
_NOT_FOUND = ("Resource not found", "Not found", "Run not found", "Waitpoint not found")
# The keys under which answers of the API, and problem+json, have their message.
_MESSAGE_KEYS = ("error", "detail", "message")
# A gateway in front of Trigger.dev answers so if it is busy, wants a key, or rejects the size of the payload.
_OF_GATEWAYS = frozenset({401, 408, 413, 425, 429, 500, *range(502, 600)})
_NOT_TRIGGER_DEV = "this is not a Trigger.dev server, or a proxy stands in front of it"

_ERRORS_BY_STATUS: dict[int, type[errors.ResponseError]] = {
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    429: errors.RateLimitError,
}

RIGHTS = {
    "POST /api/v1/query": "read:query",
    "POST /api/v1/bulk-actions": "write:runs",
    "POST /api/v1/idempotencyKeys/.*": "write:runs",
    "GET /api/v1/runs": "read:runs",
    "POST /api/v1/tasks/.*": "trigger:tasks",
    "POST /api/v2/tasks/batch": "batchTrigger:tasks",
    "GET /api/v1/waitpoints/.*": "read:waitpoints",
    "POST /api/v1/waitpoints/.*": "write:waitpoints",
    "GET /api/v[123]/(runs|batches|packets)/.*": "read:runs",
    "(POST|PUT) /api/v[123]/runs/.*": "write:runs",
}
"""The right that a kind of call needs: the first match (measured; for queries and tokens, as documented)."""


def json_value(request: Request, response: Response) -> Any:
    """Return the JSON of a successful response, or raise what the response is instead."""
    raise_unless_success(request, response)
    answer = response.json()
    if answer is None and response.body.strip() != b"null":
        kind = response.headers.get("content-type", "no content type")[:100]
        what = f"{response.status} without valid JSON ({kind}, {len(response.body)} bytes)"
        raise errors.UnexpectedAnswerError(f"{request} answered {what}: {_NOT_TRIGGER_DEV}")
    return answer


def json_object(request: Request, response: Response) -> dict[str, Any]:
    """Return the JSON object of a successful response, or raise what the response is instead."""
    answer = json_value(request, response)
    if not isinstance(answer, dict):
        what = f"{request} answered JSON that is not an object"
        raise errors.UnexpectedAnswerError(f"{what}: {_NOT_TRIGGER_DEV}")
    return answer


def read_id(request: Request, answer: Mapping[str, Any], *, what: str) -> str:
    """Return the id in an answer; an UnexpectedAnswerError names an answer without an id as ``what``."""
    if (found := read_text(answer.get("id"))) is None:
        raise errors.UnexpectedAnswerError(f"{request} answered {what} without an id")
    return found


def raise_unless_success(request: Request, response: Response) -> None:
    """Raise the ResponseError for a status other than 2xx."""
    status = response.status
    if 200 <= status < 300:
        return
    kind, detail, hint = _error_class(request, response), server_message(response), ""
    if kind is errors.PermissionDeniedError:
        call = f"{request.method} {request.path}"
        rights = (right for kind, right in RIGHTS.items() if re.fullmatch(kind, call))
        hint = f": the key may lack the right {next(rights, 'for it')}"
    elif 300 <= status < 400:
        location = response.headers.get("location", "nowhere")[:200]
        detail = f"a redirect to {location}, not followed"
    elif kind is errors.NotTriggerDevError:
        detail = f"{detail}: {_NOT_TRIGGER_DEV}"
    # A GET's 404 says "x-should-retry: true" every time (measured): it means now, not later.
    retryable = should_retry(response) is not False and may_pass(status)
    error = error_of(kind, request, status, detail + hint, retryable=retryable, response=response)
    error.detail = detail
    raise error


def error_of(
    kind: type[E],
    request: Request,
    status: int,
    detail: str,
    *,
    retryable: bool,
    response: Response | None = None,
) -> E:
    """Return an error of a kind about a request, with the request id of the response."""
    request_id = response.headers.get("x-request-id", "")[:100] if response else None
    about: Any = {"method": request.method, "path": request.path[:200], "request_id": request_id or None}
    return kind(**about, status=status, detail=detail, retryable=retryable)


def server_message(response: Response) -> str:
    """Return the server's own message in one line of limited length."""
    answer = response.json_object()
    for key in _MESSAGE_KEYS:
        if isinstance(answer.get(key), str):
            return " ".join(well_formed(answer[key]).split())[:MAX_DETAIL_LENGTH]
    kind = response.headers.get("content-type", "no content type").split(";")[0]
    return f"({kind[:100]}, {len(response.body)} bytes)"


def _error_class(request: Request, response: Response) -> type[errors.ResponseError]:
    status = response.status
    if 300 <= status < 400:
        return errors.RedirectError
    answer = response.json_object()
    if status == 404 and answer.get("error") not in _NOT_FOUND:
        # A page, or another product's JSON. The path is unknown there, not the run (measured).
        return errors.NotTriggerDevError
    if status not in _OF_GATEWAYS and not any(isinstance(answer.get(key), str) for key in _MESSAGE_KEYS):
        return errors.NotTriggerDevError
    if status == 500 and f"{request.method} {request.path}".startswith("GET /api/v1/waitpoints/tokens/"):
        return errors.UnknownTokenError
    return _ERRORS_BY_STATUS.get(status, errors.ServerError if status >= 500 else errors.ResponseError)


def may_pass(status: int) -> bool:
    """Return whether a request with this error status may succeed later."""
    return status >= 500 or status in (408, 409, 425, 429)


MAX_WAIT = 60.0
"""The longest single wait, in seconds: clocks differ, and a server may name any time."""

_MAX_CLOCK_DIFFERENCE = 10.0  # in seconds; a canceled run counts as terminated 15 s after it is


def should_retry(response: Response | None) -> bool | None:
    """Return what the server's ``x-should-retry`` says, None if it says nothing."""
    header = response.headers.get("x-should-retry", "").lower() if response else ""
    return {"true": True, "false": False}.get(header)


def is_rejected_by_bucket(response: Response) -> bool:
    """Return whether a 429 may be of the rate limit; that of the queries shows tokens left (measured)."""
    left = read_number(response.headers.get("x-ratelimit-remaining"))
    return response.status == 429 and not (left or 0.0) > 0


def server_wait(response: Response, *, now: float) -> float | None:
    """Return how many seconds the server wants us to wait, None if it does not say."""
    value = response.headers.get("retry-after", "")
    wait, date = read_number(value), read_http_date(value)  # proxies send a date
    if date is not None:
        wait = date.timestamp() - _server_time(response, now=now)
    if not wait or wait < 0:
        wait = seconds_until_reset(response, now=now) if is_rejected_by_bucket(response) else None
    return None if wait is None else min(wait, MAX_WAIT)


def seconds_until_reset(response: Response, *, now: float) -> float | None:
    """Return the seconds until the rate limit's bucket is refilled, None if unknown or past."""
    reset = read_number(response.headers.get("x-ratelimit-reset")) or 0.0  # in ms since 1970, or in s
    wait = (reset / 1000 if reset > 1e11 else reset) - _server_time(response, now=now)
    return wait if wait > 0 else None


def _server_time(response: Response, *, now: float) -> float:
    """Return the server's clock where it differs from ours, which is finer."""
    date = response.date()
    return date.timestamp() if date and abs(date.timestamp() - now) > 5 else now


def with_trusted_date(response: Response, *, now: float) -> Response:
    """Return an answer whose date is not used where the local clock differs, as either may be wrong."""
    date = response.date()
    is_trusted = date is None or abs(date.timestamp() - now) <= _MAX_CLOCK_DIFFERENCE
    return replace(response, has_trusted_date=is_trusted)
