"""Test a connection, and say what an error of the API means for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_trigger.api.endpoints.runs import UNKNOWN_RUN_ID, list_newest_runs, retrieve_run
from airflow_provider_trigger.api.errors import (
    AnswerTimeoutError,
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
    PlainHttpError,
    RateLimitError,
    ResponseError,
    ServerError,
    TLSError,
    TransportError,
    TriggerDevError,
    is_not_from_trigger_dev,
    root_of,
)
from airflow_provider_trigger.hooks.connection import ConnectionNotFoundError, InvalidConnectionError

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.hooks.connection import Settings

MAX_TIMEOUT = 10.0
"""For each of the Test button's requests, at most two, in seconds."""


def try_connection(client: TriggerDevClient, settings: Settings) -> tuple[bool, str]:
    """
    Test a connection; return whether it works, and one line that says why.

    It lists a few runs. If only that fails or takes too long, it checks the status of a run that does not
    exist: a 404 shows that the server accepts the key. The client should not retry: a person waits.
    """
    accepted = f"Connected to {settings.base_url}; the secret key is accepted"
    try:
        client.call(list_newest_runs())
    except (ServerError, PermissionDeniedError, AnswerTimeoutError) as error:
        list_error = error
    except TriggerDevError as error:
        return False, meaning(error, settings)
    else:
        return True, accepted
    try:
        client.call(retrieve_run(UNKNOWN_RUN_ID))
    except NotFoundError:
        pass  # the server searched for the run, so it accepts the key
    except AuthenticationError as error:
        return False, meaning(error, settings)
    except TriggerDevError as error:
        return False, f"{meaning(list_error, settings)}. A status check failed, too: {error.reason}"
    failed = f"The list of runs, which canceling does not need, failed: {list_error.reason}"
    return True, f"{accepted}. {failed}"


def meaning(error: TriggerDevError, settings: Settings) -> str:
    """Return what an error of the Test button means and what to do."""
    # Airflow tests a copy of the connection, under a random id.
    problem, action = _problem_and_action(error, settings, "this connection")
    return f"{problem}: {error.reason}" + (f"; {action}" if action else "")


def action_for(error: TriggerDevError, settings: Settings) -> str | None:
    """Return what to do about an error, None where its text says it all."""
    return _problem_and_action(error, settings, f"connection {settings.conn_id!r}")[1]


def safe_text(error: Exception) -> str:
    """Return an error's text where it is made here; others may have values of the connection."""
    is_ours = isinstance(error, (TriggerDevError, ConnectionNotFoundError, InvalidConnectionError))
    return str(error) if is_ours else type(error).__name__


def add_connection(error: TriggerDevError, settings: Settings) -> None:
    """Make an error's text name the connection and what to do, in place."""
    _, action = _problem_and_action(error, settings, "the connection")
    # The text of a TransportError names the server.
    server = "" if isinstance(root_of(error), TransportError) else f" to {settings.base_url}"
    error.reword(f"Connection {settings.conn_id!r}{server}: {error}" + (f"; {action}" if action else ""))


def _problem_and_action(
    error: TriggerDevError, settings: Settings, connection: str
) -> tuple[str, str | None]:
    """Return what an error means for a connection, and what to do about it, None for nothing."""
    url, cause = settings.base_url, root_of(error)
    if isinstance(cause, AuthenticationError):
        action = f"check the password of {connection}"
        if settings.secret_key.startswith("tr_preview_") and not settings.branch:
            action = f"a preview key (tr_preview_…) needs a branch: set 'branch' in the extra of {connection}"
        elif cause.path.endswith("/reschedule"):  # each key of few rights gets it (measured)
            action = f"this needs a key without restrictions in the password of {connection}"
        return f"{url} rejected the secret key", action
    if isinstance(cause, PermissionDeniedError):
        action = f"check the permissions of the key in the password of {connection}"
        return "The secret key lacks a permission", action
    if isinstance(cause, RateLimitError):
        return f"The rate limit of {url} is used up", None
    if isinstance(cause, PlainHttpError):
        action = f"write http:// in the host of {connection}, or give the port for https"
        return f"No TLS connection to {url}", action
    if isinstance(cause, TLSError):
        action = f"check the host of {connection}, and for a private CA set 'verify' in its extra"
        return f"No TLS connection to {url}", action
    if isinstance(cause, TransportError):
        action = f"check host, port and 'proxy' of {connection}, and whether the server runs"
        return f"{url} could not be reached", action
    if is_not_from_trigger_dev(cause):
        return f"{url} is not a Trigger.dev server", f"check the host of {connection}"
    return f"{url} failed", _action_for_start(cause) if isinstance(cause, ResponseError) else None


def _action_for_start(error: ResponseError) -> str | None:
    """Return what to do where the server's own text says why it starts nothing (read, not measured)."""
    if error.status == 500 and "object store" in error.detail:
        tries = "once" if error.tries == 1 else f"{error.tries} times"
        return f"it answered so {tries}: without an object store the server takes payloads below 512 KB only"
    return None
