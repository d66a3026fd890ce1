"""Test a connection, and say what an error of the API means for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_trigger.api.errors import (
    AnswerTimeoutError,
    AuthenticationError,
    NotFoundError,
    NotTriggerDevError,
    PermissionDeniedError,
    PlainHttpError,
    RateLimitError,
    ServerError,
    TLSError,
    TransportError,
    TriggerDevError,
    UnexpectedAnswerError,
    UnreadableAnswerError,
    root_of,
)
from airflow_provider_trigger.api.runs import UNKNOWN_RUN_ID, list_newest_runs, retrieve_run
from airflow_provider_trigger.hooks.connection import ConnectionNotFoundError, InvalidConnectionError

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.hooks.connection import Settings

MAX_TIMEOUT = 10.0
"""For each of the Test button's requests, at most two, in seconds."""


_OTHER_SERVER = ("{url} is not a Trigger.dev server", "check the host of {connection}")
_FAILED = ("{url} failed", "")
# What an error means, and what to do: of the first class that fits.
_MEANINGS: dict[type[TriggerDevError], tuple[str, str]] = {
    AuthenticationError: ("{url} rejected the secret key", "check the password of {connection}"),
    PermissionDeniedError: (
        "The secret key lacks a permission",
        "check the permissions of the key in the password of {connection}",
    ),
    RateLimitError: ("The rate limit of {url} is used up", ""),
    PlainHttpError: (
        "No TLS connection to {url}",
        "write http:// in the host of {connection}, or give the port for https",
    ),
    TLSError: (
        "No TLS connection to {url}",
        "check the host of {connection}, and for a private CA set 'verify' in its extra",
    ),
    TransportError: (
        "{url} could not be reached",
        "check host, port and 'proxy' of {connection}, and whether the server runs",
    ),
    NotTriggerDevError: _OTHER_SERVER,
    UnreadableAnswerError: _FAILED,
    UnexpectedAnswerError: _OTHER_SERVER,
    TriggerDevError: _FAILED,
}
# A preview key was rejected.
_NO_BRANCH = "a preview key (tr_preview_…) needs a branch: set 'branch' in the extra of {connection}"


def try_connection(client: TriggerDevClient, settings: Settings) -> tuple[bool, str]:
    """
    Test a connection with a client that does not retry; return whether it works, and one line that says why.

    It lists a few runs. If only that fails or takes too long, it checks the status of a run that does not
    exist: a 404 shows that the server accepts the key.
    """
    accepted = f"Connected to {settings.base_url}; the secret key is accepted"
    try:
        client.call(list_newest_runs())
    except (ServerError, PermissionDeniedError, AnswerTimeoutError) as error:
        list_error = error
    except TriggerDevError as error:
        return False, _meaning(error, settings)
    else:
        return True, accepted
    try:
        client.call(retrieve_run(UNKNOWN_RUN_ID))
    except NotFoundError:
        pass  # the server searched for the run, so it accepts the key
    except AuthenticationError as error:
        return False, _meaning(error, settings)
    except TriggerDevError as error:
        return False, f"{_meaning(list_error, settings)}. A status check failed, too: {error.reason}"
    failed = f"The list of runs, which canceling does not need, failed: {list_error.reason}"
    return True, f"{accepted}. {failed}"


def action_for(error: TriggerDevError, settings: Settings) -> str | None:
    """Return what to do about an error, None where its text says it all."""
    return _explained(error, settings, f"connection {settings.conn_id!r}")[1] or None


def safe_text(error: Exception) -> str:
    """Return an error's text where it is made here; others may have values of the connection."""
    is_ours = isinstance(error, (TriggerDevError, ConnectionNotFoundError, InvalidConnectionError))
    return str(error) if is_ours else type(error).__name__


def add_connection(error: TriggerDevError, settings: Settings) -> None:
    """Make an error's text name the connection and what to do, in place."""
    _, action = _explained(error, settings, "the connection")
    # The text of a TransportError names the server.
    server = "" if isinstance(root_of(error), TransportError) else f" to {settings.base_url}"
    error.reword(f"Connection {settings.conn_id!r}{server}: {error}" + (f"; {action}" if action else ""))


def _meaning(error: TriggerDevError, settings: Settings) -> str:
    # Airflow tests a copy of the connection, under a random id.
    problem, action = _explained(error, settings, "this connection")
    return f"{problem}: {error.reason}" + (f"; {action}" if action else "")


def _explained(error: TriggerDevError, settings: Settings, connection: str) -> tuple[str, str]:
    cause = root_of(error)
    problem, action = next(texts for kind, texts in _MEANINGS.items() if isinstance(cause, kind))
    if isinstance(cause, AuthenticationError) and not settings.branch:
        action = _NO_BRANCH if settings.secret_key.startswith("tr_preview_") else action
    return problem.format(url=settings.base_url), action.format(connection=connection)
