"""Every default value of the local server, once. What is marked as measured is the real server's."""

from __future__ import annotations

ENVIRONMENT = "prod"
TASK_IDENTIFIER = "hello-task"

HOST = "127.0.0.1"
PORT = 8030
"""Of the command line; in code the default is any free port."""

RATE_LIMIT = 750
"""Requests in a burst (measured)."""

REFILL = 250
"""Requests added at each refill (measured)."""

REFILL_INTERVAL = 10.0
"""Between two refills, in seconds (measured)."""

ACKNOWLEDGE_AFTER = 0.2
"""Until a worker acknowledges a cancel, in seconds."""

FORCE_AFTER = 60.0
"""Until a cancel that no worker acknowledged is enforced, in seconds (measured)."""

BULK_DURATION = 0.2
"""Until a bulk action processes its runs, in seconds."""

LATENCY = 0.0
"""Of every answer, in seconds."""
