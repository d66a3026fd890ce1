"""Any call of Trigger.dev's API, also one that the provider does not make itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from airflow_provider_trigger.api.answers import json_value
from airflow_provider_trigger.api.http import Call, Request

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_PATH = re.compile(r"/api/[!$-.0-;=@-Z_a-z~/]+")  # printable ASCII without a query and a fragment


def any_call(
    method: str, path: str, json: Any, params: Mapping[str, Any], *, repeatable: bool | None
) -> Call[Any]:
    """Return a call that gives the JSON of the answer; a ValueError says what cannot be sent."""
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}, not {method!r}")
    if (
        not isinstance(path, str)
        or not _PATH.fullmatch(path)
        or {"", ".", ".."} & {*unquote(path[1:]).split("/")}
    ):
        what = "a path such as '/api/v1/queues', percent-encoded, without an address, a query, '..' or '//'"
        raise ValueError(f"path must be {what}, not {path!r}")
    given = {name: value if isinstance(value, str) else str(value).lower() for name, value in params.items()}
    repeats = method == "GET" if repeatable is None else repeatable
    request = Request(method=method, path=path, params=given, json=json, repeatable=repeats)
    return Call(request=request, read=lambda response: json_value(request, response))
