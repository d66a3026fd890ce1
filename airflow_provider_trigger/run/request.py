"""
Turn what runs and waitpoint tokens are given into what is sent. Pure, but for the trace.

Values are checked that the server would ignore, such as a malformed delay (measured), not those it rejects.
Templates give texts, so a number may be one.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from airflow_provider_trigger import rules
from airflow_provider_trigger.api.plain import plain
from airflow_provider_trigger.defaults import LINK_KEY, TAGS_OF_OURS
from airflow_provider_trigger.log import enumeration
from airflow_provider_trigger.rules import AS_GIVEN, Circumstances, Rule, invalid

# Sorted, as what an idempotency key is made of.
_encode = partial(json.dumps, allow_nan=False, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def check_json(name: str, value: Any, when: Circumstances = AS_GIVEN) -> str:
    """Return a value as JSON, with null for what is not known yet; an error names the invalid part."""
    try:
        return _encode(value, default=lambda part: None if when.skip(part) else plain(part))
    except (TypeError, ValueError, RecursionError) as error:
        if not isinstance(error, RecursionError) and "Circular" not in str(error):
            for key, part in _parts(value):
                check_json(f"{name}[{rules.shown(key)}]", part, when)
        raise ValueError(f"{name} must be JSON: {error}") from None


def _parts(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return the keys, or indexes, and values of a dict or a list; nothing of another value."""
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, (list, tuple)) else ()


MAX_TAGS = 10  # of a run (measured)

_text = rules.text()


def _concurrency_key(name: str, value: Any, when: Circumstances) -> Any:
    """Take a text; or a key for each limit by name, in a dict that servers from 4.8.6 on take (read)."""
    if not isinstance(value, dict):
        return _text(name, value, when)
    check_json(name, value, when)
    return value


def _queue(name: str, value: Any, when: Circumstances) -> dict[str, str]:
    return {"name": _text(name, value, when)}


def _ttl(name: str, value: Any, _: Circumstances) -> str | int:
    seconds = rules.read_duration(value)
    if seconds is None or seconds <= 0:
        raise invalid(name, "a duration above 0, such as '1h30m', seconds or a timedelta", value)
    has_unit = isinstance(value, str) and rules.read_number(value) is None
    return value.strip() if has_unit else math.ceil(seconds)


def _with_unit(name: str, value: Any, when: Circumstances) -> str:
    """Take the same; here the server ignores a number without a unit (measured)."""
    duration = _ttl(name, value, when)
    return f"{duration}s" if isinstance(duration, int) else duration


def _delay(name: str, value: Any, when: Circumstances) -> str:
    """Take a duration, or a time: one without a zone is in UTC, and for one that has passed it is now."""
    if rules.read_number(value) is None and rules.read_duration(value):
        return _with_unit(name, value, when)
    try:
        time = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
        due = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, AttributeError):  # in UTC, it may be before the year 1 or after 9999
        what = "a duration above 0, such as '1h30m', a timedelta, a datetime or an ISO date"
        raise invalid(name, what, value) from None
    return due.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def tags(*, ours: int = 0) -> Rule:
    """Return a rule that takes one tag or several, and each once; ``ours`` are added to them."""
    most = MAX_TAGS - ours
    why = f": a run has up to {MAX_TAGS}, and {ours} are the provider's" if ours else ""

    def check(name: str, value: Any, when: Circumstances) -> list[str]:
        found: list[str] = []
        listed: Any = rules.read_list(value) if when.is_rendered else value  # a template gives a list's text
        for given in listed if isinstance(listed, (list, tuple)) else [listed]:
            tag = given if when.skip(given) else rules.word(name, given, when)
            if tag not in found:  # the server counts repeated ones (measured)
                found.append(tag)
        if len(found) > most:
            raise ValueError(f"{name} must be {most} tags or fewer, not {len(found)}{why}")
        return found

    return check


