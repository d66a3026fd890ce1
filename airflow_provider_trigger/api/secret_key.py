"""The secret key of an environment, which may be changed while clients use it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from airflow_provider_trigger.api.masking import Masking


class SecretKey:
    """
    A secret key; clients that share it all continue with the newest. Shows it in no repr.

    ``fetch`` returns the key as it is now, None if that is not known, and raises nothing.
    """

    def __init__(self, value: str, *, fetch: Callable[[], str | None] | None = None) -> None:
        self.masking = Masking(value)
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
            self.version += 1

    def renew(self, rejected: int, *, may_fetch: bool) -> bool:
        """Return whether there is another key than a rejected one; fetch it where it is not known yet."""
        if self._fetch is None or not may_fetch:
            return self.version != rejected
        with self._lock:  # of many threads, one fetches it
            if self.version == rejected and (value := self._fetch()) is not None:
                self.replace(value)
        return self.version != rejected
