"""
Check and assemble the URLs of a connection.

What is wrong with a URL is returned without the URL itself, as it may contain a password or the secret key.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

MAX_PORT = 65535

_MAX_LABEL_LENGTH = 63  # of one part of a host name, between two dots
_SECRET_KEY = re.compile(r"tr_[a-z]+_\w+", re.IGNORECASE)
_API_PATH = re.compile(r"/api/v\d+$", re.IGNORECASE)


def looks_like_a_key(text: str) -> bool:
    """Return whether a whole text looks like a secret key of Trigger.dev."""
    return _SECRET_KEY.fullmatch(text) is not None


def split(text: str) -> SplitResult | None:
    """Split a URL, None if that is not possible."""
    try:
        return urlsplit(text)
    except ValueError:
        return None


def with_scheme(host: str, scheme: str) -> str:
    """Return a host, perhaps with a port and a path, as a URL; without a scheme it gets this one."""
    if "://" in host:
        return host
    return f"{scheme}://[{host}]" if _is_ipv6(host) else f"{scheme}://{host}"


def text_of(url: SplitResult, port: int | None = None) -> str:
    """Return a valid URL as text, without a trailing slash; if it has no port, with this one."""
    netloc = url.netloc
    if port and url.port is None:
        netloc = f"{netloc.rstrip(':')}:{port}"
    return f"{url.scheme}://{netloc}{url.path.rstrip('/')}"


def problem(url: SplitResult, text: str) -> str | None:
    """Return what is wrong with a URL that was given as this text, None if it is valid."""
    if url.scheme not in ("http", "https"):
        return "must begin with http:// or https://"
    if "@" in url.netloc:
        return "must not contain user info (…@…); the secret key belongs in the password field"
    if any(character.isspace() for character in text):
        return "must not contain spaces"
    labels = (url.hostname or "").removesuffix(".").split(".")
    if not all(0 < len(label) <= _MAX_LABEL_LENGTH for label in labels):
        return "not a valid URL, must contain a host name"
    if url.query or url.fragment:
        return "must not contain a query or a fragment (? or #)"
    if not _has_valid_port(url):
        return f"not a valid URL, its port must be a number from 1 to {MAX_PORT}"
    return None


def api_problem(url: SplitResult) -> str | None:
    """Return why a valid URL is not the base URL of an API, None if it can be one."""
    if any(map(looks_like_a_key, (url.hostname or "", *url.path.split("/")))):
        return "contains a secret key, which belongs in the password field; in a URI: trigger-dev://:KEY@HOST"
    if found := _API_PATH.search(url.path.rstrip("/")):
        return f"must not end in {found[0]}; give the base URL, without {found[0]}"
    return None


def is_loopback(host: str) -> bool:
    """Return whether a host, in lower case, is this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_ipv6(host: str) -> bool:
    try:
        return ip_address(host).version == 6
    except ValueError:
        return False


def _has_valid_port(url: SplitResult) -> bool:
    try:
        return url.port != 0
    except ValueError:
        return False
