"""The secret key, and how it is kept out of every text."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.api.rights import Denials

SHORTEST = 8
"""A shorter key occurs in texts by chance, and is not hidden; real ones have 20 characters and more."""


class Masking:
    """
    Hide secrets in answers and errors, as they are and percent-encoded; shows them in no repr.

    What is logged, raised and returned of an answer comes from one in which they are hidden.
    """

    def __init__(self, secret: str) -> None:
        self._spellings: list[str] = []
        self.add(secret)

    def add(self, secret: str) -> None:
        """Hide another secret, too."""
        if len(secret) >= SHORTEST:
            self._spellings += {secret, quote(secret), quote(secret, safe="")}

    def in_response(self, response: Response) -> Response:
        """Return a response with the secrets hidden."""
        headers, body = response.headers, response.body
        for spelling in self._spellings:
            body = body.replace(spelling.encode(), b"***")
        return replace(response, headers={name: self._hide(headers[name]) for name in headers}, body=body)

    def in_error(self, error: TriggerDevError) -> None:
        """Hide the secrets in the texts of an error, in place."""
        for name, value in vars(error).items():
            if isinstance(value, str):
                setattr(error, name, self._hide(value))
        error.args = (error.message,)

    def _hide(self, text: str) -> str:
        for spelling in self._spellings:
            text = text.replace(spelling, "***")
        return text


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
