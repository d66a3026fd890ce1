"""The object store's side: large outputs and payloads, by the URLs that a retrieve shows."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ..engine.engine import Engine
from ..engine.packets import ObjectStore
from ..http.answers import plain_answer
from .calls import Call
from .views import Presign

PREFIX = "/packets/"
_XML = "application/xml"


def presigner(engine: Engine, call: Call) -> Presign | None:
    """
    Return what gives a packet a URL: on this server, which is its own object store. ``None`` if it has none.

    :param call: the call that is answered; the URL names the server as its client does
    """
    if not engine.object_store:
        return None
    base = str(call.request.base_url).rstrip("/")
    return lambda run, packet: base + engine.packets.presign(run, packet)


def answer_packet(store: ObjectStore, request: Request, path: str) -> Response:
    """Answer a request for a packet as S3 does: the URL alone opens it, a key in addition is an error."""
    if "authorization" in request.headers:
        return _error("InvalidArgument", "Only one auth mechanism allowed", status=400)
    packet = store.open(path, request.query_params) if request.method in ("GET", "HEAD") else None
    if packet is None:
        return _error("AccessDenied", "Request has expired", status=403)
    return plain_answer(packet.text, packet.content_type, status=200)


def _error(code: str, message: str, *, status: int) -> Response:
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return plain_answer(text, _XML, status=status)
