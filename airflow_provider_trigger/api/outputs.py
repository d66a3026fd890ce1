"""The outputs of runs that lie in an object store; see :mod:`airflow_provider_trigger.api.runs`."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.answers import SUPERJSON, error_of, from_superjson, may_pass
from airflow_provider_trigger.api.http import MAX_BODY_BYTES, Call, Request, Response

_JSON = "application/json"
_TEXT = "text/plain"
_PAGE = "text/html"
_REJECTED = "the object store rejected the URL of the output, which is valid for 300 s"


def fetch_output(url: str, *, limit: int = MAX_BODY_BYTES) -> Call[Any]:
    """
    Fetch an output of up to so many bytes from the object store: ``GET`` of a run's ``outputPresignedUrl``.

    Sent without the key: the URL is signed, and a store may reject a second kind of authorization. What is
    there is what the worker stored (measured): for a text the bare text, for anything else a superjson
    document, whose ``json`` is returned as the API itself shows smaller outputs: dates as texts, and so on.
    """
    host, path = _split(url)
    request = Request(method="GET", path=path, url=url, repeatable=True, limit=limit)

    def read(response: Response) -> Any:
        _raise_unless_success(request, response, host)
        kind = response.headers.get("content-type", "").split(";")[0].strip().lower()
        # A page, text/html, is not what a worker stored.
        if kind == _TEXT or (kind not in (_JSON, SUPERJSON, _PAGE) and path.endswith(".txt")):
            with suppress(UnicodeDecodeError):
                return response.body.decode("utf-8")
            raise errors.UnreadableAnswerError(
                f"{request} answered a text that is not UTF-8", retryable=False
            )
        value = response.json()
        if value is None and response.body.strip() != b"null":
            raise errors.UnreadableAnswerError(f"{request} answered an output that is not JSON")
        return value if kind == _JSON else from_superjson(value)

    return Call(request=request, read=read)


def _split(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise errors.NotSentError("the server sent a URL for the run's output that is not valid")
    return host, parts.path or "/"


def _raise_unless_success(request: Request, response: Response, host: str) -> None:
    status, passes = response.status, may_pass(response.status)
    if 200 <= status < 300:
        return
    kind = errors.ServerError if status >= 500 else errors.ResponseError
    kind = errors.RateLimitError if status == 429 else kind
    detail = f"the object store {host} failed" if passes else f"{_REJECTED} ({host})"
    raise error_of(kind, request, status, detail, retryable=passes)
