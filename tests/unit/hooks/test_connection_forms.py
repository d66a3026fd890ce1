"""Connections as users write them: URI, JSON, and anything else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger._compat import AirflowFailException
from airflow_provider_trigger.hooks.connection import (
    ConnectionNotFoundError,
    InvalidConnectionError,
    Settings,
)
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

KEY = "tr_prod_marker_of_the_test"

BAD_SCHEMA = "must be http, https or empty; a connection URI begins with trigger-dev://"
IN_HOST = "contains a secret key, which belongs in the password field; in a URI: trigger-dev://:KEY@HOST"
MISSING = "the secret key is missing; copy it from the API keys page of your Trigger.dev project"
NO_COLON = "empty, but login is set; in a URI, write a colon before the key: trigger-dev://:KEY@HOST"
QUOTED = "the secret key has quotation marks around it; enter it without them"


@pytest.fixture
def from_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Settings]:
    """Read a connection in the text form that Airflow takes from an environment variable."""

    def read(text: str) -> Settings:
        monkeypatch.setenv("AIRFLOW_CONN_MINE", text)
        return TriggerDevHook("mine").settings

    return read


# As Airflow's users write it down


@pytest.mark.parametrize(
    ("uri", "base_url"),
    [
        (f"trigger-dev://:{KEY}@", "https://api.trigger.dev"),
        (f"trigger-dev://:{KEY}@trigger.test", "https://trigger.test"),
        (f"trigger-dev://:{KEY}@trigger.test:3030", "https://trigger.test:3030"),
        (f"trigger-dev://:{KEY}@localhost:3030/http", "http://localhost:3030"),
        (f"trigger-dev://:{KEY}@[::1]:3030/http", "http://[::1]:3030"),
        (f"trigger-dev://:{KEY}@https%3A%2F%2Ftrigger.test%2Fprefix", "https://trigger.test/prefix"),
    ],
)
def test_a_uri_is_understood(from_environment, uri: str, base_url: str) -> None:
    read = from_environment(uri)
    assert (read.base_url, read.secret_key) == (base_url, KEY)


def test_the_texts_of_a_uris_query_are_understood(from_environment) -> None:
    read = from_environment(
        f"trigger-dev://:{KEY}@trigger.test?timeout=5.5&retry_for=0&verify=false&branch=main"
        "&dashboard_url=https%3A%2F%2Fdashboard.test"
    )
    assert (read.timeout, read.retry_for, read.verify) == (5.5, 0, False)
    assert (read.branch, read.dashboard_url) == ("main", "https://dashboard.test")


def test_the_path_of_a_uri_is_its_schema(from_environment) -> None:
    with pytest.raises(InvalidConnectionError, match=f"'mine', field 'schema': {BAD_SCHEMA}$"):
        from_environment(f"trigger-dev://:{KEY}@trigger.test/prefix")


def test_json_is_understood(from_environment) -> None:
    fields = {"conn_type": "trigger_dev", "host": "trigger.test", "port": 3030, "password": KEY}
    read = from_environment(json.dumps(fields | {"extra": {"timeout": 5, "verify": False}}))
    assert (read.base_url, read.timeout, read.verify) == ("https://trigger.test:3030", 5, False)
    assert from_environment(json.dumps(fields | {"extra": '{"timeout": "7"}'})).timeout == 7


@pytest.mark.parametrize(
    ("uri", "field", "reason"),
    [
        ("trigger-dev://tr_prod_MARKER", "host", IN_HOST),
        ("trigger-dev://tr_prod_MARKER/", "host", IN_HOST),
        ("trigger-dev://tr_prod_MARKER/http", "host", IN_HOST),
        ("trigger-dev://tr_prod_MARKER?timeout=5", "host", IN_HOST),
        ("trigger-dev://tr_prod_MARKER@", "password", NO_COLON),
        ("trigger-dev://tr_prod_MARKER@trigger.test", "password", NO_COLON),
        ("trigger-dev://trigger.test/tr_prod_MARKER", "schema", BAD_SCHEMA),
        ("trigger-dev://?tr_prod_MARKER", "password", MISSING),
        ("trigger_dev://:tr_prod_MARKER@trigger.test", "schema", BAD_SCHEMA),
        ("tr_prod_MARKER", "schema", BAD_SCHEMA),
        ("trigger-dev://:%22tr_prod_MARKER%22@", "password", QUOTED),
    ],
)
def test_a_key_in_the_wrong_place_of_a_uri_is_not_repeated(
    assert_hides,
    from_environment,
    uri: str,
    field: str,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(InvalidConnectionError) as raised:
        from_environment(uri)
    assert_hides(raised.value, "MARKER")
    assert str(raised.value) == f"Connection 'mine', field {field!r}: {reason}"
    assert "marker" not in caplog.text.lower()


OTHER_TYPES = [
    ("https://:tr_prod_MARKER@trigger.test", "https"),
    ('{"conn_type": "openai", "password": "tr_prod_MARKER"}', "openai"),
    ('{"conn_type": "Trigger.dev", "password": "tr_prod_MARKER"}', "Trigger.dev"),
]


@pytest.mark.parametrize(("text", "kind"), OTHER_TYPES)
def test_the_password_of_a_connection_of_another_type_is_sent_nowhere(
    monkeypatch: pytest.MonkeyPatch, wire, assert_hides, text: str, kind: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MINE", text)
    with pytest.raises(AirflowFailException) as raised:
        CancelTriggerRunOperator(task_id="c", run_ids="run_a", trigger_dev_conn_id="mine").execute({})
    assert_hides(raised.value, "MARKER")
    assert wire.sent == []
    problem = f"field 'conn_type': must be 'trigger_dev', not {kind!r}: its password is not sent"
    assert str(raised.value).startswith(f"Connection 'mine', {problem}")


@pytest.mark.parametrize(
    "text",
    [f"//:{KEY}@", f'{{"password": "{KEY}"}}', f'{{"conn_type": "trigger-dev", "password": "{KEY}"}}'],
)
def test_a_connection_without_a_type_or_with_a_hyphen_in_it_is_used(from_environment, text: str) -> None:
    assert from_environment(text).secret_key == KEY


# What Airflow cannot read, and so ignores (measured with 2.11, 3.0 and 3.3)
UNREADABLE = [
    " ",
    '{"conn_type": "trigger_dev", "password": "tr_prod_MARKER"',
    "{'conn_type': 'trigger_dev', 'password': 'tr_prod_MARKER'}",
    '{"conn_type": "trigger_dev", "passwort": "tr_prod_MARKER"}',
    '{"conn_type": "trigger_dev", "password": "tr_prod_MARKER", "port": "http"}',
    '{"conn_type": "trigger_dev", "password": ["tr_prod_MARKER"]}',
    "trigger-dev://:tr_prod_MARKER@trigger.test:port",
    "trigger-dev://:tr_prod_MARKER@trigger.test:99999",
    "trigger-dev://:tr_prod_MARKER@[::1",
    "trigger-dev://:tr_prod_MARKER@https://trigger.test://",
    "trigger-dev://:tr/prod_MARKER@trigger.test",
    "trigger-dev://:tr#prod_MARKER@trigger.test",
]


@pytest.mark.parametrize("text", UNREADABLE)
def test_a_variable_that_airflow_cannot_read_is_named_without_its_value(
    assert_hides, from_environment, text: str
) -> None:
    with pytest.raises(ConnectionNotFoundError) as raised:
        from_environment(text)
    assert_hides(raised.value, "MARKER")
    assert str(raised.value) == (
        "Connection 'mine' was not found: the environment variable AIRFLOW_CONN_MINE is set, but not valid; "
        'it must be JSON such as {"conn_type": "trigger_dev", "password": "KEY"}, or a percent-encoded URI '
        "such as trigger-dev://:KEY@HOST"
    )


def test_an_empty_variable_counts_as_not_set(from_environment) -> None:
    with pytest.raises(ConnectionNotFoundError, match="'mine' was not found; create it under Admin"):
        from_environment("")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda values: st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=5), values, max_size=2),
    max_leaves=3,
)
FIELDS = st.sampled_from(["branch", "dashboard_url", "timeout", "retry_for", "verify", "proxy"])


@given(
    st.text(max_size=30) | st.from_regex(r"(https?|ftp)://[\[\]:@/?#a.0-9 -]{0,20}", fullmatch=True),
    st.none() | st.integers(-1, 70_000),
    st.none() | st.sampled_from(["", "http", "https", "x"]),
    st.dictionaries(FIELDS, JSON, max_size=3),
)
def test_any_connection_is_read_or_is_an_error(
    settings, host: str, port: int | None, schema: str | None, extra: dict[str, Any]
) -> None:
    text = ""
    chained: tuple[BaseException | None, ...] = (None, None)
    try:
        read = settings(host=host, port=port, schema=schema, extra=extra)
    except InvalidConnectionError as error:
        text, chained = str(error), (error.__context__, error.__cause__)
        assert text.startswith("Connection 'mine', field ")
    else:
        assert read.base_url.startswith(("http://", "https://"))
        assert not read.base_url.endswith("/")
    assert KEY not in text
    assert chained == (None, None)
