"""An Airflow connection: its fields, and what an API error means for it."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow_provider_trigger import __version__, _compat
from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.http import ServerSettings
from airflow_provider_trigger.defaults import API_URL, DASHBOARD_URL, REQUEST_TIMEOUT, RETRY_FOR
from airflow_provider_trigger.get_provider_info import CONNECTION_TYPE
from airflow_provider_trigger.rules import read_number

if TYPE_CHECKING:
    from airflow.sdk import Connection

log = logging.getLogger(__name__)

_YEAR = 366 * 86400.0  # far longer than anyone waits, and short enough for sockets and clocks
_MAX_PORT = 65535
_SECRET_KEY = re.compile(r"\btr_[a-z]+_\w{5,}", re.IGNORECASE)
_API_KEYS_PAGE = "the API keys page of your Trigger.dev project"
# The error text for each field. It never repeats the value, which may be a secret.
_MUST_BE = {
    "password": f"must be the secret key as {_API_KEYS_PAGE} shows it, without quotation marks and spaces",
    "host": "must be the base URL of the API, such as https://trigger.example.com, without /api/v1",
    # From a URI that begins with trigger_dev://, Airflow puts the key into this field.
    "schema": "must be http, https or empty; a connection URI begins with trigger-dev://",
    "port": f"must be a number from 1 to {_MAX_PORT}",
    "extra": 'must be a JSON object, such as {"timeout": 10}',
    "branch": "must be text of printable ASCII characters",
    "dashboard_url": "must be a URL such as https://trigger.example.com",
    "timeout": "must be a number of seconds above 0, up to one year",
    "retry_for": "must be a number of seconds from 0 up to one year",
    "verify": "must be true, false or the path of a CA file that exists on this machine",
    "proxy": "must be a URL such as http://proxy.example.com:3128",
}


class ConnectionNotFoundError(_compat.AirflowNotFoundException):
    """
    Airflow has no connection with this id, cannot read its environment variable, or could not get it.

    A secrets backend or an API server of Airflow that fails looks the same, so a task that raises it is
    retried as often as its ``retries`` say.
    """


class InvalidConnectionError(_compat.AirflowFailException):
    """A field of the Airflow connection is missing or invalid; a task that raises this is not retried."""


def connection_not_found(conn_id: str) -> ConnectionNotFoundError:
    """Return the error for a connection that Airflow did not find; it says how to create or correct it."""
    # Airflow ignores a variable that it cannot read. Its value is not shown, as it contains the key.
    return ConnectionNotFoundError(
        f"Connection {conn_id!r} was not found; create it under Admin, Connections, or set the environment "
        f"variable AIRFLOW_CONN_{conn_id.upper()} on every worker; if it is set, it is not valid: it must be "
        'JSON such as {"conn_type": "trigger_dev", "password": "KEY"}, or a percent-encoded URI such as '
        "trigger-dev://:KEY@HOST. A secrets backend or an API server of Airflow that fails looks the same: "
        "then a retry helps"
    )


_OTHER_SERVER = ("{url} is not a Trigger.dev server", "check the host of {connection}")
_FAILED = ("{url} failed", "")
# The meaning of an error, and what to do. The first class that fits decides.
_MEANINGS: dict[type[TriggerDevError], tuple[str, str]] = {
    errors.AuthenticationError: ("{url} rejected the secret key", "check the password of {connection}"),
    errors.PermissionDeniedError: (
        "The secret key lacks a permission",
        "check the permissions of the key in the password of {connection}",
    ),
    errors.PlainHttpError: (
        "No TLS connection to {url}",
        "write http:// in the host of {connection}, or give the port for https",
    ),
    errors.TLSError: (
        "No TLS connection to {url}",
        "check the host of {connection}, and for a private CA set 'verify' in its extra",
    ),
    errors.TransportError: (
        "{url} could not be reached",
        "check host, port and 'proxy' of {connection}, and whether the server runs",
    ),
    errors.NotTriggerDevError: _OTHER_SERVER,
    errors.UnreadableAnswerError: _FAILED,
    errors.UnknownTokenError: ("{url} failed", "check that the token is of the key's environment"),
    errors.UnexpectedAnswerError: _OTHER_SERVER,
    TriggerDevError: _FAILED,
}
_NO_BRANCH = "a preview key (tr_preview_…) needs a branch: set 'branch' in the extra of {connection}"

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

    def explained(self, error: TriggerDevError, connection: str) -> tuple[str, str]:
        """Return what an error means, and what to do about it, empty where its text says it all."""
        cause = errors.root_of(error)
        problem, action = next(texts for kind, texts in _MEANINGS.items() if isinstance(cause, kind))
        if isinstance(cause, errors.AuthenticationError) and not self.branch:
            action = _NO_BRANCH if self.secret_key.startswith("tr_preview_") else action
        if isinstance(cause, errors.AuthenticationError) and cause.path.endswith("/reschedule"):
            action += (
                ": it is wrong or expired, or restricted, as this call takes only a key without restrictions"
            )
        return problem.format(url=self.base_url), action.format(connection=connection)

    def action_for(self, error: TriggerDevError) -> str | None:
        """Return what to do about an error, None where its text says it all."""
        return self.explained(error, f"connection {self.conn_id!r}")[1] or None

    def explain(self, error: TriggerDevError) -> None:
        """Make an error's text name the connection and what to do, in place."""
        _, action = self.explained(error, "the connection")
        # The text of a TransportError names the server.
        server = "" if isinstance(errors.root_of(error), errors.TransportError) else f" to {self.base_url}"
        error.reword(f"Connection {self.conn_id!r}{server}: {error}" + (f"; {action}" if action else ""))


