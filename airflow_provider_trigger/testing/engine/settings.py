"""How a server behaves: the arguments of its constructor."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from . import constants
from .environments import default_key


@dataclass(kw_only=True, eq=False, repr=False)
class Settings:
    """The settings of a :class:`TriggerDevServer`, which explains them and which can be set later."""

    secret_key: str = default_key(constants.ENVIRONMENT)
    rate_limit: int | None = constants.RATE_LIMIT
    refill: int = constants.REFILL
    refill_interval: float = constants.REFILL_INTERVAL
    acknowledge_after: float | None = constants.ACKNOWLEDGE_AFTER
    force_after: float = constants.FORCE_AFTER
    list_lag: float = 0.0
    log_lag: float = 0.0
    object_store: bool = True
    query: bool = True
    query_lag: float = 0.0
    query_database: bool = True
    realtime: bool = True
    batch: bool = True
    bulk_actions: bool = True
    bulk_lag: float = 0.0
    bulk_duration: float | None = constants.BULK_DURATION
    bulk_rate: float | None = constants.BULK_RATE
    speed: float = 1.0
    clock: Callable[[], float] = time.time
    host: str = constants.HOST
    port: int = 0
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None

    @property
    def url(self) -> str:
        """Return the base URL, such as ``http://127.0.0.1:8030``."""
        scheme = "https" if self.ssl_certfile else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"
