"""Hide the secret key in what a server answers, in case it repeats the key, and in what is logged of that."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.http import Response

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
        if not any(map(self._long.search, (response.body, _encoded("\n".join(response.headers.values()))))):
            return response
        headers = {name: self._in_header(value) for name, value in response.headers.items()}
        return replace(response, headers=headers, body=self._long.sub(_MASK, response.body))

    def in_error(self, error: TriggerDevError) -> None:
        """Hide the secret, a short one too, in the texts of an error, in place."""
        for name, value in vars(error).items():
            if isinstance(value, str):
                setattr(error, name, _masked(value, self._all))
        error.args = (error.message,)

    def in_record(self, record: logging.LogRecord) -> bool:
        """Hide the secret, unless it is a short one, in a log record; return true, as a filter does."""
        text = record.getMessage()
        if (masked := _masked(text, self._long)) != text:
            record.msg, record.args = masked, ()
        if record.exc_info:
            trace = logging.Formatter().formatException(record.exc_info)
            if (masked := _masked(trace, self._long)) != trace:
                record.exc_info, record.exc_text = None, masked
        return True

    def _in_header(self, value: str) -> str:
        return self._long.sub(_MASK, _encoded(value)).decode("latin-1")


def _encoded(header: str) -> bytes:
    return header.encode("latin-1", "replace")


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