def read_settings(connection: Connection) -> Settings:
    """Read a connection and check each field; an error names the connection and the field."""
    conn_id = connection.conn_id
    read = partial(_read, conn_id)
    for name in ("conn_type", "host", "schema", "login", "password"):
        if not isinstance(getattr(connection, name, None), (str, type(None))):
            raise _error(conn_id, name, "must be text: in a YAML or JSON file, write it in quotation marks")
    # JSON without a type, or a URI without a scheme, is not a connection of another service.
    kind = (getattr(connection, "conn_type", None) or CONNECTION_TYPE).replace("-", "_")
    if kind != CONNECTION_TYPE:
        reason = f"must be {CONNECTION_TYPE!r}, not {kind!r}: its password is not sent to Trigger.dev"
        raise _error(conn_id, "conn_type", f"{reason}; name a connection of the type Trigger.dev, or add one")
    extra = read("extra", connection.extra, _object)
    if unknown := sorted(extra.keys() - EXTRA_FIELDS.keys()):
        names = _SECRET_KEY.sub("***", ", ".join(map(repr, unknown)))
        text = "Connection %r: unknown fields in extra have no effect: %s; the known fields are %s"
        log.warning(text, conn_id, names, ", ".join(EXTRA_FIELDS))
    values = {name: read(name, extra.get(name), reader) for name, reader in EXTRA_FIELDS.items()}
    port = read("port", connection.port, _port)
    scheme = read("schema", connection.schema, _scheme)
    # Before the password: in trigger-dev://KEY the key is in the host, and the password is empty.
    if re.search(f"@|{_SECRET_KEY.pattern}", connection.host or "", re.IGNORECASE):
        reason = "contains a secret key or a user (…@…); the key belongs in the password field"
        raise _error(conn_id, "host", f"{reason}, in a URI: trigger-dev://:KEY@HOST")
    base_url = read("host", connection.host, partial(_base_url, scheme=scheme, port=port))
    is_cloud = urlsplit(base_url).hostname == urlsplit(API_URL).hostname
    values["dashboard_url"] = values["dashboard_url"] or (DASHBOARD_URL if is_cloud else base_url)
    settings = Settings(
        conn_id=conn_id,
        base_url=base_url,
        secret_key=_secret_key(conn_id, connection.password, login=connection.login),
        user_agent=f"airflow-provider-trigger/{__version__} apache-airflow/{_compat.airflow_version()}",
        **values,
    )
    _warn_if_unencrypted(conn_id, base_url)
    return settings


def _error(conn_id: str, name: str, reason: str) -> InvalidConnectionError:
    return InvalidConnectionError(f"Connection {conn_id!r}, field {name!r}: {reason}")


def _read(conn_id: str, name: str, value: Any, read: Callable[[Any], Any]) -> Any:
    """Read the value of a field, or raise an error that says what the value must be."""
    try:
        return read(value)
    except (AttributeError, TypeError, ValueError, RecursionError):
        pass
    # Raised outside the block above: that error contains the value, which may be a secret.
    raise _error(conn_id, name, _MUST_BE[name])


