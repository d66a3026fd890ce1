"""Read single values of the server's JSON, whatever it sends in their place."""

from __future__ import annotations

from datetime import UTC, datetime


def read_text(value: object) -> str | None:
    """Return a text, None for anything else and for an empty one."""
    return value if isinstance(value, str) and value else None


def read_time(value: object) -> datetime | None:
    """Return a time with its zone, None for anything else."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    # Without a zone it could not be compared with one that has it; the API speaks UTC.
    return time.replace(tzinfo=UTC) if time and not time.tzinfo else time
