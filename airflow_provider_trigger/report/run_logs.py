"""Make lines of the task's log from what the API shows of a run's log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from airflow_provider_trigger.api.endpoints.events import MAX_EVENTS
from airflow_provider_trigger.api.models.events import MAX_MESSAGE_LENGTH, RunEvent
from airflow_provider_trigger.log import Level, Line
from airflow_provider_trigger.wording import counted

LONGEST_LOG = 1000
"""So many lines of a run are kept, the last ones."""

LARGEST_LOG = 256 * 1024
"""Their bytes in UTF-8, at most."""

_LEVELS: dict[str, Level] = {"TRACE": "error", "DEBUG": "debug", "WARN": "warning", "ERROR": "error"}
_UNKNOWN = datetime.min.replace(tzinfo=UTC)
# The least part of the key that is hidden, in characters: "tr_prod_" alone is no secret.
_LEAST_PART = 8


def log_of_run(events: Sequence[RunEvent], *, what: str, run_url: str, secret_key: str) -> Iterator[Line]:
    """
    Yield the lines of a run's log, and its spans that failed; nothing if there are none.

    The secret key is masked already, but where a message was cut in the midst of it.
    """
    shown = sorted(filter(_is_shown, events), key=lambda event: event.started_at or _UNKNOWN)
    if not shown:
        return
    texts = [_text(event, secret_key) for event in shown]
    left_out = _count_left_out(texts)
    yield "info", f"Log of {what}:"
    for event, text in zip(shown[left_out:], texts[left_out:], strict=True):
        yield _LEVELS.get(event.level, "info"), text
    if any(event.is_cut for event in shown[left_out:]):
        yield (
            "info",
            f"Trigger.dev's API cuts messages at {MAX_MESSAGE_LENGTH} characters: those that end with … "
            f"are whole in the dashboard: {run_url}",
        )
    parts = [f"{counted(left_out, 'earlier message')} of {what}"] if left_out else []
    if len(events) >= MAX_EVENTS:
        parts.append(f"what came after the first {MAX_EVENTS} messages and spans")
    if parts:
        yield "info", f"Left out, and in the dashboard: {', and '.join(parts)}. {run_url}"


def _is_shown(event: RunEvent) -> bool:
    return event.level != "TRACE" or (event.is_error and not event.is_root)


def _text(event: RunEvent, secret_key: str) -> str:
    message = event.message
    if event.is_cut:
        message = f"{_without_part_of(secret_key, message)}…"
    if event.started_at:
        time = event.started_at.isoformat(timespec="milliseconds")
        message = f"{time.removesuffix('+00:00')}Z {message}"
    # A message that is cut within an emoji ends with half of it, which no log handler can encode.
    return message.encode("utf-8", "replace").decode("utf-8")


def _without_part_of(secret_key: str, message: str) -> str:
    """Hide the part of the key with which a message ends."""
    for length in range(len(secret_key), _LEAST_PART - 1, -1):
        if message.endswith(secret_key[:length]):
            return f"{message[:-length]}***"
    return message


def _count_left_out(texts: Sequence[str]) -> int:
    """Return how many of the first texts are left out; one may have several lines."""
    lines = size = 0
    for number, text in enumerate(reversed(texts)):
        lines += text.count("\n") + 1
        size += len(text.encode()) + 1
        if lines > LONGEST_LOG or size > LARGEST_LOG:
            return len(texts) - number
    return 0
