"""Read an Airflow connection and check each of its fields."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import SplitResult, quote, urlsplit

from airflow_provider_trigger import __version__
from airflow_provider_trigger._compat import (
    AirflowFailException,
    AirflowNotFoundException,
    airflow_version,
)
from airflow_provider_trigger.api.http import ServerSettings
from airflow_provider_trigger.defaults import API_URL, DASHBOARD_URL, REQUEST_TIMEOUT, RETRY_FOR
from airflow_provider_trigger.durations import read_number
from airflow_provider_trigger.get_provider_info import CONNECTION_TYPE
from airflow_provider_trigger.hooks import urls

if TYPE_CHECKING:
    from airflow.sdk import Connection

log = logging.getLogger(__name__)

EXTRA_FIELDS = ("branch", "dashboard_url", "timeout", "retry_for", "verify", "proxy")
"""The fields that the extra of a connection may have."""

_YEAR = 366 * 86400.0  # far longer than anyone waits, and short enough for sockets and clocks
_QUOTATION_MARKS = "\"'`\u2018\u2019\u201c\u201d\u201e"  # also those of word processors


class ConnectionNotFoundError(AirflowNotFoundException, AirflowFailException):
    """
    Airflow has no connection with this id, or cannot read it from its environment variable.

    It is an ``AirflowNotFoundException``, as every hook raises, and an ``AirflowFailException``: a task that
    raises it is not retried.
    """


class InvalidConnectionError(AirflowFailException):
    """A field of the Airflow connection is missing or invalid; a task that raises this is not retried."""


def connection_not_found(conn_id: str) -> ConnectionNotFoundError:
    """Return the error for a connection that Airflow did not find; it says how to create or correct it."""
    text, variable = f"Connection {conn_id!r} was not found", f"AIRFLOW_CONN_{conn_id.upper()}"
    if os.environ.get(variable):
        # Airflow ignores a variable that it cannot read. Its value is not shown, as it contains the key.
        return ConnectionNotFoundError(
            f"{text}: the environment variable {variable} is set, but not valid; it must be JSON such as "
            '{"conn_type": "trigger_dev", "password": "KEY"}, or a percent-encoded URI such as '
            "trigger-dev://:KEY@HOST"
        )
    return ConnectionNotFoundError(
        f"{text}; create it under Admin, Connections, or check that the environment variable {variable} is "
        "set, to valid JSON or a URI, on every worker"
    )


Environment = tuple[str, str, str | None]
"""The id of a connection, its base URL and its branch."""


@dataclass(frozen=True, kw_only=True)
class Settings(ServerSettings):
    """
    The values of an Airflow connection, read and checked; a client takes them as they are.

    :param conn_id: the id of the connection, for messages
    :param dashboard_url: where links to runs lead, without a trailing slash
    """

    conn_id: str
    dashboard_url: str

    @property
    def environment(self) -> Environment:
        """Which connection it is, and where it leads: the same one has the same runs, whatever its key is."""
        return self.conn_id, self.base_url, self.branch

    def run_url(self, run_id: str) -> str:
        """
        Return the dashboard's address for a run, which redirects to the run's page.

        :param run_id: the run id
        """
        return f"{self.dashboard_url}/runs/{quote(run_id, safe='')}"


def read_settings(connection: Connection) -> Settings:
    """Read a connection and check each field; an error names the connection and the field."""
    reader = _Reader(connection.conn_id)
    reader.check_type(getattr(connection, "conn_type", None))
    extra = reader.extra(connection.extra)
    # Before the password: in trigger-dev://KEY the key is in the host, and the password is empty.
    base_url = reader.base_url(connection.host, connection.port, connection.schema)
    settings = Settings(
        conn_id=connection.conn_id,
        base_url=base_url,
        secret_key=reader.secret_key(connection.password, login=connection.login),
        user_agent=f"airflow-provider-trigger/{__version__} apache-airflow/{airflow_version()}",
        branch=reader.branch(extra.get("branch")),
        dashboard_url=reader.dashboard_url(extra.get("dashboard_url"), base_url),
        timeout=reader.seconds("timeout", extra.get("timeout"), default=REQUEST_TIMEOUT, zero=False),
        retry_for=reader.seconds("retry_for", extra.get("retry_for"), default=RETRY_FOR, zero=True),
        verify=reader.verify(extra.get("verify")),
        proxy=reader.proxy(extra.get("proxy")),
    )
    _warn_if_unencrypted(settings.conn_id, settings.base_url)
    return settings


@lru_cache(maxsize=128)
def _warn_if_unencrypted(conn_id: str, base_url: str) -> None:
    """Warn once per process."""
    url = urlsplit(base_url)
    if url.scheme == "http" and not urls.is_loopback(url.hostname or ""):
        log.warning(
            "Connection %r: the secret key is sent unencrypted, because host is %s; use https",
            conn_id,
            base_url,
        )


class _Reader:
    """
    Read the fields of one connection; each error names the connection and the field.

    No error is raised while another one is handled: that one contains the value, which may be a secret.
    """

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id

    def _fail(self, name: str, reason: str) -> NoReturn:
        raise InvalidConnectionError(f"Connection {self._conn_id!r}, field {name!r}: {reason}")

    def check_type(self, value: str | None) -> None:
        # Airflow gives None for JSON without a type, and '' for a URI without a scheme: no other service's.
        if (kind := (value or CONNECTION_TYPE).replace("-", "_")) != CONNECTION_TYPE:
            reason = f"must be {CONNECTION_TYPE!r}, not {kind!r}: its password is not sent to Trigger.dev"
            self._fail("conn_type", f"{reason}; name a connection of the type Trigger.dev, or add one")

    def secret_key(self, value: str | None, *, login: str | None) -> str:
        key = (value or "").strip()
        if problem := _key_problem(key, login):
            self._fail("password", problem)
        return key

    def extra(self, value: str | None) -> Mapping[str, Any]:
        if not value or not value.strip():
            return {}
        extra = _json_object(value)
        if extra is None:
            self._fail("extra", 'not a valid JSON object, must be such as {"timeout": 10}')
        if unknown := sorted(set(extra) - set(EXTRA_FIELDS)):
            log.warning(
                "Connection %r: unknown fields in extra have no effect: %s; the known fields are %s",
                self._conn_id,
                ", ".join("a secret key" if urls.looks_like_a_key(name) else repr(name) for name in unknown),
                ", ".join(EXTRA_FIELDS),
            )
        return extra

    def base_url(self, host: str | None, port: object, schema: str | None) -> str:
        host, scheme = (host or "").strip(), (schema or "").strip().lower()
        if scheme not in ("", "http", "https"):
            # Not repeated: from a URI that begins with trigger_dev://, Airflow puts the key into this field.
            self._fail("schema", "must be http, https or empty; a connection URI begins with trigger-dev://")
        # A secrets backend may give a text. A 0, which the form hides from correction, means none.
        number = read_number(port or 0)
        if number is None or number != int(number) or not 0 <= number <= urls.MAX_PORT:
            self._fail("port", f"not a valid port, must be a number from 1 to {urls.MAX_PORT}")
        port = int(number)
        url = self._url("host", urls.with_scheme(host, scheme or "https") if host else API_URL)
        if problem := urls.api_problem(url):
            self._fail("host", problem)
        if port and url.port not in (None, port):
            self._fail("port", f"{port} contradicts the port {url.port} in host; remove one of them")
        return urls.text_of(url, port)

    def dashboard_url(self, value: object, base_url: str) -> str:
        text = self._text("dashboard_url", value)
        if text:
            return urls.text_of(self._url("dashboard_url", text))
        is_cloud = urlsplit(base_url).hostname == urlsplit(API_URL).hostname
        return DASHBOARD_URL if is_cloud else base_url

    def proxy(self, value: object) -> str | None:
        text = self._text("proxy", value)
        url = urls.split(text or "")
        if text and not (url and url.scheme and url.hostname):
            self._fail("proxy", "not a valid URL, must be such as http://proxy.example.com:3128")
        return text

    def branch(self, value: object) -> str | None:
        text = self._text("branch", value)
        if text and not (text.isascii() and text.isprintable()):
            self._fail("branch", "must contain only printable ASCII characters")
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
            self._fail("verify", f"file {text!r} not found, must be true, false or the path of a CA file")
        return text

    def seconds(self, name: str, value: object, *, default: float, zero: bool) -> float:
        if value is None or value == "":
            return default
        seconds = read_number(value)
        if seconds is None or seconds < 0 or not (seconds or zero):
            self._fail(name, f"not a valid number of seconds, must be {'0 or more' if zero else 'above 0'}")
        if seconds > _YEAR:
            self._fail(name, f"{seconds:g} s is too long, must be up to one year")
        return float(seconds)

    def _url(self, name: str, text: str) -> SplitResult:
        url = urls.split(text)
        if url is None:
            self._fail(name, "not a valid URL, must be such as https://trigger.example.com")
        if problem := urls.problem(url, text):
            self._fail(name, problem)
        return url

    def _text(self, name: str, value: object) -> str | None:
        if value is not None and not isinstance(value, str):
            self._fail(name, f"must be text, not of type {type(value).__name__}")
        return (value or "").strip() or None


def _key_problem(key: str, login: str | None) -> str | None:
    if not key and login:
        return "empty, but login is set; in a URI, write a colon before the key: trigger-dev://:KEY@HOST"
    if not key:
        return "the secret key is missing; copy it from the API keys page of your Trigger.dev project"
    if key[0] in _QUOTATION_MARKS or key[-1] in _QUOTATION_MARKS:
        return "the secret key has quotation marks around it; enter it without them"
    if not key.isascii() or not key.isprintable() or " " in key:
        return (
            "the secret key contains spaces, line breaks or non-ASCII characters; "
            "copy it again from the API keys page of your Trigger.dev project"
        )
    return None


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
