"""The secret key, and how it is kept out of every text."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.answers import FOR_SPEED, error_of, kind_of
from airflow_provider_trigger.api.http import Request, Response

log = logging.getLogger(__name__)

SHORTEST = 8
"""A shorter key occurs in texts by chance, and is not hidden; real ones have 20 characters and more."""

# After a key of another environment, the connection is fetched again so many seconds later.
_FETCH_INTERVAL = 10.0
# A triggerer cancels runs for months.
_MAX_IDS = 100_000

DENIED_FOR = 600.0
"""After a 403, no call of a kind is made for so many seconds whose absence costs only speed."""


class SecretKey:
    """
    A secret key; clients that share it all continue with the newest. Shows it in no repr.

    It is hidden in answers and errors, as it is and percent-encoded: what is logged, raised and returned of
    an answer comes from one in which it is hidden.

    ``fetch`` returns the key as it is now, None if that is not known, and raises nothing.
    """

    def __init__(self, value: str, *, fetch: Callable[[], str | None] | None = None) -> None:
        self._denials: dict[str, tuple[float, Response]] = {}  # 403s, with their times, by kind of call
        self._values: list[str] = []
        self._spellings: set[str] = set()
        self.replace(value)
        self._fetch = fetch
        self._fetch_at = -math.inf
        self._shown_by: dict[str, int] = {}  # the version that has last shown a run or token, by its id
        self._lock = threading.Lock()

    @property
    def authorization(self) -> str:
        """The value of the ``Authorization`` header."""
        return f"Bearer {self._values[-1]}"

    @property
    def version(self) -> int:
        """How often it was changed."""
        return len(self._values) - 1

    def replace(self, value: str) -> None:
        """Use another key from now on; the old one stays masked."""
        if self._values[-1:] == [value]:
            return
        self._values.append(value)
        self._denials.clear()
        if len(value) >= SHORTEST:  # a new set, as other threads may be reading this one
            self._spellings = {*self._spellings, value, quote(value), quote(value, safe="")}

    def note_denial(self, request: Request, answer: Response, *, now: float) -> None:
        """Take in a 403."""
        if (kind := kind_of(request)) in FOR_SPEED:
            self._denials[kind] = now, replace(answer, headers={})  # its date is old when it is read again

    def denial_of(self, request: Request, *, now: float) -> Response | None:
        """Return the 403 that holds for a request."""
        if not self._denials:
            return None
        denied_at, answer = self._denials.get(kind_of(request), (-math.inf, None))
        return answer if now < denied_at + DENIED_FOR else None

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

    def renew(self, rejected: int, *, now: float) -> bool:
        """Return whether there is another key than a rejected one; fetch it where it is not known yet."""
        with self._lock:  # of many threads, one fetches it
            if self._fetch and self.version == rejected and now >= self._fetch_at:
                self.replace(self._fetch() or self._values[-1])
        return self.version != rejected

    def note_shown(self, request: Request, result: Any, *, version: int) -> None:
        """Take in which runs and tokens a version of it has shown."""
        if self._fetch is None:
            return
        if len(self._shown_by) > _MAX_IDS:
            self._shown_by.clear()
        for one in [request.run_id, *(result if isinstance(result, list) else [result])]:
            shown = getattr(one, "id", one)
            if isinstance(shown, str):
                self._shown_by[shown] = version

    def doubted(
        self, error: errors.TriggerDevError, request: Request, version: int, *, now: float
    ) -> errors.TriggerDevError:
        """
        Return the error of a request, an AuthenticationError where its key is of another environment.

        So it is where an older key has shown what is not found with it. Then the older one is used again, so
        that its 401 fetches the connection again.
        """
        if not isinstance(error, (errors.NotFoundError, errors.UnknownTokenError)):
            return error
        parts = [part for part in request.path.split("/") if part in self._shown_by]
        shown_by = self._shown_by[parts[0]] if parts else version
        if self._values[shown_by] == self._values[version]:
            return error
        with self._lock:
            if version == self.version:
                text = "The new secret key is of another environment, as it lacks %s: not used"
                log.warning(text, request.path)
                self.replace(self._values[shown_by])
                self._fetch_at = now + _FETCH_INTERVAL
        detail = "the new secret key is of another environment"
        return error_of(errors.AuthenticationError, request, 401, detail, retryable=False)
