"""Test a connection, and say what an error of the API means for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_trigger.api.endpoints.runs import list_runs, retrieve_run
from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TLSError,
    TransportError,
    TriggerDevError,
    is_not_from_trigger_dev,
)

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.hooks.connection import Settings

PAGE_SIZE = 10
"""How many runs the Test button lists: the vendor's description allows no less."""

MAX_TIMEOUT = 10.0
"""For each request of the Test button, in seconds."""

UNKNOWN_RUN_ID = "run_of_the_connection_test"
"""An id that no run has: real ones have 25 letters and digits after ``run_``."""


def try_connection(client: TriggerDevClient, settings: Settings) -> tuple[bool, str]:
    """
    Test a connection; return whether it works, and one line that says why.

    It lists a few runs. If only that fails, it checks the status of a run that does not exist: a 404 shows
    that the server accepts the key.

    :param client: for the connection; should not retry, as a person waits for the result
    :param settings: the connection's values
    """
    accepted = f"Connected to {settings.base_url}; the secret key is accepted"
    try:
        client.call(list_runs(page_size=PAGE_SIZE))
    except (ServerError, PermissionDeniedError) as error:
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
        return False, f"{meaning(list_error, settings)}. A status check failed, too: {error}"
    return True, f"{accepted}. The list of runs, which canceling does not need, failed: {list_error}"


def meaning(error: TriggerDevError, settings: Settings) -> str:
    """
    Return what an error of the Test button means and what to do.

    :param error: what a call ended with
    :param settings: the connection's values
    """
    # Airflow tests a copy of the connection, under a random id.
    action = action_for(error, settings, connection="this connection")
    return f"{_problem(error, settings)}: {error}" + (f"; {action}" if action else "")


def _problem(error: TriggerDevError, settings: Settings) -> str:
    if isinstance(error, AuthenticationError):
        return f"{settings.base_url} rejected the secret key"
    if isinstance(error, PermissionDeniedError):
        return "The secret key lacks a permission"
    if isinstance(error, RateLimitError):
        return f"The rate limit of {settings.base_url} is used up"
    if isinstance(error, TLSError):
        return f"No TLS connection to {settings.base_url}"
    if isinstance(error, TransportError):
        return f"{settings.base_url} could not be reached"
    if is_not_from_trigger_dev(error):
        return f"{settings.base_url} is not a Trigger.dev server"
    return f"{settings.base_url} failed"


def action_for(error: TriggerDevError, settings: Settings, *, connection: str | None = None) -> str | None:
    """
    Return what to do about an error, None where its text says it all.

    :param error: what a call ended with
    :param settings: the connection's values
    :param connection: how to name the connection, None for by its id
    """
    connection = connection or f"connection {settings.conn_id!r}"
    if isinstance(error, AuthenticationError):
        if settings.secret_key.startswith("tr_preview_") and not settings.branch:
            return f"a preview key (tr_preview_…) needs a branch: set 'branch' in the extra of {connection}"
        return f"check the password of {connection}"
    if isinstance(error, PermissionDeniedError):
        return f"check the permissions of the key in the password of {connection}"
    if isinstance(error, TLSError):
        return f"check the host of {connection}, and for a private CA set 'verify' in its extra"
    if isinstance(error, TransportError):
        return f"check host, port and 'proxy' of {connection}, and whether the server runs"
    if is_not_from_trigger_dev(error):
        return f"check the host of {connection}"
    return None


def add_connection(error: TriggerDevError, settings: Settings) -> None:
    """
    Make an error's text name the connection and what to do, in place.

    :param error: what a call ended with
    :param settings: the connection's values
    """
    action = action_for(error, settings)
    error.message = f"Connection {settings.conn_id!r} to {settings.base_url}: {error}" + (
        f"; {action}" if action else ""
    )
    error.args = (error.message,)
