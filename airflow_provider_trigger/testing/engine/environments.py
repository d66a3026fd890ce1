"""The environments of the local server, which of them a key opens, and the token bucket of each key."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import Literal

from . import settings
from .server_time import ServerTime
from .settings import Settings, default_key

EnvironmentKind = Literal["dev", "staging", "preview", "prod"]

_KINDS: dict[str, EnvironmentKind] = {
    "dev": "dev",
    "stag": "staging",
    "stg": "staging",
    "preview": "preview",
}


@dataclass(slots=True, unsafe_hash=True)
class Environment:
    """
    One environment of a project: what a secret key opens, and no more.

    :param name: its name, such as ``prod``
    :param secret_key: the key that opens it
    :param branch: the preview branch that a request has to name, too; ``None`` for all but previews
    :param kind: ``dev``, ``staging``, ``preview`` or ``prod``
    :param scopes: the rights of the key; ``None`` for all
    """

    name: str
    secret_key: str = field(repr=False, compare=False)  # changes when it is rotated
    branch: str | None = None
    kind: EnvironmentKind = "prod"
    scopes: frozenset[str] | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """Return the id that the server shows for it."""
        return f"env_{self.name}"

    @property
    def deployed(self) -> bool:
        """Return whether tasks are deployed to it, as to all but development environments."""
        return self.kind != "dev"

    @property
    def region(self) -> str:
        """Return the region that its runs show: runs of a development environment name the environment."""
        return "local" if self.deployed else self.id


def token_of(authorization: str) -> str:
    """Return the token of an Authorization header; as in reality, ``Bearer`` needs its capital B."""
    return authorization.removeprefix("Bearer ").strip()


def is_public_token(token: str) -> bool:
    """Return whether a token has the form of a public access token (a JWT)."""
    return token.startswith("eyJ") and token.count(".") == 2


class Environments(dict[str, Environment]):
    """All environments, by name (``preview/<branch>`` for those of a preview branch)."""

    def add(
        self,
        name: str,
        *,
        secret_key: str | None = None,
        branch: str | None = None,
        kind: EnvironmentKind | None = None,
    ) -> Environment:
        """Add an environment and return it; one of its name and branch is replaced."""
        environment = Environment(
            name=name,
            secret_key=secret_key or default_key(name),
            branch=branch,
            kind=kind or _default_kind(name, branch),
        )
        self[name if branch is None else f"{name}/{branch}"] = environment
        return environment

    def find(self, environment: Environment | str | None) -> Environment:
        """Return an environment, also by its name, which is added if need be; ``None`` for ``prod``."""
        if isinstance(environment, Environment):
            return environment
        name = environment or settings.ENVIRONMENT
        return self.get(name) or self.add(name)

    def authenticate(self, authorization: str, branch: str | None) -> Environment | None:
        """Return the environment that a key opens, ``None`` for none; only previews need the branch."""
        token = token_of(authorization)
        for environment in list(self.values()):
            if environment.secret_key == token and environment.branch in (None, branch):
                return environment
        return None


def _default_kind(name: str, branch: str | None) -> EnvironmentKind:
    """Return the kind that an environment's name begins with, ``prod`` if it begins with none."""
    if branch is not None:
        return "preview"
    return next((kind for start, kind in _KINDS.items() if name.startswith(start)), "prod")


@dataclass(frozen=True, slots=True)
class Take:
    """What a bucket answers, -1 remaining if rejected, the reset in milliseconds since 1970."""

    limit: int
    remaining: int
    reset: int

    @property
    def rejected(self) -> bool:
        """Return whether the bucket was empty."""
        return self.remaining < 0

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that every counted answer carries."""
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(max(0, self.remaining)),
            "x-ratelimit-reset": str(self.reset),
        }


@dataclass(slots=True)
class _Bucket:
    tokens: int
    refilled_at: int
    expires_at: int


class RateLimiter:
    """Count requests by key: a burst, then a refill at each interval from the first request on."""

    def __init__(self, settings: Settings, *, time: ServerTime) -> None:
        self.limit = settings.rate_limit or 0
        self.refill = settings.refill
        self._interval = max(1, round(time.after(settings.refill_interval, 0) * 1000))
        self._time = time
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def take(self, key: str) -> Take:
        """Take one token from a key's bucket."""
        with self._lock:
            now = int(self._time.now() * 1000)
            bucket = self._refilled(key, now)
            reset = bucket.refilled_at + self._interval
            if bucket.tokens == 0:
                return Take(limit=self.limit, remaining=-1, reset=reset)
            bucket.tokens -= 1
            missing = self.limit - bucket.tokens
            bucket.expires_at = now + math.ceil(missing / self.refill) * self._interval
            return Take(limit=self.limit, remaining=bucket.tokens, reset=reset)

    def left(self, key: str) -> int:
        """Return how many tokens a key's bucket holds now."""
        with self._lock:
            return self._refilled(key, int(self._time.now() * 1000)).tokens

    def _refilled(self, key: str, now: int) -> _Bucket:
        bucket = self._buckets.get(key)
        # A bucket that had time to fill up is dropped: its steps are counted from the next request on.
        if bucket is None or now >= bucket.expires_at:
            bucket = self._buckets[key] = _Bucket(tokens=self.limit, refilled_at=now, expires_at=now)
        steps = (now - bucket.refilled_at) // self._interval
        bucket.tokens = min(self.limit, bucket.tokens + steps * self.refill)
        bucket.refilled_at += steps * self._interval
        return bucket
