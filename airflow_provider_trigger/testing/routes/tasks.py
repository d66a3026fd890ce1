"""The calls for tasks: trigger one, and reset an idempotency key of its runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from ..answers import error_answer, json_answer
from ..engine.engine import Engine
from ..engine.packets import payload_packet
from ..engine.settings import UNSET
from .calls import Call, InvalidBodyError, Route, kind_of, read_json

TOO_LARGE = "Request body too large"
LARGEST_BODY = 3 * 1024 * 1024
LARGEST_METADATA = 256 * 1024
MOST_TAGS = 10
_LONGEST_TAG = 128
_LONGEST_KEY = 2048
_MACHINES = ("micro", "small-1x", "small-2x", "medium-1x", "medium-2x", "large-1x", "large-2x")
_SUPERJSON = "application/super+json"
# Yields what is invalid in an option; its second argument is the option's place in the body.
Check = Callable[[Any, str], Iterator[str]]


class TaskCalls:
    """Answer the calls for tasks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.routes = [
            Route(re.compile(r"/api/v1/tasks/([^/]+)/trigger"), load=_method_not_allowed, act=self._trigger),
            Route(re.compile(r"/api/v1/idempotencyKeys/([^/]+)/reset"), act=self._reset),
        ]

    def _trigger(self, call: Call) -> Response:
        try:
            wanted = read_request(call.body)
            check_triggerable(self._engine, wanted)
        except InvalidBodyError as error:
            return error_answer(str(error), status=error.status)
        options = wanted.options
        if "idempotency-key" in call.request.headers:
            options.setdefault("idempotencyKey", call.request.headers["idempotency-key"])
        run, is_cached = self._engine.trigger(
            call.path_id, payload=wanted.payload, options=options, environment=call.environment
        )
        return json_answer({"id": run.id, "isCached": is_cached})

    def _reset(self, call: Call) -> Response:
        try:
            given = read_json(call.body)
        except InvalidBodyError as error:
            return error_answer(str(error), status=error.status)
        task_identifier = given.get("taskIdentifier") if isinstance(given, dict) else None
        if not isinstance(task_identifier, str):
            return error_answer('Validation error: Required at "taskIdentifier"', status=400)
        key = call.path_id
        if self._engine.reset_key(key, task_identifier, environment=call.environment) is None:
            unknown = f"No runs found with idempotency key: {key} and task: {task_identifier}"
            return error_answer(unknown, status=404)
        return json_answer({"id": key})


def _method_not_allowed(call: Call) -> Response:
    return Response(status_code=405)


def check_triggerable(engine: Engine, wanted: TriggerRequest) -> None:
    """Check what depends on what the server has."""
    version = wanted.options.get("lockToVersion")
    if version is not None and not engine.worker.has_version(version):
        raise InvalidBodyError("Something went wrong", status=500)
    region = wanted.options.get("region")
    if region in engine.unknown_regions:
        raise InvalidBodyError(f'The region you specified doesn\'t exist ("{region}").', status=422)
    check_size(engine, wanted.payload)


def check_size(engine: Engine, payload: Any) -> None:
    """Check that a payload, or the items of a batch as a whole, can be stored."""
    if not engine.object_store and payload_packet(payload) is not None:
        raise InvalidBodyError("Failed to upload large payload to object store", status=500)


@dataclass(frozen=True, slots=True)
class TriggerRequest:
    """A valid request to trigger a task: superjson as JSON, a single tag as a list, ``ttl`` as a text."""

    payload: Any
    options: dict[str, Any]


def read_request(body: bytes) -> TriggerRequest:
    """Read the body of a request that triggers a task."""
    if len(body) > LARGEST_BODY:
        raise InvalidBodyError(TOO_LARGE, status=413)
    given = read_json(body)
    if not given and not isinstance(given, list | dict | str):
        raise InvalidBodyError("Invalid JSON")
    issues = list(find_issues(given))
    if issues:
        raise InvalidBodyError(f"Validation error: {'; '.join(issues)}")
    return make_request(given)


def make_request(given: Mapping[str, Any]) -> TriggerRequest:
    """Return the request that was given, in which :func:`find_issues` has found nothing."""
    options = dict(given.get("options", {}))
    if "tags" in options:
        options["tags"] = _read_tags(options["tags"])
    if isinstance(options.get("ttl"), int):
        options["ttl"] = f"{options['ttl']}s"
    metadata = json.dumps(options.get("metadata"), separators=(",", ":"), ensure_ascii=False)
    if len(metadata.encode()) > LARGEST_METADATA:
        message = f"Metadata exceeds maximum size of {LARGEST_METADATA} bytes"
        raise InvalidBodyError(message, status=413)
    payload = given.get("payload", UNSET)
    if options.get("payloadType") == _SUPERJSON and isinstance(payload, str):
        payload = _unwrap(payload)
    return TriggerRequest(payload=payload, options=options)


