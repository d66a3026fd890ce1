"""The body of a request that triggers a task, and what is invalid in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..engine.unset import UNSET
from .json_body import InvalidBodyError, kind_of, read_json

_LARGEST_BODY = 3 * 1024 * 1024
_LARGEST_METADATA = 256 * 1024
_MOST_TAGS = 10
_LONGEST_TAG = 128
_LONGEST_KEY = 2048
_MACHINES = ("micro", "small-1x", "small-2x", "medium-1x", "medium-2x", "large-1x", "large-2x")

# Yields what is invalid in an option.
Check = Callable[[Any], Iterator[str]]


@dataclass(frozen=True, slots=True)
class TriggerRequest:
    """
    A valid request to trigger a task.

    :param payload: the payload, ``UNSET`` for none
    :param options: the options as sent, but with a single tag as a list and ``ttl`` as a text
    """

    payload: Any
    options: dict[str, Any]


def read_request(body: bytes) -> TriggerRequest:
    """
    Read the body of a request that triggers a task.

    :raises InvalidBodyError: for an invalid one
    """
    if len(body) > _LARGEST_BODY:
        raise InvalidBodyError("Request body too large", status=413)
    given = read_json(body)
    if not given and not isinstance(given, list | dict | str):
        raise InvalidBodyError("Invalid JSON")
    issues = list(_issues(given))
    if issues:
        raise InvalidBodyError(f"Validation error: {'; '.join(issues)}")
    options = dict(given.get("options", {}))
    if "tags" in options:
        options["tags"] = _read_tags(options["tags"])
    if isinstance(options.get("ttl"), int):
        options["ttl"] = f"{options['ttl']}s"
    metadata = json.dumps(options.get("metadata"), separators=(",", ":"), ensure_ascii=False)
    if len(metadata.encode()) > _LARGEST_METADATA:
        message = f"Metadata exceeds maximum size of {_LARGEST_METADATA} bytes"
        raise InvalidBodyError(message, status=413)
    return TriggerRequest(payload=given.get("payload", UNSET), options=options)


def _read_tags(given: str | list[str]) -> list[str]:
    tags = [given] if isinstance(given, str) else given
    if len(tags) > _MOST_TAGS:
        message = f"Runs can only have {_MOST_TAGS} tags, you're trying to set {len(tags)}."
        raise InvalidBodyError(message, status=422)
    return tags


def _issues(given: Any) -> Iterator[str]:
    if not isinstance(given, dict):
        yield f"Expected object, received {kind_of(given)}"
        return
    options = given.get("options", {})
    if not isinstance(options, dict):
        yield f'Expected object, received {kind_of(options)} at "options"'
        return
    for name, check in _CHECKS.items():
        if name in options:
            yield from check(options[name])


def _issues_of_tags(given: Any) -> Iterator[str]:
    for index, tag in enumerate(given if isinstance(given, list) else [given]):
        place = f"options.tags[{index}]" if isinstance(given, list) else "options.tags"
        if not isinstance(tag, str):
            list_too = f'Expected string, received {kind_of(given)} at "options.tags", or '
            yield f'{list_too}Expected string, received {kind_of(tag)} at "{place}"'
        elif len(tag) > _LONGEST_TAG:
            yield f'Tags must be less than {_LONGEST_TAG} characters at "{place}"'


def _issues_of_key(given: Any) -> Iterator[str]:
    if not isinstance(given, str):
        yield f'Expected string, received {kind_of(given)} at "options.idempotencyKey"'
    elif len(given) > _LONGEST_KEY:
        yield f'idempotencyKey must be {_LONGEST_KEY} characters or less at "options.idempotencyKey"'


def _issues_of_machine(given: Any) -> Iterator[str]:
    if given not in _MACHINES:
        expected = " | ".join(f"'{machine}'" for machine in _MACHINES)
        yield f"Invalid enum value. Expected {expected}, received '{given}' at \"options.machine\""


def _issues_of_ttl(given: Any) -> Iterator[str]:
    if isinstance(given, int | float) and given < 0:
        yield 'Number must be greater than or equal to 0 at "options.ttl"'


def _issues_of_queue(given: Any) -> Iterator[str]:
    # How the server words these was not recorded.
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        yield f'Expected object, received {kind_of(given)} at "options.queue"'


def _issues_of_text(name: str) -> Check:
    def issues(given: Any) -> Iterator[str]:
        if not isinstance(given, str):
            yield f'Expected string, received {kind_of(given)} at "options.{name}"'

    return issues


def _issues_of_number(name: str) -> Check:
    def issues(given: Any) -> Iterator[str]:
        if isinstance(given, bool) or not isinstance(given, int | float):
            yield f'Expected number, received {kind_of(given)} at "options.{name}"'

    return issues


_CHECKS: dict[str, Check] = {
    "tags": _issues_of_tags,
    "idempotencyKey": _issues_of_key,
    "machine": _issues_of_machine,
    "ttl": _issues_of_ttl,
    "queue": _issues_of_queue,
    **{name: _issues_of_text(name) for name in ("concurrencyKey", "delay", "region", "lockToVersion")},
    **{name: _issues_of_number(name) for name in ("maxAttempts", "maxDuration", "priority")},
}