def _object(name: str, value: Any, when: Circumstances) -> dict[str, Any]:
    """Take a JSON object, also in a string."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise invalid(name, "a dict of JSON", value)
    check_json(name, found, when)
    return found


def _extra_options(name: str, value: Any, when: Circumstances) -> dict[str, Any]:
    """Take options in the API's spelling that have no argument, and change neither key, payload nor tags."""
    found = _object(name, value, when)
    for option in found:
        if why := _NOT_EXTRA.get(option) or (option in _ARGUMENTS and f"use {_ARGUMENTS[option]}"):
            raise ValueError(f"{name} must not have {option!r}: {why}")
    return found


_ONE_RUN = "it decides which run a start gets, and a task instance has one run"
_NOT_EXTRA = {
    "debounce": _ONE_RUN,
    "idempotencyKey": _ONE_RUN,
    "idempotencyKeyOptions": _ONE_RUN,
    "idempotencyKeyTTL": _ONE_RUN,
    "payloadType": "the payload is sent as JSON",
}
"""Options that are refused, and why."""


def _key(name: str, value: Any, when: Circumstances) -> str:
    found = str(_text(name, value, when))
    if found.strip().lower() in ("none", "null"):
        why = "a template that finds nothing renders to this, and all tasks with this key would share one run"
        raise ValueError(f"{name} must not be {rules.shown(value)}: {why}")
    return found


def _version(name: str, value: Any, when: Circumstances) -> str:
    if type(value) is float:
        how = "in quotes, or with render_template_as_native_obj=True as '{{ … | tojson }}'"
        raise ValueError(f"{name} must be a text, not {value!r}, which may lack a digit: write it {how}")
    return str(_text(name, value, when))


_MACHINES = ("micro", "small-1x", "small-2x", "medium-1x", "medium-2x", "large-1x", "large-2x")  # measured

OPTIONS: dict[str, Rule] = {
    "queue": _queue,
    "concurrency_key": _concurrency_key,
    "delay": _delay,
    "ttl": _ttl,
    "tags": tags(ours=TAGS_OF_OURS),
    "metadata": _object,
    "max_attempts": rules.number("attempts", least=1, whole=True),
    "max_duration": rules.number("seconds", least=5, whole=True),  # the server takes less for this
    "machine": rules.choice(*_MACHINES),
    "priority": rules.number("seconds", least=0),
    "region": _text,
    "lock_to_version": _version,
    "extra_options": _extra_options,
}
"""The options of a run; each rule returns what the API takes."""

KEY_OPTIONS: dict[str, Rule] = {"idempotency_key": _key, "idempotency_key_ttl": _with_unit}
_ALL_OPTIONS = OPTIONS | KEY_OPTIONS | {"tags": tags()}


def to_api(
    options: Any,
    when: Circumstances = AS_GIVEN,
    known: Mapping[str, Rule] = _ALL_OPTIONS,
) -> dict[str, Any]:
    """Return options, checked, as the API takes them, without those that are None or not known yet."""
    if not isinstance(options, Mapping):
        raise rules.invalid("options", "a dict", options)
    if unknown := [name for name in options if name not in known]:
        raise ValueError(f"there is no option {unknown[0]!r}; the options are {', '.join(known)}")
    found = rules.checked_given(known, options, when)
    extra = found.pop("extra_options", {})
    return {**extra, **{_api_name(name): value for name, value in found.items()}}


def _api_name(name: str) -> str:
    return re.sub(r"_(ttl|.)", lambda match: match[1].upper(), name)


_ARGUMENTS = {_api_name(name): name for name in OPTIONS}


MAX_METADATA_SIZE = 256 * 1024  # in bytes of JSON (measured)

MAX_DATA_SIZE = 512 * 1024
"""Bytes of JSON: the server takes 200 KB and refuses 600 KB (measured)."""

_MAX_INTEGER = 2**53  # larger ones lose digits (measured)


def _token_timeout(name: str, value: Any, when: Circumstances) -> str:
    """Return a text with a unit: a number has timed out at once, a date may be no limit (measured)."""
    return f"{math.ceil(rules.duration(least=1)(name, value, when))}s"


TOKEN_OPTIONS: dict[str, Rule] = {"timeout": _token_timeout, "tags": tags(), "idempotency_key": _key}


