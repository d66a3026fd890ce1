"""Waitpoint tokens: runs, and others, wait until one is completed, or until its time limit is reached."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from . import settings
from .environments import Environment
from .server_time import ServerTime
from .settings import UNSET, Settings

TOKENS = "/api/v1/waitpoints/tokens"


@dataclass(eq=False, kw_only=True)
class ServerToken:
    """
    One waitpoint token of the local server; times are in seconds since 1970.

    :param id: its id, such as ``waitpoint_…``
    :param environment: the environment it belongs to
    :param timeout_at: its time limit, ``None`` for none
    :param idempotency_key: the key that it was created with, ``None`` for none
    :param key_expires_at: until when that key stands for it, ``None`` for no limit
    :ivar output: what it was completed with, any JSON; ``UNSET`` for nothing
    :ivar completed: when it was completed, ``None`` if it was not
    """

    id: str
    environment: Environment
    tags: Sequence[str]
    created: float
    timeout_at: float | None
    idempotency_key: str | None
    key_expires_at: float | None
    server: Settings = field(repr=False)
    time: ServerTime = field(repr=False)
    output: Any = field(default=UNSET, init=False)
    completed: float | None = field(default=None, init=False)
    # What continues the runs that wait for it.
    on_completion: list[Callable[[], None]] = field(default_factory=list, init=False, repr=False)

    @property
    def status(self) -> str:
        """Return ``WAITING``, ``COMPLETED`` or ``TIMED_OUT``."""
        if self.ends_at is None or self.time.now() < self.ends_at:
            return "WAITING"
        return "TIMED_OUT" if self.completed is None else "COMPLETED"

    @property
    def ends_at(self) -> float | None:
        """Return when it was completed, else when it times out; ``None`` for never."""
        if self.completed is not None or self.timeout_at is None:
            return self.completed
        return max(self.timeout_at, self.time.after(settings.TOKEN_TIMES_OUT_FROM, self.created))

    @property
    def path(self) -> str:
        """Return the path of its address."""
        key = self.environment.secret_key.encode()
        return f"{TOKENS}/{self.id}/callback/{hmac.new(key, self.id.encode(), 'sha256').hexdigest()}"

    @property
    def url(self) -> str:
        """Return its address: a POST there completes it, without a key, with the JSON of its body."""
        return self.server.url + self.path

    def complete(self, data: Any) -> None:
        """Complete it if it waits."""
        if self.status == "WAITING":
            self.output, self.completed = as_in_javascript(data), self.time.now()
            for continue_run in self.on_completion:
                continue_run()


def as_in_javascript(data: Any) -> Any:
    """Return JSON as the server keeps it: integers above 2^53 lose digits, and an empty text is nothing."""
    if data is UNSET or data == "":
        return UNSET
    return json.loads(json.dumps(data), parse_int=_number, parse_float=_number)


def _number(text: str) -> float:
    value = float(text)
    # From 1e21 on, JavaScript writes an exponent.
    return int(Decimal(repr(value))) if value.is_integer() and abs(value) < 1e21 else value
