"""The body of a response: kept up to a limit, and decompressed up to the same limit."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from airflow_provider_trigger.api.errors import OversizeError, TransportError
from airflow_provider_trigger.api.http import MAX_BODY_BYTES, Request

_GZIP = zlib.MAX_WBITS + 16
_LONGEST_LENGTH = 18  # digits of a Content-Length, as Python reads a text of thousands of digits slowly


class Body:
    """
    Collect a body as it was sent, compressed or not.

    HTTP libraries decompress without a limit, or only in some versions: of what they hand over at once, 64 KB
    can become 64 MB.
    """

    def __init__(self, request: Request, where: str, headers: Mapping[str, str]) -> None:
        self._request = request
        self._where = where
        self._is_compressed = headers.get("content-encoding", "").strip().lower() in ("gzip", "x-gzip")
        self._announced = None if self._is_compressed else _number(headers.get("content-length", ""))
        self._received = bytearray()
        self._check(self._announced or 0)

    def add(self, piece: bytes) -> None:
        """Add what has arrived."""
        self._received += piece
        self._check(len(self._received))

    def content(self) -> bytes:
        """Return the whole body, decompressed."""
        if not self._is_compressed or not self._received:
            return bytes(self._received)
        decompressor = zlib.decompressobj(_GZIP)
        try:
            content = decompressor.decompress(self._received, MAX_BODY_BYTES + 1)
        except zlib.error:
            content = b""
        self._check(len(content))
        if decompressor.eof and not decompressor.unused_data:
            return content
        reason = "the answer cannot be decompressed"
        raise TransportError(f"{self._where}: {reason}", reason=reason)

    def _check(self, size: int) -> None:
        if size > MAX_BODY_BYTES:
            raise OversizeError(str(self._request), limit=MAX_BODY_BYTES, size=self._announced)


def _number(text: str) -> int | None:
    is_number = text.isascii() and text.isdecimal() and len(text) <= _LONGEST_LENGTH
    return int(text) if is_number else None