def check_data(name: str, value: Any, when: Circumstances = AS_GIVEN) -> None:
    """Check that a value is JSON that Trigger.dev keeps as it is; an error says what is not."""
    text = check_json(name, value, when)
    size = _size_of(text)
    if size > MAX_DATA_SIZE:
        raise ValueError(f"{name} must have {MAX_DATA_SIZE:,} bytes or less as JSON, not {size:,}")
    _check_integers(name, json.loads(text))


def _size_of(text: str) -> int:
    """Return the bytes of a JSON text as it is sent: the escape of a lone surrogate has six."""
    return len(text.encode("utf-8", "backslashreplace"))


def _check_integers(name: str, value: Any) -> None:
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise ValueError(
            f"{name} must not have an integer beyond 2^53, whose last digits Trigger.dev changes: send it as "
            f"a text, {str(value)!r}"
        )
    for _, part in _parts(value):
        _check_integers(name, part)


_ITEM = (
    "a dict of 'payload' and 'options', such as {'payload': 1, 'options': {'tags': ['a']}}; a list of bare "
    "payloads goes into payloads"
)


def check_items(name: str, given: Any, when: Circumstances) -> None:
    """Check a list of ``payloads`` or ``items``; the error names those that are invalid by their index."""
    if when.skip(given):
        return
    is_list = isinstance(given, (list, tuple))
    if not is_list:  # a payload is not to be shown
        kind = "None" if given is None else f"a {type(given).__name__}"
        raise ValueError(f"{name} must be a list with one entry for each run, not {kind}")
    problems = []
    for index, item in enumerate(given):
        try:
            (check_json if name == "payloads" else _check_item)(f"{name}[{index}]", item, when)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        count = f"{len(problems)} of {len(given)} {name}"
        raise ValueError(f"{count} are invalid: {enumeration(problems, '; ')}")


def _check_item(name: str, item: Any, when: Circumstances) -> None:
    if when.skip(item):
        return
    if not isinstance(item, dict) or not item.keys() <= {"payload", "options"}:
        kind = f"one with {sorted(map(str, item))}" if isinstance(item, dict) else f"a {type(item).__name__}"
        raise ValueError(f"{name} must be {_ITEM}, not {kind}")
    check_json(f"{name}['payload']", item.get("payload"), when)
    options, name = item.get("options") or {}, f"{name}['options']"
    if not when.skip(options):
        with rules.naming(name):
            to_api(options, when, OPTIONS)


def read_items(
    name: str, given: Sequence[Any], options: Mapping[str, Any]
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield payload and options, as the API takes them, of checked items; their own options come first."""
    for item in given:
        payload, own = (item, {}) if name == "payloads" else (item.get("payload"), item.get("options") or {})
        yield payload, to_api({**options, **own}, rules.RENDERED)


def trace_headers() -> dict[str, str]:
    """Return the headers by which a run joins the trace of this thread's current OpenTelemetry span."""
    # There is no span if nothing has imported OpenTelemetry.
    trace: Any = sys.modules.get("opentelemetry.trace")
    span = trace and trace.get_current_span()
    # Headers of a span that is not sampled would switch off the run's own traces. Where tracing is off,
    # Airflow 3.2 gives the task a span that is sampled, but not recorded.
    if not (span and span.is_recording() and span.get_span_context().trace_flags.sampled):
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)  # Trigger.dev reads no other format, nor baggage
    return headers


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRequest:
    """What to start: a payload (any JSON; None for no payload) and options in the API's spelling."""

    task_identifier: str = ""
    payload: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    replay_of: str | None = None  # the run to start again, in place of all this
    trace: Mapping[str, str] = field(default_factory=trace_headers)
    """Taken in the thread that creates the request; another thread sends it."""

    @property
    def key(self) -> str | None:
        """The idempotency key."""
        return self.options.get("idempotencyKey")

    def with_link(self, url: str) -> TaskRequest:
        """Return the same with a URL in its metadata, unless they have one, or have no room for it."""
        metadata = {LINK_KEY: url} | self.options.get("metadata", {})
        if _size_of(check_json("metadata", metadata)) > MAX_METADATA_SIZE:
            return self
        return replace(self, options={**self.options, "metadata": metadata})