def _secret_key(conn_id: str, value: str | None, *, login: str | None) -> str:
    key = (value or "").strip()
    if not key and login:
        reason = "empty, but login is set; in a URI, write a colon before the key: trigger-dev://:KEY@HOST"
    elif not key:
        reason = f"the secret key is missing; copy it from {_API_KEYS_PAGE}"
    elif key.startswith("pk_"):
        reason = f"is a public key; copy the secret key (tr_…) from {_API_KEYS_PAGE}"
    elif not (key.isascii() and key.isprintable()) or " " in key or key != key.strip("\"'`"):
        reason = _MUST_BE["password"]
    else:
        return key
    raise _error(conn_id, "password", reason)


def _object(value: str | None) -> dict[str, Any]:
    extra = json.loads(value) if value and value.strip() else {}
    if not isinstance(extra, dict):
        raise TypeError
    return extra


def _port(value: object) -> int | None:
    # A secrets backend may give a text. The form hides this field, so a 0 in it means none.
    number = read_number(value or 0)
    if number is None or number != int(number) or not 0 <= number <= _MAX_PORT:
        raise ValueError
    return int(number) or None


def _scheme(value: str | None) -> str:
    scheme = (value or "").strip().lower()
    if scheme not in ("", "http", "https"):
        raise ValueError
    return scheme or "https"


def _base_url(value: str | None, *, scheme: str, port: int | None) -> str:
    host = (value or "").strip() or API_URL
    base_url = _url(host if "://" in host else f"{scheme}://{host}") or ""
    url = urlsplit(base_url)
    if re.search(r"/api/v\d+$", url.path):
        raise ValueError
    return base_url if url.port or not port else f"{url.scheme}://{url.netloc}:{port}{url.path}"


def _url(value: object) -> str | None:
    """Return the URL of a server, without a trailing slash."""
    if not (text := _text(value)):
        return None
    url = urlsplit(text)
    is_valid = url.scheme in ("http", "https") and url.hostname and url.port != 0 and "@" not in url.netloc
    if not is_valid or url.query or url.fragment or re.search(r"\s", text) or not text.isprintable():
        raise ValueError
    return f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}"


def _verify(value: object) -> bool | str:
    text = str(value) if isinstance(value, bool) else _text(value)
    if text is None or text.lower() in ("true", "false"):
        return text is None or text.lower() == "true"
    if not os.path.exists(text):
        raise ValueError
    return text


def _seconds(value: object, *, default: float, zero: bool) -> float:
    seconds = default if value is None or value == "" else read_number(value)
    if seconds is None or not 0 <= seconds <= _YEAR or not (seconds or zero):
        raise ValueError
    return float(seconds)


def _text(value: object, *, is_valid: Callable[[str], object] = bool) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError
    text = (value or "").strip() or None
    if text and not is_valid(text):
        raise ValueError
    return text


EXTRA_FIELDS: dict[str, Callable[[object], Any]] = {
    "branch": partial(_text, is_valid=lambda text: text.isascii() and text.isprintable()),
    "dashboard_url": _url,
    "timeout": partial(_seconds, default=REQUEST_TIMEOUT, zero=False),
    "retry_for": partial(_seconds, default=RETRY_FOR, zero=True),
    "verify": _verify,
    "proxy": partial(_text, is_valid=lambda text: urlsplit(text).scheme and urlsplit(text).hostname),
}
"""The fields that the extra of a connection may have, and what reads each."""


@lru_cache(maxsize=128)
def _warn_if_unencrypted(conn_id: str, base_url: str) -> None:
    """Warn once per process."""
    url = urlsplit(base_url)
    if url.scheme == "http" and not re.match(r"(localhost|127\..*|::1)$", url.hostname or ""):
        text = "Connection %r: the secret key is sent unencrypted, because host is %s; use https"
        log.warning(text, conn_id, base_url)


def safe_text(error: Exception) -> str:
    """Return the text of our own errors, else the class: other texts may have values of the connection."""
    is_ours = isinstance(error, (TriggerDevError, ConnectionNotFoundError, InvalidConnectionError))
    return str(error) if is_ours else type(error).__name__
