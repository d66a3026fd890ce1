"""Every default value of the local server, once, and its settings. Measured values are the real server's."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass

ENVIRONMENT = "prod"
TASK_IDENTIFIER = "hello-task"

OUTPUT = {"done": True}  # of a completed run that no test gave an output
VERSION = "20261125.1"  # the first deployed version of the tasks
HOST = "127.0.0.1"
PORT = 8030  # of the command line; in code the default is any free port
RATE_LIMIT = 750  # requests in a burst (measured)
REFILL = 250  # requests added at each refill (measured)
REFILL_INTERVAL = 10.0  # between two refills, in seconds (measured)
ACKNOWLEDGE_AFTER = 0.2  # until a worker acknowledges a cancel, in seconds
FORCE_AFTER = 60.0  # until a cancel that no worker acknowledged is enforced, in seconds (measured)
CHILDREN_AFTER = 0.1  # from the end of a canceled run until its children are canceled, in seconds (measured)
START_AFTER = 0.1  # until a worker takes a run, in seconds; the real server needs 0.2 to 0.9 s
ATTEMPT_DURATION = 0.1  # of an attempt, in seconds
RETRY_AFTER = 0.1  # between a failed attempt and the next one, in seconds
REQUEUED_FROM = 30.0  # seconds between two attempts from which on a run is QUEUED in between (measured)
DEPLOY_DURATION = 0.2  # from a deployment until the runs that waited for it are QUEUED, in seconds (measured)
KEY_LIFETIME = 30 * 86400.0  # of an idempotency key, in seconds (read in the real server's code)
LONGEST_MESSAGE = 1000  # characters of an error's message that a run shows (measured)
LONGEST_STACK_LINE = 1024  # characters of each line of a stack trace that a run shows (measured)
LONGEST_LOG_MESSAGE = 256  # characters of a message that the log of a run shows (measured)
MOST_EVENTS = 25_000  # the first spans and lines, which the log of a run shows (read in the server's code)
LARGEST_OUTPUT = 128 * 1024  # bytes of an output that is not behind a URL (measured)
LARGE_PAYLOAD = 512 * 1024  # bytes of a payload from which on it is behind a URL (measured)
URL_LIFETIME = 300.0  # of such a URL, in seconds (measured)
BATCH_AT_ONCE = 20  # items up to which the runs of a batch exist before the answer (measured)
BATCH_RATE = 50.0  # runs of a larger batch that are triggered per second (measured)
BATCH_TRIES = 43.0  # how long it is tried to trigger an item that was streamed, in seconds (measured)
BATCH_FREE_REQUESTS = 10  # requests with items of a batch that cost no token (read in the real server's code)
BATCH_FREE_FOR = 1800.0  # seconds from its creation until they cost one; after 31 minutes they do (measured)
BULK_DURATION = 0.2  # until a bulk action processes its runs, in seconds
BULK_RATE = 26.0  # how many runs it then processes per second: 300 that execute take 11.6 s (measured)
BULK_CHUNK = 100  # after so many its counts are raised (measured)
TOKEN_TIMES_OUT_FROM = 0.1  # from the creation of a token until it can time out, in seconds (measured)
LATENCY = 0.0  # of every answer, in seconds
BUSY_FROM = 32  # single cancels at a time that make the list slow (measured)
_KEY_WORDS = {"production": "prod", "staging": "stg", "development": "dev"}


class Unset(enum.Enum):
    """The type of :data:`UNSET`: no output, no payload, or an argument that is not given."""

    UNSET = enum.auto()


UNSET = Unset.UNSET


def default_key(name: str) -> str:
    """Return the secret key of an environment that is not given one, obviously not a real one."""
    return f"tr_{_KEY_WORDS.get(name, name)}_notARealSecretKey0"


@dataclass(kw_only=True, eq=False, repr=False)
class Settings:
    """The settings of a :class:`TriggerDevServer`, which explains them and which can be set later."""

    secret_key: str = default_key(ENVIRONMENT)
    rate_limit: int | None = RATE_LIMIT
    refill: int = REFILL
    refill_interval: float = REFILL_INTERVAL
    acknowledge_after: float | None = ACKNOWLEDGE_AFTER
    force_after: float = FORCE_AFTER
    list_lag: float = 0.0
    busy_list_time: float = 0.0
    list_window: float | None = None
    log_lag: float = 0.0
    object_store: bool = True
    query: bool = True
    query_lag: float = 0.0
    query_database: bool = True
    realtime: bool = True
    batch: bool = True
    bulk_actions: bool = True
    bulk_lag: float = 0.0
    bulk_duration: float | None = BULK_DURATION
    bulk_rate: float | None = BULK_RATE
    speed: float = 1.0
    clock: Callable[[], float] = time.time
    host: str = HOST
    port: int = 0
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None

    @property
    def url(self) -> str:
        """Return the base URL, such as ``http://127.0.0.1:8030``."""
        scheme = "https" if self.ssl_certfile else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"
