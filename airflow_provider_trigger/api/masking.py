"""Hide the secret key in what a server says, should it repeat the key."""

from __future__ import annotations

import re

from airflow_provider_trigger.api.errors import TriggerDevError

SHORTEST_IN_ANSWERS = 8
"""A shorter key stands in good answers by chance; real ones have 20 characters and more."""

_MASK = b"***"


class Masking:
    """
    Knows a secret in all its spellings, and shows it in no repr.

    :param secret: ASCII, as what an HTTP header can carry
    """

    def __init__(self, secret: str) -> None:
        self._pattern = _spellings(secret)
        self._is_short = len(secret) < SHORTEST_IN_ANSWERS

    def in_body(self, body: bytes) -> bytes:
        """Hide the secret in an answer's body; not a short one, as that could garble the answer."""
        return body if self._is_short else self._pattern.sub(_MASK, body)

    def in_header(self, value: str) -> str:
        """Hide the secret in an answer's header; not a short one either."""
        return self.in_body(value.encode("latin-1", "replace")).decode("latin-1")

    def in_error(self, error: TriggerDevError) -> None:
        """Hide the secret, a short one too, in the texts of an error, in place."""
        for name, value in vars(error).items():
            if isinstance(value, str):
                setattr(error, name, self._in_text(value))
        error.args = (error.message,)

    def _in_text(self, text: str) -> str:
        return self._pattern.sub(_MASK, text.encode("utf-8", "surrogatepass")).decode(
            "utf-8", "surrogatepass"
        )


def _spellings(secret: str) -> re.Pattern[bytes]:
    """
    Match the secret as it is, in a URL and in JSON, where each character may be escaped.

    Also in UTF-16 and UTF-32, where zeros stand between: nobody reads these, but an error carries the body.
    """
    return re.compile(
        rb"\x00*".join(
            rb"(?:%s%s|%%(?i:%02x)|\\u(?i:%04x))"
            % (rb"\\?" if byte in b'"/\\' else b"", re.escape(bytes([byte])), byte, byte)
            for byte in secret.encode()
        )
    )
