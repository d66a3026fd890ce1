"""The token buckets of the local server: one for each key, refilled in steps."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

from .server_time import ServerTime
from .settings import Settings


@dataclass(frozen=True, slots=True)
class Take:
    """
    What a bucket answers to one request.

    :param limit: tokens in a full bucket
    :param remaining: tokens left; -1 when the request is rejected
    :param reset: when the next tokens come, in milliseconds since 1970
    """

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
    """
    Count requests by key: a burst of ``rate_limit``, then ``refill`` more at every ``refill_interval``.

    They come in one step, counted from a bucket's first request.

    :param settings: the server's; read once
    """

    def __init__(self, settings: Settings, *, time: ServerTime) -> None:
        self.limit = settings.rate_limit or 0
        self.refill = settings.refill
        self._interval = max(1, round(time.after(settings.refill_interval, 0) * 1000))
        self._time = time
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def take(self, key: str) -> Take:
        """
        Take one token from a key's bucket.

        :param key: whose bucket
        """
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
        """
        Return how many tokens a key's bucket holds now.

        :param key: whose bucket
        """
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
