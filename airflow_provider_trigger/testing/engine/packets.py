"""Large outputs and payloads: what lies in the object store, and the URLs that open it for a while."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from . import settings
from .runs import ServerRun
from .server_time import ServerTime, moment
from .settings import UNSET
from .states import State


@dataclass(frozen=True, slots=True)
class Packet:
    """A value as the object store keeps it; its name is the last part of its path."""

    name: str
    text: str
    content_type: str


def output_packet(state: State) -> Packet | None:
    """Return the packet of a run's output, ``None`` if a retrieve shows the output itself."""
    if state.output is UNSET:
        return None
    name = f"attempt_{state.attempt_count}/output"
    if isinstance(state.output, str):
        packet = Packet(f"{name}.txt", well_formed(state.output), "text/plain")
    else:
        text = compact({"json": state.output})
        packet = Packet(f"{name}.json", text, "application/super+json")
    large = len(packet.text.encode()) > settings.LARGEST_OUTPUT
    return packet if (large if state.output_by_url is None else state.output_by_url) else None


def payload_packet(payload: Any) -> Packet | None:
    """Return the packet of a payload, ``None`` if it is small."""
    if payload is UNSET:
        return None
    text = compact(payload)
    large = len(text.encode()) >= settings.LARGE_PAYLOAD
    return Packet("payload.json", text, "application/json") if large else None


def compact(value: Any) -> str:
    """Return JSON as JavaScript writes it: of characters, only lone surrogates are escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()


def well_formed(text: str) -> str:
    """Return a text as JavaScript encodes it: U+FFFD takes the place of a lone surrogate."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class ObjectStore:
    """The packets that were given URLs. Like those of S3, a URL holds all that a request for it needs."""

    def __init__(self, time: ServerTime) -> None:
        self._time = time
        self._issued: dict[str, tuple[str, float, Packet]] = {}

    def presign(self, run: ServerRun, packet: Packet) -> str:
        """Return a new URL for a packet of a run, from its path on."""
        now = self._time.now()
        path = f"/packets/proj_local/{run.environment.name}/{run.id}/{packet.name}"
        signature = secrets.token_hex(32)
        self._issued[signature] = (path, self._time.after(settings.URL_LIFETIME, now), packet)
        date = f"{moment(now):%Y%m%dT%H%M%SZ}"
        query = {
            "X-Amz-Expires": int(settings.URL_LIFETIME),
            "X-Amz-Date": date,
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"local/{date[:8]}/us-east-1/s3/aws4_request",
            "X-Amz-SignedHeaders": "host",
            "X-Amz-Signature": signature,
        }
        return f"{path}?{urlencode(query)}"

    def open(self, path: str, query: Mapping[str, str]) -> Packet | None:
        """Return the packet of a URL, ``None`` for a URL that is invalid or has expired."""
        issued_for, until, packet = self._issued.get(query.get("X-Amz-Signature", ""), ("", 0.0, None))
        return packet if path == issued_for and self._time.now() < until else None