def _unwrap(document: str) -> Any:
    """Return the value of superjson, ``{"json": …}``, as the vendor's SDK sends it; its types are lost."""
    try:
        return json.loads(document)["json"]
    except (ValueError, TypeError, KeyError):
        return document


def find_issues(given: Any, *, place: str = "") -> Iterator[str]:
    """Yield what is invalid in the form of a request."""
    if not isinstance(given, dict):
        yield f"Expected object, received {kind_of(given)}" + (f' at "{place}"' if place else "")
        return
    place = f"{place}.options" if place else "options"
    options = given.get("options", {})
    if not isinstance(options, dict):
        yield f'Expected object, received {kind_of(options)} at "{place}"'
        return
    for name, check in _CHECKS.items():
        if name in options:
            yield from check(options[name], f"{place}.{name}")


def _read_tags(given: str | list[str]) -> list[str]:
    tags = [given] if isinstance(given, str) else given
    if len(tags) > MOST_TAGS:
        message = f"Runs can only have {MOST_TAGS} tags, you're trying to set {len(tags)}."
        raise InvalidBodyError(message, status=422)
    return tags


def issues_of_tags(given: Any, place: str) -> Iterator[str]:
    """Yield what is invalid in tags."""
    for index, tag in enumerate(given if isinstance(given, list) else [given]):
        of_tag = f"{place}[{index}]" if isinstance(given, list) else place
        if not isinstance(tag, str):
            list_too = f'Expected string, received {kind_of(given)} at "{place}", or '
            yield f'{list_too}Expected string, received {kind_of(tag)} at "{of_tag}"'
        elif len(tag) > _LONGEST_TAG:
            yield f'Tags must be less than {_LONGEST_TAG} characters at "{of_tag}"'


def issues_of_key(given: Any, place: str) -> Iterator[str]:
    """Yield what is invalid in an idempotency key."""
    if not isinstance(given, str):
        yield f'Expected string, received {kind_of(given)} at "{place}"'
    elif len(given) > _LONGEST_KEY:
        yield f'idempotencyKey must be {_LONGEST_KEY} characters or less at "{place}"'


def _issues_of_machine(given: Any, place: str) -> Iterator[str]:
    if given not in _MACHINES:
        expected = " | ".join(f"'{machine}'" for machine in _MACHINES)
        yield f"Invalid enum value. Expected {expected}, received '{given}' at \"{place}\""


def _issues_of_ttl(given: Any, place: str) -> Iterator[str]:
    if isinstance(given, int | float) and given < 0:
        yield f'Number must be greater than or equal to 0 at "{place}"'


def _issues_of_queue(given: Any, place: str) -> Iterator[str]:
    # How the server words these was not recorded.
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        yield f'Expected object, received {kind_of(given)} at "{place}"'


def _issues_of_text(given: Any, place: str) -> Iterator[str]:
    if not isinstance(given, str):
        yield f'Expected string, received {kind_of(given)} at "{place}"'


def _issues_of_concurrency_key(given: Any, place: str) -> Iterator[str]:
    # From 4.8.6 on also an object, by the names of limits (read).
    if not isinstance(given, dict):
        yield from _issues_of_text(given, place)


def _issues_of_debounce(_: Any, place: str) -> Iterator[str]:
    # Without it, one run for each request would start, and a test would pass that proves nothing.
    yield f'The local server does not support debouncing at "{place}"'


def _issues_of_number(given: Any, place: str) -> Iterator[str]:
    if isinstance(given, bool) or not isinstance(given, int | float):
        yield f'Expected number, received {kind_of(given)} at "{place}"'


_CHECKS: dict[str, Check] = {
    "tags": issues_of_tags,
    "idempotencyKey": issues_of_key,
    "machine": _issues_of_machine,
    "ttl": _issues_of_ttl,
    "queue": _issues_of_queue,
    "debounce": _issues_of_debounce,
    "concurrencyKey": _issues_of_concurrency_key,
    **dict.fromkeys(("delay", "region", "lockToVersion"), _issues_of_text),
    **dict.fromkeys(("maxAttempts", "maxDuration", "priority"), _issues_of_number),
}
