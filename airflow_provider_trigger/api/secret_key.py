"""The secret key: the newest one, and hidden in every text that leaves this folder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.http import Call, Response

SHORTEST = 8
"""A shorter key occurs in texts by chance, and is not hidden; real ones have 20 characters and more."""


class SecretKey:
    """
    A secret key, which responses and errors do not show; clients that share it continue with the newest one.

    A client that got a 401 calls :meth:`renew`, and repeats its call if there is another key. This is the
    only way to another key: worker and triggerer differ in ``fetch``.

    :param value: the key
    :param fetch: returns the key to use after a call was rejected, None for no other one, and raises nothing
    """

    def __init__(self, value: str, *, fetch: Callable[[Call[Any]], str | None] | None = None) -> None:
        self._values: list[str] = []
        self._spellings: set[str] = set()
        self.replace(value)
        self._fetch = fetch
        self._lock = threading.Lock()

    @property
    def value(self) -> str:
        """The newest one."""
        return self._values[-1]

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

    def renew(self, rejected: int, call: Call[Any]) -> bool:
        """Return whether there is another key than the rejected version; fetch it if it is not known yet."""
        with self._lock:  # one of many threads fetches it
            if self._fetch and self.version == rejected:
                self.replace(self._fetch(call) or self.value)
        return self.version != rejected
