"""Ids in the path of a URL."""

from __future__ import annotations

from urllib.parse import quote

from airflow_provider_trigger.api.errors import InvalidIdError
from airflow_provider_trigger.rules import is_encodable


def segment(value: str, *, what: str = "the id of a run") -> str:
    """Return an id as one percent-encoded segment of a path, or raise InvalidIdError."""
    # Dots need no encoding and decoding servers fold them: "..", alone in its segment, leaves the path.
    if not isinstance(value, str) or not (is_encodable(value) and value.strip(".").strip()):
        shown = value[:100] if isinstance(value, str) else value
        raise InvalidIdError(f"{shown!a} cannot be {what}")
    return quote(value, safe="")
