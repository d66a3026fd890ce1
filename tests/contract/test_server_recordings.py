"""Compare what a real Trigger.dev server answered with what the local one answers to the same requests."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shortened import is_short_for

RECORDINGS = Path(__file__).parent / "recordings"
HEADERS = ("content-type", "location", "x-should-retry", "x-remix-error")
LIMITS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z?")
# In an error, an environment's id, and in the URL of a packet.
VARYING = re.compile(
    r"^c[bmy]\w{23}$|(?<=TaskRun./.)cm\w{23}|Retry in [\d.]+ s|env_\w+|^http://[^/]+/packets/[^/]+"
    r"|(?<=Invalid JSON at line \d: ).*|(?<=Available columns: ).*|(?<=Syntax error at line 1:0: ).*"
    r"|(?<=connect ECONNREFUSED ).*"
    r"|^[0-9a-f]{16}$|^\d{19}$"  # of a span its id, and its start
    r"|^https?://[^/]+(?=/api/v1/waitpoints/)|^[\w-]{24}$"  # of a token its server, and a made-up key
    r"|(?<=&X-Amz-Date=)\w+|(?<=&X-Amz-Credential=)\w+%2F\w+|(?<=&X-Amz-Signature=)\w+"
)
PLACES = [f"electric-{name}" for name in ("offset", "handle", "chunk-last-offset", "shape-id")]
CONTENTS = ("payload", "output", "metadata", "error")
# What depends on the real machine and its past: only the type can be compared.
UNDETERMINED = {"region", "version", "durationMs", "reset", "secondsUntilReset", "next", "previous"}
UNDETERMINED |= {"duration"}


def differences(recorded: Any, ours: Any, path: str = "body") -> Iterator[str]:
    """Yield where two pieces of JSON differ in shape, or in a value that is determined."""
    name = path.rsplit(".", 1)[-1]
    short = None if is_page(recorded) else is_short_for(recorded, ours)
    if short is not None:
        if not short:
            yield f"{path}: {recorded!r}, ours is another one"
    elif isinstance(recorded, dict) and isinstance(ours, dict):
        if recorded.keys() != ours.keys():
            yield f"{path}: keys {sorted(recorded.keys() ^ ours.keys())}"
        for key in recorded.keys() & ours.keys():
            yield from differences(recorded[key], ours[key], f"{path}.{key}")
    elif isinstance(recorded, list) and isinstance(ours, list):
        if len(recorded) != len(ours):
            yield f"{path}: {len(recorded)} items, ours {len(ours)}"
        for index, pair in enumerate(zip(recorded, ours, strict=False)):
            yield from differences(*pair, f"{path}[{index}]")
    elif kind(recorded) != kind(ours) or (
        name not in UNDETERMINED and determined(recorded) != determined(ours)
    ):
        yield f"{path}: {recorded!r}, ours {ours!r}"


def kind(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if is_number else type(value).__name__


def determined(value: Any) -> Any:
    """Remove from a text what is different each time."""
    if not isinstance(value, str):
        return value
    page = "<an HTML page>" if is_page(value) else value
    return VARYING.sub("", TIME.sub("a time", page))


def without_contents(recorded: Any) -> Any:
    """Leave out of the start of a feed what our client never requests."""
    if not isinstance(recorded, list):
        return recorded
    values = [message.get("value") for message in recorded]
    kept = [value and {name: value[name] for name in value if name not in CONTENTS} for value in values]
    return [
        message | ({"value": value} if value else {}) for message, value in zip(recorded, kept, strict=True)
    ]


def is_page(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("<!DOCTYPE html>")


def test_answers_as_recorded(replayed_exchange: Any, replay: Any) -> None:
    exchange, recorded = replayed_exchange, replayed_exchange.recorded
    answer = replay(exchange.file, exchange.case)[exchange]
    assert answer.status == recorded["status"]
    # Of waitpoint tokens, the last one was not recorded.
    for name in HEADERS[: -1 if exchange.file == "waitpoint_tokens" else None]:
        assert answer.headers.get(name) == recorded["headers"].get(name), name
    # Of one exchange, only a header was recorded.
    limits = () if exchange.label.startswith("eight log lines") else LIMITS
    for name in (*limits, *PLACES):
        assert (name in answer.headers) == (name in recorded["headers"]), name
    if exchange.file == "rate_limit":
        assert answer.headers.get(LIMITS[1]) == recorded["headers"].get(LIMITS[1])
    bodies = (without_contents(body) for body in (recorded["body"], answer.body))
    assert list(differences(*bodies)) == []
    assert "date" in answer.headers


def test_each_recorded_line_is_replayed_or_left_out_for_a_reason(server_recordings: Any, replay: Any) -> None:
    reasons = Counter(exchange.left_out for exchange in server_recordings)
    cases = {(exchange.file, exchange.case) for exchange in server_recordings}
    replayed = sum(len(replay(*case)) for case in cases)
    lines = sum(len(path.read_text().splitlines()) for path in RECORDINGS.glob("*.jsonl"))
    assert replayed + sum(count for reason, count in reasons.items() if reason) == lines
    # To be raised with every call that comes into use.
    assert replayed == 949, reasons
