"""Read connections, and check that their errors lead to no secret."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from token_server import tokens, waitpoints, wired

from airflow_provider_trigger._compat import AirflowFailException
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

__all__ = ["tokens", "waitpoints", "wired"]

try:
    from airflow.sdk import Connection
except ImportError:  # 2.11
    from airflow.models import Connection  # type: ignore[assignment]


KEY = "tr_prod_marker_of_the_test"
PASSWORD = "hunter2hunter2"


@pytest.fixture(scope="session")
def make_connection() -> Callable[..., Any]:
    """Make a connection as Airflow does, with a key by default; ``extra`` may be a value, or text."""

    def make(*, password: str | None = KEY, extra: object = None, **fields: Any) -> Any:
        text = extra if isinstance(extra, str) or extra is None else json.dumps(extra)
        defaults = {"conn_id": "mine", "conn_type": "trigger_dev"}
        return Connection(**defaults | {"password": password, "extra": text} | fields)

    return make


@pytest.fixture(scope="session")
def settings(make_connection) -> Callable[..., Any]:
    """Read a connection with these fields."""

    def read(**fields: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Airflow 2.11 warns about an extra that is not a JSON object
            return TriggerDevHook(connection=make_connection(**fields)).settings

    return read


@pytest.fixture(scope="session")
def assert_hides() -> Callable[..., None]:
    """Check that neither an error nor anything that it carries leads to a secret."""

    def check(error: BaseException, *secrets: str) -> None:
        shown = f"{error} {error!r} {error.args} {vars(error)}".lower()
        assert not [secret for secret in secrets if secret.lower() in shown]
        # What was raised before it would have the value in its text, or as an attribute.
        assert (error.__context__, error.__cause__) == (None, None)

    return check


@pytest.fixture(scope="session")
def error_of(settings, assert_hides) -> Callable[..., str]:
    """Return what follows the connection's name in the error of a connection with these fields."""

    def read(**fields: Any) -> str:
        with pytest.raises(AirflowFailException) as raised:
            settings(**fields)
        assert_hides(raised.value, KEY, PASSWORD)
        prefix, _, rest = str(raised.value).partition(", ")
        assert prefix == "Connection 'mine'"
        return rest

    return read


@pytest.fixture
def connect_as(monkeypatch: pytest.MonkeyPatch):
    """Set the default connection."""

    def build(**fields: Any) -> TriggerDevHook:
        connection = {"conn_type": "trigger_dev", "host": "https://trigger.test", "password": KEY} | fields
        monkeypatch.setenv("AIRFLOW_CONN_TRIGGER_DEV_DEFAULT", json.dumps(connection))
        return TriggerDevHook()

    return build
