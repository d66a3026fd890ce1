"""Calls on waitpoint tokens, without I/O; see :mod:`airflow_provider_trigger.api.endpoints.runs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_trigger.api.errors import UnexpectedAnswerError, UnknownTokenError
from airflow_provider_trigger.api.http import Call, Request, Response, segment
from airflow_provider_trigger.api.models.waitpoint_tokens import CreatedToken, WaitpointToken
from airflow_provider_trigger.api.responses import json_object, read_id, read_text

_PATH = "/api/v1/waitpoints/tokens"


def create_token(
    *,
    timeout: str | None = None,
    tags: Sequence[str] = (),
    idempotency_key: str | None = None,
    idempotency_key_ttl: str | None = None,
) -> Call[CreatedToken]:
    """
    Create a waitpoint token: ``POST /api/v1/waitpoints/tokens``.

    A ``timeout`` is a text with a unit, or an ISO date in the future: anything else means no time limit, or
    one that was reached long ago, without a word (measured). With an ``idempotency_key`` that made a token
    already, that one is returned, also if it was completed (measured); only such a request is repeatable.
    """
    given = {
        "timeout": timeout,
        "tags": list(tags) or None,
        "idempotencyKey": idempotency_key,
        "idempotencyKeyTTL": idempotency_key_ttl,
    }
    body = {name: value for name, value in given.items() if value is not None}
    request = Request(method="POST", path=_PATH, json=body, repeatable=idempotency_key is not None)

    def read(response: Response) -> CreatedToken:
        answer = json_object(request, response)
        token_id, url = read_id(request, answer, what="a token"), read_text(answer.get("url"))
        if url is None:
            raise UnexpectedAnswerError(f"{request} answered a token without its 'url'")
        return CreatedToken(id=token_id, url=url, is_cached=answer.get("isCached") is True)

    return Call(request=request, read=read)


def retrieve_token(token_id: str) -> Call[WaitpointToken]:
    """
    Return a waitpoint token: ``GET /api/v1/waitpoints/tokens/{tokenId}``.

    For a token that the key's environment does not have the server answers 500, each time (measured): an
    UnknownTokenError.
    """
    request = Request(method="GET", path=_path_of(token_id), repeatable=True)

    def read(response: Response) -> WaitpointToken:
        answer = json_object(request, response, errors={500: UnknownTokenError})
        token = WaitpointToken.from_answer(answer)
        if token is None or token.id != token_id:
            raise UnexpectedAnswerError(f"{request} answered something that is not this token")
        return token

    return Call(request=request, read=read)


def complete_token(token_id: str, data: Any) -> Call[None]:
    """
    Complete a waitpoint token: ``POST /api/v1/waitpoints/tokens/{tokenId}/complete``.

    It is a success whatever became of the token: if it was completed before, or has timed out, nothing
    changes (measured). 404: the key's environment has no such token. Above some 500 KB of data the server
    answers 500, and the token still waits (measured).
    """
    path = f"{_path_of(token_id)}/complete"
    request = Request(method="POST", path=path, json={"data": data}, repeatable=True)

    def read(response: Response) -> None:
        if json_object(request, response).get("success") is not True:
            raise UnexpectedAnswerError(f"{request} answered no success")

    return Call(request=request, read=read)


def _path_of(token_id: str) -> str:
    return f"{_PATH}/{segment(token_id, what='the id of a waitpoint token')}"
