"""Read an Airflow connection: each field checked, and named where it is wrong."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import SplitResult, quote, urlsplit

from airflow_provider_trigger._compat import AirflowFailException

if TYPE_CHECKING:
    from airflow.sdk import Connection

log = logging.getLogger(__name__)

CLOUD_URL = "https://api.trigger.dev"
CLOUD_DASHBOARD_URL = "https://cloud.trigger.dev"
DEFAULT_TIMEOUT = 30.0
DEFAULT_RETRY_FOR = 120.0

_YEAR = 366 * 86400.0  # far beyond use, and far below what sockets and clocks can take

_EXTRA_FIELDS = ("branch", "dashboard_url", "timeout", "retry_for", "verify", "proxy")


class InvalidConnectionError(AirflowFailException):
    """A field of the Airflow connection is missing or malformed; another try would not cure it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    What an Airflow connection says, read and checked.

    :param base_url: where the API is, without a trailing slash
    :param secret_key: in no repr
    :param branch: the preview branch, None for none
    :param dashboard_url: where links to runs lead, without a trailing slash
    :param timeout: for one request, in seconds
    :param retry_for: how long one call goes on trying, in seconds
    :param verify: whether to check certificates, or the path of a CA file
    :param proxy: a proxy's URL, in no repr as it may hold a password; None for what the environment says
    """

    base_url: str
    secret_key: str = field(repr=False)
    branch: str | None
    dashboard_url: str
    timeout: float
    retry_for: float
    verify: bool | str
    proxy: str | None = field(repr=False)

    def run_url(self, run_id: str) -> str:
        """
        Return where the dashboard shows a run: it redirects to the run's page (read in the server's source).

        :param run_id: the run id
        """
        return f"{self.dashboard_url}/runs/{quote(run_id, safe='')}"


def read_settings(connection: Connection) -> Settings:
    """
    Read a connection.

    :param connection: from Airflow
    :raises InvalidConnectionError: a field is missing or malformed; names the connection and the field
    """
    reader = _Reader(connection.conn_id)
    extra = reader.extra(connection.extra)
    base_url = reader.base_url(connection.host, connection.port, connection.schema)
    _warn_if_unencrypted(connection.conn_id, base_url)
    return Settings(
        base_url=base_url,
        secret_key=reader.secret_key(connection.password, login=connection.login),
        branch=reader.header_text("branch", extra.get("branch")),
        dashboard_url=reader.dashboard_url(extra.get("dashboard_url"), base_url),
        timeout=reader.seconds("timeout", extra.get("timeout"), default=DEFAULT_TIMEOUT, zero=False),
        retry_for=reader.seconds("retry_for", extra.get("retry_for"), default=DEFAULT_RETRY_FOR, zero=True),
        verify=reader.verify(extra.get("verify")),
        proxy=reader.proxy(extra.get("proxy")),
    )


@lru_cache(maxsize=128)
def _warn_if_unencrypted(conn_id: str, base_url: str) -> None:
    """Warn once in a process."""
    url = urlsplit(base_url)
    if url.scheme == "http" and not _is_loopback(url.hostname or ""):
        log.warning(
            "Connection %r: host is %s, so the secret key goes over the network unencrypted; use https",
            conn_id,
            base_url,
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class _Reader:
    """Reads the fields of one connection; each error names it and the field."""

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id

    def _fail(self, name: str, reason: str) -> NoReturn:
        raise InvalidConnectionError(f"Connection {self._conn_id!r}, field {name!r}: {reason}")

    def secret_key(self, value: str | None, *, login: str | None) -> str:
        key = (value or "").strip()
        if not key and login:
            self._fail("password", "it is empty and login is not; in a URI, a colon stands before the key")
        if not key:
            self._fail("password", "the secret key is missing; see your Trigger.dev project's API keys")
        if not key.isascii() or not key.isprintable() or " " in key:
            self._fail("password", "the secret key has characters that no key has; was it pasted whole?")
        return key

    def extra(self, value: str | None) -> Mapping[str, Any]:
        if not value or not value.strip():
            return {}
        try:
            extra = json.loads(value)
        except (ValueError, RecursionError):
            self._fail("extra", "it is no JSON")
        if not isinstance(extra, dict):
            self._fail("extra", f"it is no JSON object but of type {type(extra).__name__}")
        if unknown := sorted(set(extra) - set(_EXTRA_FIELDS)):
            log.warning(
                "Connection %r: unknown in extra, so without effect: %s; known are %s",
                self._conn_id,
                ", ".join(map(repr, unknown)),
                ", ".join(_EXTRA_FIELDS),
            )
        return extra

    def base_url(self, host: str | None, port: int | None, schema: str | None) -> str:
        host, scheme = (host or "").strip(), (schema or "").strip().lower()
        if scheme not in ("", "http", "https"):
            # Not repeated: of a URI with trigger_dev://, Airflow takes all the rest, the key too, for this.
            self._fail(
                "schema", "it is neither http nor https; a connection's URI begins with trigger-dev://"
            )
        if not host:
            return self._checked_url("host", CLOUD_URL, port)
        if "://" in host:
            return self._checked_url("host", host, port)
        if host.count(":") > 1 and not host.startswith("["):
            host = f"[{host}]"  # a bare IPv6 address
        return self._checked_url("host", f"{scheme or 'https'}://{host}", port)

    def _checked_url(self, name: str, text: str, port: int | None = None) -> str:
        # The value is not repeated in an error: a password may stand in it.
        url = self._split(name, text)
        if url.scheme not in ("http", "https"):
            self._fail(name, "it begins with neither http:// nor https://")
        if "@" in url.netloc:
            self._fail(name, "it has user info (…@…); the secret key belongs into the password field")
        if any(character.isspace() for character in text):
            self._fail(name, "it has a blank in it")
        if not all(0 < len(label) < 64 for label in (url.hostname or "").removesuffix(".").split(".")):
            self._fail(name, "it names no host")
        if url.query or url.fragment:
            self._fail(name, "it has a query or a fragment; a base URL ends with its path")
        if port and not 0 < port < 65536:
            self._fail("port", f"{port} is no port; they go from 1 to 65535")
        netloc = url.netloc
        if port and url.port is None:
            netloc = f"{netloc.rstrip(':')}:{port}"
        elif port and port != url.port:
            self._fail("port", f"it is {port}, but host says {url.port}")
        return f"{url.scheme}://{netloc}{url.path.rstrip('/')}"

    def _split(self, name: str, text: str) -> SplitResult:
        try:
            url = urlsplit(text)
            _ = url.port  # raises where it is no number
        except ValueError:
            self._fail(name, "it is no URL")
        return url

    def dashboard_url(self, value: object, base_url: str) -> str:
        text = self._text("dashboard_url", value)
        if text:
            return self._checked_url("dashboard_url", text)
        is_cloud = urlsplit(base_url).hostname == urlsplit(CLOUD_URL).hostname
        return CLOUD_DASHBOARD_URL if is_cloud else base_url

    def proxy(self, value: object) -> str | None:
        text = self._text("proxy", value)
        if text and not (self._split("proxy", text).scheme and self._split("proxy", text).hostname):
            self._fail("proxy", "it is no URL such as http://proxy.example.com:3128")
        return text

    def header_text(self, name: str, value: object) -> str | None:
        text = self._text(name, value)
        if text and not (text.isascii() and text.isprintable()):
            self._fail(name, "it has characters that cannot be sent in an HTTP header")
        return text

    def verify(self, value: object) -> bool | str:
        if isinstance(value, bool):
            return value
        text = self._text("verify", value)
        if text is None or text.lower() == "true":
            return True
        if text.lower() == "false":
            return False
        if not os.path.exists(text):
            self._fail("verify", f"there is no file {text!r}; give true, false or the path of a CA file")
        return text

    def seconds(self, name: str, value: object, *, default: float, zero: bool) -> float:
        if value is None or value == "":
            return default
        try:
            seconds = float(value) if isinstance(value, (int, float, str)) else math.nan
        except (ValueError, OverflowError):
            seconds = math.nan
        if isinstance(value, bool) or not math.isfinite(seconds) or seconds < 0 or not (seconds or zero):
            self._fail(name, f"it is no number of seconds{'' if zero else ' above 0'}")
        if seconds > _YEAR:
            self._fail(name, f"{seconds:g} s is more than a year")
        return seconds

    def _text(self, name: str, value: object) -> str | None:
        if value is not None and not isinstance(value, str):
            self._fail(name, f"it is no text but of type {type(value).__name__}")
        return (value or "").strip() or None
