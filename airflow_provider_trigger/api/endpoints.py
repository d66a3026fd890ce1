"""
The API's calls, without I/O: what to send, and how to read what comes back.

Each function returns a :class:`Call`; a driver sends its request and hands the response to ``read``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    NotFoundError,
    NotSentError,
    PermissionDeniedError,
    RateLimitError,
    RedirectError,
    ResponseError,
    ServerError,
    UnexpectedAnswerError,
)
from airflow_provider_trigger.api.models.bulk_actions import BulkAction
from airflow_provider_trigger.api.models.runs import Run

T = TypeVar("T")

# With this the server speaks today's status words; without it, those of older versions (measured).
API_VERSION = "2025-07-16"

MAX_DETAIL_LENGTH = 300

# What the API's own 404 says (measured; the last one of other paths). Other products say "Not Found".
_NOT_FOUND = ("Resource not found", "Not found", "Run not found")
_FOREIGN = "this is not a Trigger.dev server, or a proxy stands before it"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """
    What to send.

    :param method: the HTTP method
    :param path: below the base URL, percent-encoded
    :param params: the query string
    :param json: the body
    :param repeatable: whether sending it twice does no more than sending it once
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    repeatable: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """
    What came back.

    :param status: the HTTP status
    :param headers: by lower-case name
    :param body: the whole body
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json_object(self) -> dict[str, Any]:
        """Return the body as a JSON object, empty if it is none."""
        try:
            answer = self.json()
        except (ValueError, RecursionError):
            return {}
        return answer if isinstance(answer, dict) else {}

    def json(self) -> Any:
        """
        Return the decoded body.

        :raises ValueError: it is no JSON in UTF-8
        :raises RecursionError: it is nested too deeply
        """
        # Of bytes, the decoder would guess the encoding; the driver masks the key in this one.
        return json.loads(self.body.decode("utf-8-sig"))

    def date(self) -> datetime | None:
        """Return the server's clock as it answered, to the second; None if it did not tell."""
        return read_http_date(self.headers.get("date", ""))


@dataclass(frozen=True, kw_only=True, slots=True)
class Call(Generic[T]):
    """
    One call of the API.

    :param request: what to send
    :param read: turns the response into the result, or raises one of
        :mod:`airflow_provider_trigger.api.errors`
    """

    request: Request
    read: Callable[[Response], T]


def read_http_date(text: str) -> datetime | None:
    """
    Return the time that a header tells, None if it tells none.

    :param text: the header's value
    """
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)  # "-0000" has no zone and means UTC


def cancel_run(run_id: str) -> Call[None]:
    """
    Ask for a run to be canceled: ``POST /api/v2/runs/{runId}/cancel``.

    The server answers 200 for every run that exists, alive or not (measured), so no answer says what became
    of the run: only :func:`retrieve_run` does. A 400 or 409 that says "already" is what other versions answer
    for a finished run, and counts as heard.

    :param run_id: the run id; goes into the URL as one percent-encoded segment
    :raises NotSentError: the id cannot be a segment of a URL
    """
    request = Request(method="POST", path=f"/api/v2/runs/{_segment(run_id)}/cancel", repeatable=True)

    def read(response: Response) -> None:
        if response.status in (400, 409) and "already" in _detail(response).lower():
            return
        _raise_unless_success(request, response)

    return Call(request=request, read=read)


def retrieve_run(run_id: str) -> Call[Run]:
    """
    Look at a run: ``GET /api/v3/runs/{runId}``.

    :param run_id: the run id; goes into the URL as one percent-encoded segment
    :raises NotSentError: the id cannot be a segment of a URL
    """
    request = Request(method="GET", path=f"/api/v3/runs/{_segment(run_id)}", repeatable=True)

    def read(response: Response) -> Run:
        answer = _json_object(request, response)
        try:
            run = Run.from_answer(answer, seen_at=response.date())
        except KeyError as error:
            raise UnexpectedAnswerError(f"{_name(request)} answered a run without {error}") from None
        if run.id != run_id:
            raise UnexpectedAnswerError(f"{_name(request)} answered another run: {run.id[:50]!r}")
        return run

    return Call(request=request, read=read)


def cancel_runs_in_bulk(run_ids: Sequence[str]) -> Call[str]:
    """
    Ask for many runs to be canceled with one request: ``POST /api/v1/bulk-actions``; returns the action's id.

    Sent once: it only goes ahead of :func:`cancel_run`, and an older server does not know it.

    :param run_ids: exact run ids, 500 at most; unknown ones are dropped without a word (measured)
    """
    body = {"action": "cancel", "runIds": list(run_ids), "name": "Canceled by Apache Airflow"}
    request = Request(method="POST", path="/api/v1/bulk-actions", json=body, repeatable=False)

    def read(response: Response) -> str:
        bulk_id = _json_object(request, response).get("id")
        if not isinstance(bulk_id, str):
            raise UnexpectedAnswerError(f"{_name(request)} answered a bulk action without an id")
        return bulk_id

    return Call(request=request, read=read)


