"""The secret key: the newest one, and hidden in every text that leaves this folder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.http import Response

SHORTEST = 8
"""A shorter key occurs in texts by chance, and is not hidden; real ones have 20 characters and more."""


class SecretKey:
    """
    A secret key, which responses and errors do not show; clients that share it continue with the newest one.

    :param value: the key
    :param fetch: returns the key as it is now, None if that is not known, and raises nothing
    """

    def __init__(self, value: str, *, fetch: Callable[[], str | None] | None = None) -> None:
        self._values: list[str] = []
        self._spellings: set[str] = set()
        self.replace(value)
        self._fetch = fetch
        self._lock = threading.Lock()

    @property
    def authorization(self) -> str:
        """The value of the ``Authorization`` header."""
        return f"Bearer {self._values[-1]}"

    @property
    def version(self) -> int:
        """How many times it was changed."""
        return len(self._values) - 1

    def replace(self, value: str) -> None:
        """Use another key from now on; the old one stays masked."""
        if self._values[-1:] == [value]:
            return
        self._values.append(value)
        if len(value) >= SHORTEST:  # a new set, as other threads may be reading this one
            self._spellings = {*self._spellings, value, quote(value), quote(value, safe="")}

    def hidden_in(self, response: Response) -> Response:
        """Return a response with the key hidden."""
        headers, body = response.headers, response.body
        for spelling in self._spellings:
            body = body.replace(spelling.encode(), b"***")
        return replace(response, headers={name: self._hide(headers[name]) for name in headers}, body=body)

    def hide_in(self, error: errors.TriggerDevError) -> None:
        """Hide the key in the texts of an error, in place."""
        for name, value in vars(error).items():
            if isinstance(value, str):
                setattr(error, name, self._hide(value))
        error.args = (error.message,)

    def _hide(self, text: str) -> str:
        for spelling in self._spellings:
            text = text.replace(spelling, "***")
        return text

    def renew(self, rejected: int) -> bool:
        """Return whether there is another key than a rejected one; fetch it where it is not known yet."""
        with self._lock:  # one of many threads fetches it
            if self._fetch and self.version == rejected:
                self.replace(self._fetch() or self._values[-1])
        return self.version != rejected
