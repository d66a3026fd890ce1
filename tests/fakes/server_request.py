"""What the local server gets of a request that never reaches a socket."""

from __future__ import annotations

from urllib.parse import urlsplit

import requests
from starlette.requests import Request


def served(request: requests.PreparedRequest) -> tuple[Request, str, bytes]:
    """Return a request as the server's routes take it: itself, its path and its body."""
    url, body = urlsplit(str(request.url)), request.body or b""
    scope = {
        "type": "http",
        "method": request.method,
        "scheme": "https",
        "server": ("trigger.test", 443),
        "path": url.path,
        "raw_path": url.path.encode(),
        "query_string": url.query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in request.headers.items()],
    }
    return Request(scope), url.path, body if isinstance(body, bytes) else body.encode()