def retrieve_bulk_action(bulk_id: str) -> Call[BulkAction]:
    """
    Look at a bulk action: ``GET /api/v1/bulk-actions/{bulkActionId}``.

    :param bulk_id: as :func:`cancel_runs_in_bulk` returned it
    """
    request = Request(method="GET", path=f"/api/v1/bulk-actions/{_segment(bulk_id)}", repeatable=True)

    def read(response: Response) -> BulkAction:
        answer = _json_object(request, response)
        try:
            counts = {name: int(answer["counts"][name]) for name in ("total", "success", "failure")}
            return BulkAction(id=bulk_id, status=str(answer["status"]), **counts)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UnexpectedAnswerError(f"{_name(request)} answered no bulk action") from None

    return Call(request=request, read=read)


def list_runs(*, page_size: int) -> Call[list[dict[str, Any]]]:
    """
    List the environment's newest runs: ``GET /api/v1/runs``; lags 1 to 2 s behind (measured).

    :param page_size: how many at most, 1 to 100
    """
    request = Request(
        method="GET", path="/api/v1/runs", params={"page[size]": str(page_size)}, repeatable=True
    )

    def read(response: Response) -> list[dict[str, Any]]:
        runs = _json_object(request, response).get("data")
        if not isinstance(runs, list):
            raise UnexpectedAnswerError(f"{_name(request)} answered JSON without a list of runs in 'data'")
        return runs

    return Call(request=request, read=read)


def _segment(run_id: str) -> str:
    # Dots need no encoding and decoding servers fold them: "..", alone in its segment, leaves the path.
    if not run_id.strip("."):
        raise NotSentError(f"{run_id!r} cannot be the id of a run")
    try:
        return quote(run_id, safe="")
    except UnicodeEncodeError:
        raise NotSentError(f"{run_id!a} cannot be the id of a run") from None


def _name(request: Request) -> str:
    return f"{request.method} {request.path[:200]}"


def _json_object(request: Request, response: Response) -> dict[str, Any]:
    _raise_unless_success(request, response)
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        kind = response.headers.get("content-type", "no content type")[:100]
        what = f"{response.status}, but no JSON ({kind}, {len(response.body)} bytes)"
        raise UnexpectedAnswerError(f"{_name(request)} answered {what}: {_FOREIGN}") from None
    if not isinstance(answer, dict):
        raise UnexpectedAnswerError(f"{_name(request)} answered JSON that is no object")
    return answer


def _detail(response: Response) -> str:
    """Return the server's own message in one line of sane length."""
    answer = response.json_object()
    for key in ("error", "detail", "message"):
        if isinstance(answer.get(key), str):
            return " ".join(answer[key].split())[:MAX_DETAIL_LENGTH]
    kind = response.headers.get("content-type", "no content type").split(";")[0]
    return f"({kind[:100]}, {len(response.body)} bytes)"


def _raise_unless_success(request: Request, response: Response) -> None:
    status = response.status
    if 200 <= status < 300:
        return
    kind, detail = _error_class(response), _detail(response)
    if 300 <= status < 400:
        location = response.headers.get("location", "nowhere")[:200]
        detail = f"a redirect to {location}, not followed; is the connection's host right?"
    elif status == 404 and kind is not NotFoundError:
        detail = f"{detail}: {_FOREIGN}"
    should_retry = response.headers.get("x-should-retry", "").lower()
    raise kind(
        method=request.method,
        path=request.path[:200],
        status=status,
        detail=detail,
        request_id=response.headers.get("x-request-id", "")[:100] or None,
        # A GET's 404 says "x-should-retry: true" for ever (measured): that is for the moment, not for later.
        retryable=should_retry != "false" and (status in (408, 409, 425, 429) or status >= 500),
    )


def _error_class(response: Response) -> type[ResponseError]:
    status = response.status
    if status == 404 and response.json_object().get("error") not in _NOT_FOUND:
        # Not the API's: a page, or another product's JSON. The path is unknown there, not the run (measured).
        return ResponseError
    by_status: dict[int, type[ResponseError]] = {
        401: AuthenticationError,
        403: PermissionDeniedError,
        404: NotFoundError,
        429: RateLimitError,
    }
    if 300 <= status < 400:
        return RedirectError
    return by_status.get(status, ServerError if status >= 500 else ResponseError)
