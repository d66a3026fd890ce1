"""The secret key, and how it is kept out of every text and log."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import replace

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.http import Request, Response
from airflow_provider_trigger.api.rights import Denials

SHORTEST_IN_ANSWERS = 8
"""A shorter key occurs in good answers by chance; real ones have 20 characters and more."""

_MASK = b"***"
_NOTHING = re.compile(rb"(?!)")


class Masking:
    """Replace secrets, in all their spellings; shows them in no repr."""

    def __init__(self, secret: str) -> None:
        self._all = self._long = _NOTHING
        self.add(secret)

    def add(self, secret: str) -> None:
        """Hide another secret, too."""
        pattern = _spellings(secret)
        self._all = _either(self._all, pattern)
        if len(secret) >= SHORTEST_IN_ANSWERS:
            self._long = _either(self._long, pattern)

    def in_response(self, response: Response) -> Response:
        """Return a response with the secret hidden; a short secret could garble it, and is left."""
        headers = {name: _masked(value, self._long) for name, value in response.headers.items()}
        return replace(response, headers=headers, body=self._long.sub(_MASK, response.body))

    def in_error(self, error: TriggerDevError) -> None:
        """Hide the secret, a short one too, in the texts of an error, in place."""
        for name, value in vars(error).items():
            if isinstance(value, str):
                setattr(error, name, _masked(value, self._all))
        error.args = (error.message,)

    def may_log(self, record: logging.LogRecord) -> bool:
        """Return whether a log record shows no secret, in its traceback neither; a short one may be shown."""
        text = logging.Formatter().format(copy(record))
        return _masked(text, self._long) == text


def _masked(text: str, pattern: re.Pattern[bytes]) -> str:
    return pattern.sub(_MASK, text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def _either(one: re.Pattern[bytes], other: bytes) -> re.Pattern[bytes]:
    # An alternative makes the search five times as slow, so there is none for a single secret.
    return re.compile(other if one is _NOTHING else one.pattern + b"|" + other)


def _spellings(secret: str) -> bytes:
    """Match the secret as it is, in a URL, in JSON and in a repr, where each character may be escaped."""
    return b"".join(
        # The character itself comes last: it may be the first one of its own escape.
        rb"(?:%%(?i:%02x)|\\u(?i:%04x)|%s%s)"
        % (byte, byte, rb"\\?" if byte in b"\"'/\\" else b"", re.escape(bytes([byte])))
        for byte in secret.encode()
    )


# A filter of a logger has no effect on the loggers below it.
_LOGGERS = [f"urllib3.{name}" for name in ("connection", "connectionpool", "response", "util.retry")]

Keep = Callable[[logging.LogRecord], bool]

_keep: ContextVar[Keep] = ContextVar("airflow_provider_trigger_keep")


@contextmanager
def without_secrets(request: Request, masking: Masking) -> Iterator[None]:
    """Drop what is logged in this context and shows the key; records of other contexts stay as they are."""
    # The query of a URL of its own can be a password, in spellings that only the HTTP library knows.
    token = _keep.set(masking.may_log if request.url is None else lambda _: False)
    try:
        yield
    finally:
        _keep.reset(token)


def _filter(record: logging.LogRecord) -> bool:
    keep = _keep.get(None)
    return keep is None or keep(record)


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_filter)


class SecretKey:
    """
    A secret key; clients that share it all continue with the newest. Shows it in no repr.

    ``fetch`` returns the key as it is now, None if that is not known, and raises nothing.
    """

    def __init__(self, value: str, *, fetch: Callable[[], str | None] | None = None) -> None:
        self.masking = Masking(value)
        self.denials = Denials()
        self.version = 0
        """How often it was changed."""
        self._value = value
        self._fetch = fetch
        self._lock = threading.Lock()

    @property
    def authorization(self) -> str:
        """The value of the ``Authorization`` header."""
        return f"Bearer {self._value}"

    def replace(self, value: str) -> None:
        """Use another key from now on; the old one stays masked."""
        if value != self._value:
            self.masking.add(value)
            self._value = value
            self.denials.clear()
            self.version += 1

    def renew(self, rejected: int, *, may_fetch: bool) -> bool:
        """Return whether there is another key than a rejected one; fetch it where it is not known yet."""
        if self._fetch is None or not may_fetch:
            return self.version != rejected
        with self._lock:  # of many threads, one fetches it
            if self.version == rejected and (value := self._fetch()) is not None:
                self.replace(value)
        return self.version != rejected
