"""
Keep secrets out of what urllib3 logs of this package's requests.

At level DEBUG it logs the address of each request; it warns of headers that it cannot parse, and shows them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from airflow_provider_trigger.api.http import Request
from airflow_provider_trigger.api.masking import Masking

# A filter of a logger has no effect on the loggers below it.
_LOGGERS = [f"urllib3.{name}" for name in ("connection", "connectionpool", "response", "util.retry")]

Keep = Callable[[logging.LogRecord], bool]

_keep: ContextVar[Keep] = ContextVar("airflow_provider_trigger_keep")


@contextmanager
def without_secrets(request: Request, masking: Masking) -> Iterator[None]:
    """Mask the key in what is logged in this context; records of other contexts stay as they are."""
    # The query of a URL of its own can be a password, in spellings that only the HTTP library knows.
    token = _keep.set(masking.in_record if request.url is None else lambda _: False)
    try:
        yield
    finally:
        _keep.reset(token)


def _filter(record: logging.LogRecord) -> bool:
    keep = _keep.get(None)
    return keep is None or keep(record)


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_filter)
