"""The calls for waitpoint tokens: create, retrieve, complete, list; and their addresses."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from ..answers import error_answer, json_answer, unexpected_method
from ..engine import settings
from ..engine.engine import Engine
from ..engine.packets import compact, well_formed
from ..engine.server_time import moment, read_duration
from ..engine.settings import UNSET
from ..engine.waitpoints import TOKENS, ServerToken, as_in_javascript
from .calls import READING, Call, InvalidBodyError, Route, find_in, kind_of, read_json
from .run_list import QueryError, page_size, read_statuses
from .tasks import LARGEST_BODY, MOST_TAGS, TOO_LARGE, issues_of_key, issues_of_tags
from .views import show_time

ADDRESS = re.compile(rf"{TOKENS}/[^/]+/callback/[^/]+")
_LARGEST_REQUEST = 10 * 1024
_STATUSES = frozenset({"WAITING", "COMPLETED", "TIMED_OUT"})


class WaitpointCalls:
    """Answer the calls for waitpoint tokens."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.routes = [
            Route(re.compile(TOKENS), load=self._list, act=self._create, accepts_tokens=False),
            Route(re.compile(rf"{TOKENS}/([^/]+)"), load=self._retrieve),
            Route(re.compile(rf"{TOKENS}/([^/]+)/complete"), act=self._complete),
        ]

    def _create(self, call: Call) -> Response:
        try:
            given = _read_new(call.body)
        except InvalidBodyError as error:
            return error_answer(str(error), status=error.status)
        tags, timeout = given.get("tags", []), given.get("timeout", "")
        token, is_cached = self._engine.create_token(
            timeout=timeout if isinstance(timeout, str) else float(timeout or 0),
            tags=[tags] if isinstance(tags, str) else tags,
            idempotency_key=given.get("idempotencyKey"),
            key_lifetime=given.get("idempotencyKeyTTL"),
            environment=call.environment,
        )
        return json_answer({"id": token.id, "isCached": is_cached, "url": _show(call, token)["url"]})

    def _retrieve(self, call: Call) -> Response:
        token = find_in(self._engine.tokens, call)
        if token is None:  # so does the real server
            return error_answer("Internal Server Error", status=500)
        text, kind = _output(token)
        body = {
            "idempotencyKey": token.id[-24:],  # the real server makes one up where none was given
            "userProvidedIdempotencyKey": token.idempotency_key is not None,
            "type": "MANUAL",
            "outputType": kind,
            "outputIsError": token.status == "TIMED_OUT",
        }
        return json_answer(body | _show(call, token) | ({} if text is None else {"output": text}))

    def _complete(self, call: Call) -> Response:
        try:
            data = _read(call.body, LARGEST_BODY).get("data", UNSET)
        except InvalidBodyError as error:
            return error_answer(str(error), status=error.status)
        token = find_in(self._engine.tokens, call)
        if token is None:
            return error_answer("Waitpoint not found", status=404)
        return self._take(token, data, failure="Failed to complete waitpoint token")

    def answer_address(self, request: Request, path: str, body: bytes) -> Response:
        """Answer a request to a token's address: its whole body is the data, ``{}`` if it is not JSON."""
        if request.method != "POST":
            return unexpected_method(status=400 if request.method in READING else 405)
        token = self._engine.tokens.get(unquote(path.split("/")[-3]))
        if token is None:
            return error_answer("Waitpoint not found", status=404)
        if path != token.path:
            return error_answer("Invalid URL, hash doesn't match", status=401)
        try:
            data = read_json(body)
        except InvalidBodyError:
            data = {}
        return self._take(token, data, failure="Failed to complete HTTP callback")

    def _take(self, token: ServerToken, data: Any, *, failure: str) -> Response:
        text, _ = _text(as_in_javascript(data))
        if token.status == "WAITING" and len((text or "").encode()) >= settings.LARGE_PAYLOAD:
            return error_answer(failure, status=500)
        self._engine.complete_token(token.id, data)
        return json_answer({"success": True})

    def _list(self, call: Call) -> Response:
        query = call.request.query_params
        try:
            size = page_size(query.get("page[size]"))
            statuses = read_statuses(query.get("filter[status]"), _STATUSES)
        except QueryError as error:
            return json_answer({"error": str(error), "details": error.details}, status=400)
        tags, key = query.get("filter[tags]", ""), query.get("filter[idempotencyKey]")
        period, after = read_duration(query.get("filter[createdAt][period]")), query.get("page[after]")
        tokens = [
            token
            for token in sorted(list(self._engine.tokens.values()), key=lambda token: token.id, reverse=True)
            if token.environment == call.environment
            and (not statuses or token.status in statuses)
            and (not tags or not set(tags.split(",")).isdisjoint(token.tags))
            and (not key or token.idempotency_key == key)
            and (not period or token.created >= self._engine.time.now() - period)
            and (not after or token.id < after)
        ]
        pagination = {"next": tokens[size - 1].id} if len(tokens) > size else {}
        page = [_show(call, token) for token in tokens[:size]]
        return json_answer({"data": page, "pagination": pagination})


def _read(body: bytes, largest: int) -> dict[str, Any]:
    """Return the object that a body is; InvalidBodyError for another body, and a larger one."""
    if len(body) > largest:
        raise InvalidBodyError(TOO_LARGE, status=413)
    given = read_json(body)
    if not isinstance(given, dict):
        raise InvalidBodyError(f"Validation error: Expected object, received {kind_of(given)}")
    return given


def _read_new(body: bytes) -> dict[str, Any]:
    given = _read(body, _LARGEST_REQUEST)
    tags = given.get("tags", [])
    issues = [
        *issues_of_tags(tags, "tags"),
        *issues_of_key(given.get("idempotencyKey", ""), "idempotencyKey"),
    ]
    issues += ['Invalid date at "timeout"'] if isinstance(given.get("timeout"), list | dict) else []
    if issues:
        raise InvalidBodyError(f"Validation error: {'; '.join(issues)}")
    if isinstance(tags, list) and len(tags) > MOST_TAGS:
        text = f"Waitpoints can only have {MOST_TAGS} tags, you're trying to set {len(tags)}."
        raise InvalidBodyError(text, status=422)
    return given


def _show(call: Call, token: ServerToken) -> dict[str, Any]:
    """Return what a list shows of a token."""
    times = {
        "completedAt": None if token.status == "WAITING" else token.ends_at,
        "timeoutAt": token.timeout_at,
        "completedAfter": token.timeout_at,
        "idempotencyKeyExpiresAt": token.key_expires_at,
        "createdAt": token.created,
    }
    url = str(call.request.base_url).rstrip("/") + token.path  # names the server as its client does
    body = {"id": token.id, "url": url, "status": token.status, "tags": list(token.tags)}
    body |= {name: show_time(moment(at)) for name, at in times.items() if at is not None}
    return body if token.idempotency_key is None else body | {"idempotencyKey": token.idempotency_key}


def _output(token: ServerToken) -> tuple[str | None, str]:
    """Return what a token shows as its output, ``None`` for nothing, and what that text is."""
    if token.status != "TIMED_OUT" or token.timeout_at is None:
        return _text(token.output)
    message = f"Waitpoint timed out at {show_time(moment(token.timeout_at))}"
    return compact({"code": "TRIGGER_WAITPOINT_TIMEOUT", "message": message}), "application/json"


def _text(output: Any) -> tuple[str | None, str]:
    if output is UNSET:
        return None, "application/json"
    if isinstance(output, str):
        return well_formed(output), "text/plain"
    return compact({"json": output}), "application/super+json"
