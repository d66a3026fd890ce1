"""A request, a response, and a call that joins the two. No I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar

T = TypeVar("T")

API_VERSION = "2025-07-16"
"""
The version header's value: with it the server uses today's status words, without it older ones (measured).
"""


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

    def __str__(self) -> str:
        return f"{self.method} {self.path[:200]}"


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
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """Return the decoded body, None where it is not valid JSON in UTF-8."""
        try:
            # Of bytes, the decoder would guess the encoding; the secret key is masked in this one.
            return json.loads(self.body.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            return None

    def json_object(self) -> dict[str, Any]:
        """Return the body as a JSON object, empty where it is not one."""
        answer = self.json()
        return answer if isinstance(answer, dict) else {}

    def date(self) -> datetime | None:
        """Return the server's clock as it answered, to the second; None if it sent none."""
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
    Return the time in a header, None if it holds none.

    :param text: the header's value
    """
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)  # "-0000" has no zone and means UTC
