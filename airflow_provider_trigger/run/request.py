"""
Turn the options and the payload of a start into what is sent, checked. Pure.

The server ignores much of what it does not understand, such as a malformed delay (measured): here it is an
error that names the argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_trigger.run import conversions
from airflow_provider_trigger.run.conversions import Circumstances, Conversion, number
from airflow_provider_trigger.run.json_values import Skip, check_json

MAX_PAYLOAD_SIZE = 3 * 1024 * 1024
"""As JSON, in bytes (measured)."""

LEAST_MAX_DURATION = 5
"""In seconds; the server takes less for this."""


@dataclass(frozen=True, slots=True)
class Option:
    """
    An option of a run.

    :param api_name: how the API spells it
    :param convert: what the API takes, or a ValueError
    """

    api_name: str
    convert: Conversion


OPTIONS: dict[str, Option] = {
    "queue": Option("queue", conversions.queue),
    "concurrency_key": Option("concurrencyKey", conversions.text),
    "delay": Option("delay", conversions.delay),
    "ttl": Option("ttl", conversions.ttl),
    "tags": Option("tags", conversions.tags),
    "metadata": Option("metadata", conversions.metadata),
    "max_attempts": Option("maxAttempts", number("attempts", least=1, whole=True)),
    "max_duration": Option("maxDuration", number("seconds", least=LEAST_MAX_DURATION, whole=True)),
    "machine": Option("machine", conversions.machine),
    "priority": Option("priority", number("seconds", least=0, whole=False)),
    "region": Option("region", conversions.text),
    "lock_to_version": Option("lockToVersion", conversions.text),
}
"""What a run can be given besides its payload, by name."""

KEY_OPTIONS: dict[str, Option] = {
    "idempotency_key": Option("idempotencyKey", conversions.key),
    "idempotency_key_ttl": Option("idempotencyKeyTTL", conversions.key_ttl),
}
"""What decides whether a trigger makes a new run, by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRequest:
    """
    What to start.

    :param payload: any JSON, None for none
    :param options: in the API's spelling
    """

    task_identifier: str
    payload: Any
    options: Mapping[str, Any]

    @property
    def key(self) -> str | None:
        """The idempotency key."""
        return self.options.get(KEY_OPTIONS["idempotency_key"].api_name)


def check_payload(owner: str, payload: Any, *, skip: Skip = lambda value: False) -> None:
    """
    Check that a payload is JSON, and not too large.

    :param skip: whether a part of it is not known yet, as one that is templated
    :raises ValueError: it is not; the message names the part, as ``payload['a'][3]``
    """
    try:
        check_json("payload", payload, skip=skip, max_size=MAX_PAYLOAD_SIZE)
    except ValueError as error:
        raise ValueError(f"{owner}: {error}") from None


def check_options(
    owner: str,
    options: Mapping[str, Any],
    *,
    skip: Skip = lambda value: False,
    now: datetime | None = None,
    tags_of_ours: int = 0,
) -> None:
    """
    Check options that the server would reject, or ignore without a word.

    :param options: by name in :data:`OPTIONS` or :data:`KEY_OPTIONS`; None is one that is not given
    :param skip: whether a value, or a part of it, is not known yet, as one that is templated
    :param now: the time that a ``delay`` must be after; None for the clock's
    :param tags_of_ours: how many tags are added to those given
    :raises ValueError: a value is invalid, or there is no such option
    """
    known = {name: value for name, value in options.items() if not skip(value)}
    try:
        _convert(known, skip=skip, now=now, tags_of_ours=tags_of_ours)
    except ValueError as error:
        raise ValueError(f"{owner}: {error}") from None


def to_api(options: Mapping[str, Any], *, now: datetime | None = None) -> dict[str, Any]:
    """
    Return options as the API takes them.

    :param options: by name in :data:`OPTIONS` or :data:`KEY_OPTIONS`; None is one that is not given
    :param now: the time that a ``delay`` must be after; None for the clock's
    :raises ValueError: a value is invalid, or there is no such option
    """
    return _convert(options, skip=lambda value: False, now=now)


def _convert(
    options: Mapping[str, Any], *, skip: Skip, now: datetime | None, tags_of_ours: int = 0
) -> dict[str, Any]:
    known = OPTIONS | KEY_OPTIONS
    if unknown := [name for name in options if name not in known]:
        raise ValueError(f"there is no option {unknown[0]!r}; the options are {', '.join(known)}")
    circumstances = Circumstances(skip=skip, now=now or datetime.now(UTC), tags_of_ours=tags_of_ours)
    return {
        known[name].api_name: known[name].convert(name, value, circumstances)
        for name, value in options.items()
        if value is not None
    }
