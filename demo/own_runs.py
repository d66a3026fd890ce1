"""What the user has set to cancel runs on a server of their own."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    PermissionDeniedError,
    TransportError,
    TriggerDevError,
    is_not_from_trigger_dev,
)

URL = "TRIGGER_API_URL"
KEY = "TRIGGER_SECRET_KEY"
_COPY_KEY = "copy it from the API keys page of your project in the Trigger.dev dashboard"


@dataclass(frozen=True)
class OwnServer:
    """
    The user's server.

    :param url: of its API
    :param secret_key: of the runs' environment
    """

    url: str
    secret_key: str = field(repr=False)


def own_run_ids() -> list[str]:
    """
    Return the run ids that the user has named, none if the demonstration is to run on a local server.

    :raises SystemExit: there is nothing but separators
    """
    text = os.environ.get("RUN_IDS", "").strip()
    run_ids = list(dict.fromkeys(run_id.strip() for run_id in text.split(",") if run_id.strip()))
    if text and not run_ids:
        raise SystemExit("error: RUN_IDS has no run id; it must be a list such as run_a,run_b")
    return run_ids


def own_server() -> OwnServer:
    """
    Return the user's server.

    :raises SystemExit: a variable is missing or not valid
    """
    url = _setting(URL, "the URL of the Trigger.dev API, such as https://api.trigger.dev").rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise SystemExit(f"error: {URL} must begin with https:// or http://")
    secret_key = _setting(KEY, f"the secret key of the runs' environment, tr_…; {_COPY_KEY}")
    if not (secret_key.isascii() and secret_key.isprintable()) or " " in secret_key:
        raise SystemExit(f"error: {KEY} contains characters that no secret key has; {_COPY_KEY}")
    return OwnServer(url, secret_key)


def with_advice(error: TriggerDevError) -> str:
    """
    Return the text of an error, and which variable to check.

    :param error: what a status check ended with
    """
    if isinstance(error, AuthenticationError):
        return f"the server rejected {KEY}: {error}; {_COPY_KEY}"
    if isinstance(error, PermissionDeniedError):
        return f"{KEY} lacks a permission: {error}"
    if isinstance(error, TransportError):
        return f"{error}; check {URL}, the network, and whether the server runs"
    if is_not_from_trigger_dev(error):
        return f"{error}; check {URL}"
    return str(error)


def _setting(name: str, meaning: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise SystemExit(f"error: RUN_IDS is set, so {name} must be set, too: {meaning}")
    return value
