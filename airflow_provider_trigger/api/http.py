"""How to reach a server; a request, a response, and a call that joins the two. No I/O."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.errors import InvalidIdError
from airflow_provider_trigger.api.plain import plain
from airflow_provider_trigger.rules import is_encodable


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """
    How to reach one Trigger.dev environment.

    :param base_url: ``http(s)://host[:port][/prefix]``, without a trailing slash
    :param secret_key: picks project and environment; sent with each request and shown nowhere
    :param user_agent: what to send as the User-Agent
    :param branch: the preview branch, for a preview key; None for none
    :param timeout: for one request, in seconds; not for headers that come byte by byte
    :param retry_for: how long one call is repeated after its first request, in seconds; 0 for not at all.
        Waiting for a turn under the rate limit is not cut short: many runs in a small bucket need it
    :param verify: whether to check the server's certificate, or the path of a CA file to check it against
    :param proxy: the URL of a proxy, shown nowhere, as it may contain a password; None for what the
        environment says
    """

    base_url: str
    secret_key: str = field(repr=False)
    user_agent: str
    branch: str | None = None
    timeout: float = defaults.REQUEST_TIMEOUT
    retry_for: float = defaults.RETRY_FOR
    verify: bool | str = True
    proxy: str | None = field(default=None, repr=False)


T = TypeVar("T")

API_VERSION = "2025-07-16"
"""The version header's value: without it the server uses older status words (measured)."""

MAX_BODY_BYTES = 16 * 1024 * 1024
"""A run shows payload, output (512 KB each at most, as documented) and metadata; this is far above."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A request of the API, or of an object store."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    json: Any = None  # None for no body
    headers: Mapping[str, str] = field(default_factory=dict)  # in addition to those of each request
    repeatable: bool  # whether sending it twice does no more than sending it once
    run_id: str | None = None  # None if the request is about no run, or several
    url: str | None = field(default=None, repr=False)
    """The URL on another server: no key, rate limit and circuit breaker; the query may be a signature."""
    limit: int = MAX_BODY_BYTES  # of an answer; a longer one is an OversizeError

    def __str__(self) -> str:
        return f"{self.method} {self.path[:200]}"

    def address(self, base_url: str) -> str:
        """Return the whole URL."""
        if self.url is not None:
            return self.url
        query = f"?{urlencode(self.params, quote_via=quote)}" if self.params else ""
        return f"{base_url}{self.path}{query}"

    def target(self, base_url: str) -> str:
        """Return what is sent where, for messages."""
        return f"{self} to {urlsplit(self.url or base_url).netloc.rpartition('@')[2]}"

    def body(self) -> bytes | None:
        """Return the encoded body, None for none."""
        return None if self.json is None else encode_json(self.json)


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    has_trusted_date: bool = True

    def json(self) -> Any:
        """Return the decoded body, None where it is not valid JSON in UTF-8."""
        try:
            # json.loads would guess the encoding of bytes; the secret key is masked in UTF-8.
            return json.loads(self.body.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            return None

    def json_object(self) -> dict[str, Any]:
        """Return the body as a JSON object, empty where it is not one."""
        answer = self.json()
        return answer if isinstance(answer, dict) else {}

    def date(self) -> datetime | None:
        """Return the server's clock at its answer, to the second; None without a trusted date."""
        return read_http_date(self.headers.get("date", "")) if self.has_trusted_date else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Call(Generic[T]):
    """A request of the API, and how its answer is read."""

    request: Request
    read: Callable[[Response], T]
    timeout: float = math.inf


def encode_json(value: Any) -> bytes:
    """Encode as the API's servers count sizes: compact, in UTF-8."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=plain)
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate's escape in Python is JSON's, too


def read_http_date(text: str) -> datetime | None:
    """Return the time in a header, None if it holds none."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)  # "-0000" has no zone and means UTC


def segment(value: str, *, what: str = "the id of a run") -> str:
    """Return an id as one percent-encoded segment of a path, or raise InvalidIdError."""
    # Dots need no encoding and decoding servers fold them: "..", alone in its segment, leaves the path.
    if not isinstance(value, str) or not (is_encodable(value) and value.strip(".").strip()):
        # Another value may hold the address of a token, which is a secret.
        shown = ascii(value[:100]) if isinstance(value, str) else f"a {type(value).__name__}"
        raise InvalidIdError(f"{shown} cannot be {what}")
    return quote(value, safe="")
