"""Waitpoint tokens: runs wait for one until somebody completes it or its time limit is reached."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from airflow_provider_trigger.api import answers
from airflow_provider_trigger.api.answers import json_object, read_id, read_text, read_time
from airflow_provider_trigger.api.errors import OutdatedAnswerError, UnexpectedAnswerError
from airflow_provider_trigger.api.http import Call, Request, Response, segment

WAITING, COMPLETED, TIMED_OUT = "WAITING", "COMPLETED", "TIMED_OUT"
"""All statuses (measured)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedToken:
    """
    The answer to a request for a token.

    :param id: the token id
    :param url: completes the token without a key: a secret
    :param is_cached: whether an earlier request with its idempotency key has made it
    """

    id: str
    url: str = field(repr=False)
    is_cached: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitpointToken:
    """
    A waitpoint token, as the server shows it.

    :param id: the token id
    :param status: ``WAITING``, ``COMPLETED`` or ``TIMED_OUT``
    :param output: what it was completed with: any JSON, None where that is nothing; an integer above 2^53 has
        lost digits (measured)
    :param output_error: why that cannot be read; None where it can
    :param tags: its tags
    :param created_at: when it was created
    :param completed_at: when it was completed, None if it was not
    :param timeout_at: None for no time limit
    :param url: completes the token without a key, so it is a secret; shown nowhere
    """

    id: str
    status: str
    output: Any = field(default=None, repr=False)
    output_error: str | None = None
    tags: tuple[str, ...] = ()
    created_at: datetime | None = None
    completed_at: datetime | None = None
    timeout_at: datetime | None = None
    url: str | None = field(default=None, repr=False)

    @property
    def is_completed(self) -> bool:
        """Whether somebody has completed the token."""
        return self.status == COMPLETED

    @property
    def has_timed_out(self) -> bool:
        """Whether the time limit of the token was reached first."""
        return self.status == TIMED_OUT


def _read_output(answer: Mapping[str, Any]) -> tuple[Any, str | None]:
    """Return the data, or an error: a text as it is, anything else is a superjson document (measured)."""
    output, kind = answer.get("output"), answer.get("outputType")
    if output is not None and kind not in (None, "text/plain", "application/json", answers.SUPERJSON):
        return None, f"its output is of the type {str(kind)[:100]!r}, which this provider does not read"
    if not isinstance(output, str) or kind == "text/plain":
        return output, None
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        return output, None
    return (answers.from_superjson(value) if kind == answers.SUPERJSON else value), None


_PATH = "/api/v1/waitpoints/tokens"


def create_token(options: Mapping[str, Any]) -> Call[CreatedToken]:
    """Create a waitpoint token, or return the one of its key, also if it was completed (measured)."""
    # A timeout is a text with a unit, or an ISO date in the future: anything else means no time limit, or one
    # that was reached long ago, without a word (measured).
    request = Request(method="POST", path=_PATH, json=dict(options), repeatable="idempotencyKey" in options)

    def read(response: Response) -> CreatedToken:
        answer = json_object(request, response)
        token_id, url = read_id(request, answer, what="a token"), read_text(answer.get("url"))
        if url is None:
            raise UnexpectedAnswerError(f"{request} answered a token without its 'url'")
        return CreatedToken(id=token_id, url=url, is_cached=answer.get("isCached") is True)

    return Call(request=request, read=read)


def retrieve_token(token_id: str) -> Call[WaitpointToken]:
    """Return a waitpoint token; an unknown token is a 500 (measured), an UnknownTokenError."""
    request = Request(method="GET", path=_path_of(token_id), repeatable=True)

    def read(response: Response) -> WaitpointToken:
        answer = json_object(request, response)
        status = read_text(answer.get("status"))
        if answer.get("id") != token_id or status is None:
            raise UnexpectedAnswerError(f"{request} answered something that is not this token")
        output, output_error = _read_output(answer) if status == COMPLETED else (None, None)
        return WaitpointToken(
            id=token_id,
            status=status,
            output=output,
            output_error=output_error,
            tags=tuple(tag for tag in answer.get("tags") or () if isinstance(tag, str)),
            created_at=read_time(answer.get("createdAt")),
            completed_at=read_time(answer.get("completedAt")),
            timeout_at=read_time(answer.get("timeoutAt")),
            url=read_text(answer.get("url")),
        )

    return Call(request=request, read=read)


def ended_token(call: Call[WaitpointToken]) -> Call[WaitpointToken]:
    """Return the same call after an accepted completion: an answer that shows the token waiting fails."""

    def read(response: Response) -> WaitpointToken:
        token = call.read(response)
        if token.status == WAITING:
            raise OutdatedAnswerError(
                f"{call.request} shows it as WAITING, although its completion was accepted"
            )
        return token

    return replace(call, read=read)


def complete_token(token_id: str, data: Any) -> Call[None]:
    """Complete a waitpoint token; a success without effect if it has ended before (measured)."""
    # Above some 500 KB of data the server answers 500, and the token still waits (measured).
    path = f"{_path_of(token_id)}/complete"
    request = Request(method="POST", path=path, json={"data": data}, repeatable=True)

    def read(response: Response) -> None:
        if json_object(request, response).get("success") is not True:
            raise UnexpectedAnswerError(f"{request} answered no success")

    return Call(request=request, read=read)


def _path_of(token_id: str) -> str:
    return f"{_PATH}/{segment(token_id, what='the id of a waitpoint token')}"
