"""Read a connection, and check that its errors lead to no secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_trigger._compat import AirflowFailException, AirflowNotFoundException
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

KEY = "tr_prod_marker_of_the_test"
PASSWORD = "hunter2hunter2"
YEAR = 366 * 86400
MISSING = "the secret key is missing; copy it from the API keys page of your Trigger.dev project"
NO_COLON = "empty, but login is set; in a URI, write a colon before the key: trigger-dev://:KEY@HOST"
INVALID_KEY = (
    "must be the secret key as the API keys page of your Trigger.dev project shows it, "
    "without quotation marks and spaces"
)
BAD_SCHEMA = "must be http, https or empty; a connection URI begins with trigger-dev://"
CLOUD = ("https://api.trigger.dev", "https://cloud.trigger.dev")
NO_BASE_URL = "must be the base URL of the API, such as https://trigger.example.com, without /api/v1"
KEY_IN_HOST = (
    "contains a secret key or a user (…@…); the key belongs in the password field, "
    "in a URI: trigger-dev://:KEY@HOST"
)


# What is valid


@pytest.mark.parametrize(
    ("name", "fields", "read"),
    [
        *(("secret_key", {"password": key}, key.strip()) for key in (f" {KEY}\n", "new/of+key==", "a'b\"c")),
        ("secret_key", {"password": "k", "login": "me"}, "k"),
        # Host, port and schema
        ("base_url", {"host": "  ", "schema": "http"}, CLOUD[0]),
        ("base_url", {"port": 8443}, "https://api.trigger.dev:8443"),
        ("base_url", {"host": " trigger.test \n"}, "https://trigger.test"),
        ("base_url", {"host": "HTTPS://trigger.test/X//"}, "https://trigger.test/X"),
        ("base_url", {"host": "http://localhost:3030"}, "http://localhost:3030"),
        # As Vault has it
        ("base_url", {"host": "http://trigger.test", "port": "8030"}, "http://trigger.test:8030"),
        ("base_url", {"host": "https://trigger.test/a", "port": 65535}, "https://trigger.test:65535/a"),
        ("base_url", {"host": "trigger.test:3030", "port": 0}, "https://trigger.test:3030"),
        ("base_url", {"host": "https://trigger.test:3030", "port": 8080}, "https://trigger.test:3030"),
        ("base_url", {"host": "trigger.test", "schema": " Http "}, "http://trigger.test"),
        ("base_url", {"host": "https://trigger.test", "schema": "http"}, "https://trigger.test"),
        ("base_url", {"host": "[::1]:3030", "schema": "http"}, "http://[::1]:3030"),
        *(
            ("base_url", {"host": host}, f"https://{host}")
            for host in ("bücher.test", "10.0.0.1", "a_b.test", "tr_prod", "tr_prod_1.test", "str_max_length")
        ),
        # The dashboard is the cloud's, or the server itself; the port of the API is not that of another one
        *(
            ("dashboard_url", {"host": host}, CLOUD[1])
            for host in ("", "https://API.trigger.dev", "api.trigger.dev:443")
        ),
        ("dashboard_url", {"host": "trigger.test/x", "port": 3030}, "https://trigger.test:3030/x"),
        ("dashboard_url", {"port": 3030, "extra": {"dashboard_url": "https://d.test"}}, "https://d.test"),
        ("dashboard_url", {"extra": {"dashboard_url": " https://d.test:1/x/ "}}, "https://d.test:1/x"),
        # Extra
        *(("timeout", {"extra": {"timeout": value}}, 7.0) for value in (7, "7.0", " 7 ")),
        *(("retry_for", {"extra": {"retry_for": value}}, 0.0) for value in (0, "0", 0.0)),
        ("retry_for", {"extra": {"retry_for": YEAR}}, float(YEAR)),
        *(("verify", {"extra": {"verify": value}}, True) for value in (True, "true", " True ")),
        *(("verify", {"extra": {"verify": value}}, False) for value in (False, "false", "FALSE")),
        ("branch", {"extra": {"branch": " feature/x "}}, "feature/x"),
        ("proxy", {"extra": {"proxy": " socks5://me:pw@p.test\n"}}, "socks5://me:pw@p.test"),
    ],
)
def test_each_field_is_read_also_from_text(settings, name: str, fields: dict[str, Any], read: Any) -> None:
    found = getattr(settings(**fields), name)
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize("empty", [None, "", "  "])
def test_a_key_alone_means_the_cloud_and_defaults(settings, empty: str | None) -> None:
    texts = ("branch", "dashboard_url", "verify", "proxy")
    read = settings(extra=dict.fromkeys(texts, empty) | dict.fromkeys(("timeout", "retry_for"), empty and ""))
    assert read == settings()
    assert (read.base_url, read.dashboard_url) == CLOUD
    assert (read.secret_key, read.branch, read.proxy, read.verify) == (KEY, None, None, True)
    assert (read.timeout, read.retry_for) == (30, 120)


def test_certificates_are_checked_against_a_file_that_exists(settings, tmp_path) -> None:
    (tmp_path / "ca.pem").touch()
    for there in (tmp_path / "ca.pem", tmp_path):
        assert settings(extra={"verify": f" {there} "}).verify == str(there)


def test_unknown_fields_of_extra_are_only_warned_about(settings, caplog: pytest.LogCaptureFixture) -> None:
    known = ["branch", "dashboard_url", "timeout", "retry_for", "verify", "proxy"]
    assert settings(extra=dict.fromkeys(known)) == settings(extra="  ") == settings()
    assert not caplog.records
    assert settings(extra={"timeuot": 5, "a": PASSWORD, KEY: "", "timeout": 7}).timeout == 7
    [record] = caplog.records
    assert (record.levelname, record.getMessage()) == (
        "WARNING",
        "Connection 'mine': unknown fields in extra have no effect: 'a', 'timeuot', '***'; "
        f"the known fields are {', '.join(known)}",
    )


def test_neither_key_nor_proxy_is_in_the_repr(settings) -> None:
    shown = repr(settings(extra={"proxy": f"http://me:{PASSWORD}@proxy.test:3128"}))
    assert not [text for text in (KEY, PASSWORD, "proxy") if text in shown]


# What is invalid

NO_NUMBERS = [-1, "-0.5", "1e3", " ", True, [], "nan", float("nan"), float("inf"), 10**400]
INVALID: list[tuple[str, str, list[Any]]] = [
    ("extra", 'must be a JSON object, such as {"timeout": 10}', ["timeout=5", "[1]", f'{{"a": "{PASSWORD}"']),
    ("schema", BAD_SCHEMA, [KEY]),
    ("port", "must be a number from 1 to 65535", [-1, 65536, 1.5, "-1", "x"]),
    ("password", MISSING, [None, "   "]),
    (
        "password",
        "is a public key; copy the secret key (tr_…) from the API keys page of your Trigger.dev project",
        [f"pk_prod_{PASSWORD}"],
    ),
    ("password", INVALID_KEY, [f'"{KEY}"', f"{KEY}\u2019", f"Bearer {KEY}", f"{KEY}\n{KEY}"]),
    (
        "host",
        NO_BASE_URL,
        [
            *("ftp://trigger.test", "://a", '"https://a"', "https://", "https:///path", "https://:3030"),
            *("https://a b", "https://a/a b", "https://a/a\tb", "https://a?x=1", "https://a/#top"),
            "https://a/x/api/v1/",
            *("https://[::1", f"https://[{PASSWORD}]", "::1"),
            *(f"https://a:{port}" for port in ("port", "0", "65536", PASSWORD)),
        ],
    ),
    (
        "host",
        KEY_IN_HOST,
        [
            *(KEY, f"https://{KEY.upper()}:443/", f"https://api.trigger.dev/{KEY}"),
            *(f"https://me:{PASSWORD}@a", f"me:{PASSWORD}@a", f"{KEY}@trigger.test"),
        ],
    ),
]
INVALID_EXTRA: list[tuple[str, str, list[Any]]] = [
    ("timeout", "a number of seconds above 0, up to one year", [*NO_NUMBERS, 0, "0", -0.0, YEAR + 1]),
    ("retry_for", "a number of seconds from 0 up to one year", [*NO_NUMBERS, 1e10]),
    ("branch", "text of printable ASCII characters", ["bücher", "a\nb", "a\x7fb", 0, True]),
    (
        "proxy",
        "a URL such as http://proxy.example.com:3128",
        ["proxy.test:3128", "http://", "http://[::1", f"{PASSWORD}@p:1", f"//{PASSWORD}", ["main"]],
    ),
    (
        "dashboard_url",
        "a URL such as https://trigger.example.com",
        ["ftp://dashboard.test", "dashboard.test", f"https://me:{PASSWORD}@d.test", "https://[::1", 0],
    ),
    (
        "verify",
        "true, false or the path of a CA file that exists on this machine",
        ["/gone.pem", "truefalse", "\x00", 0, ["main"]],
    ),
]


@pytest.mark.parametrize(("field", "reason", "values"), INVALID)
def test_an_invalid_field_is_an_error(error_of, field: str, reason: str, values: list[Any]) -> None:
    for value in values:
        assert error_of(**{field: value}) == f"field {field!r}: {reason}", value


@pytest.mark.parametrize(("field", "reason", "values"), INVALID_EXTRA)
def test_an_invalid_field_of_extra_is_an_error(error_of, field: str, reason: str, values: list[Any]) -> None:
    for value in values:
        assert error_of(extra={field: value}) == f"field {field!r}: must be {reason}", value


# Unencrypted


@pytest.mark.parametrize(
    "host", ["http://trigger.test", "http://10.0.0.1:3030", "http://[fd00::1]", "http://localhost.evil.test"]
)
def test_each_connection_by_http_has_a_warning(settings, host: str, caplog: pytest.LogCaptureFixture) -> None:
    conn_ids = f"mine_{host.encode().hex()}", f"theirs_{host.encode().hex()}"  # each is warned about once
    for conn_id in (*conn_ids, conn_ids[0]):
        assert settings(conn_id=conn_id, host=host).base_url == host
    ours = [record for record in caplog.records if record.name.startswith("airflow_provider_trigger")]
    assert [(record.levelname, record.getMessage()) for record in ours] == [
        (
            "WARNING",
            f"Connection {conn_id!r}: the secret key is sent unencrypted, because host is {host}; use https",
        )
        for conn_id in conn_ids
    ]


def test_a_loopback_address_has_no_warning(settings, error_of, caplog: pytest.LogCaptureFixture) -> None:
    error_of(host="http://trigger.test", password="")
    for host in ("LOCALHOST:1", "127.9.9.9:1", "[::1]:1"):
        settings(host=f"http://{host}")
    assert not caplog.records


# As users write them: a URI, JSON, and anything else


@pytest.fixture
def from_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Read a connection in the text form that Airflow takes from an environment variable."""

    def read(text: str) -> Any:
        monkeypatch.setenv("AIRFLOW_CONN_MINE", text)
        return TriggerDevHook("mine").settings

    return read


JSON_FIELDS = {"conn_type": "trigger_dev", "host": "trigger.test", "port": 3030, "password": KEY}
ALL_TEXTS = "timeout=5.5&retry_for=0&verify=false&branch=main&dashboard_url=https%3A%2F%2Fdashboard.test"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"trigger-dev://:{KEY}@", {"base_url": "https://api.trigger.dev"}),
        (f"trigger-dev://:{KEY}@trigger.test:3030/http", {"base_url": "http://trigger.test:3030"}),
        (f"trigger-dev://:{KEY}@https%3A%2F%2Fa.test%2Fprefix", {"base_url": "https://a.test/prefix"}),
        (
            f"trigger-dev://:{KEY}@trigger.test?{ALL_TEXTS}",
            {"timeout": 5.5, "retry_for": 0, "verify": False, "branch": "main"}
            | {"dashboard_url": "https://dashboard.test"},
        ),
        (
            json.dumps(JSON_FIELDS | {"extra": {"timeout": 5, "verify": False}}),
            {"base_url": "https://trigger.test:3030", "timeout": 5, "verify": False},
        ),
        (json.dumps(JSON_FIELDS | {"extra": '{"timeout": "7"}'}), {"timeout": 7}),
        # Without a type, or with a hyphen in it.
        (f'{{"password": "{KEY}"}}', {}),
        (f'{{"conn_type": "trigger-dev", "password": "{KEY}"}}', {}),
    ],
)
def test_a_uri_and_json_are_understood(from_environment, text: str, expected: dict[str, Any]) -> None:
    read = from_environment(text)
    assert {name: getattr(read, name) for name in expected} == expected
    assert read.secret_key == KEY


@pytest.mark.parametrize(
    ("uri", "field", "reason"),
    [
        ("trigger-dev://tr_prod_MARKER/http", "host", KEY_IN_HOST),
        ("trigger-dev://tr_prod_MARKER@trigger.test", "password", NO_COLON),
        ("trigger-dev://trigger.test/tr_prod_MARKER", "schema", BAD_SCHEMA),
        ("trigger-dev://?tr_prod_MARKER", "password", MISSING),
        ("trigger_dev://:tr_prod_MARKER@trigger.test", "schema", BAD_SCHEMA),
        ("trigger-dev://:%22tr_prod_MARKER%22@", "password", INVALID_KEY),
    ],
)
def test_a_key_in_the_wrong_place_of_a_uri_is_not_repeated(
    assert_hides, from_environment, uri: str, field: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(AirflowFailException) as raised:
        from_environment(uri)
    assert_hides(raised.value, "MARKER")
    assert str(raised.value) == f"Connection 'mine', field {field!r}: {reason}"
    assert "marker" not in caplog.text.lower()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("https://:tr_prod_MARKER@trigger.test", "https"),
        ('{"conn_type": "Trigger.dev", "password": "tr_prod_MARKER"}', "Trigger.dev"),
    ],
)
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


# What Airflow cannot read, and so ignores (measured with 2.11, 3.0 and 3.3)
UNREADABLE = [
    " ",
    '{"conn_type": "trigger_dev", "password": "tr_prod_MARKER"',
    '{"conn_type": "trigger_dev", "passwort": "tr_prod_MARKER"}',
    "trigger-dev://:tr_prod_MARKER@trigger.test:port",
]


@pytest.mark.parametrize("value", [12345, 5.5, True, b"tr_prod_MARKER", ["tr_prod_MARKER"], {"a": "MARKER"}])
@pytest.mark.parametrize("name", ["conn_type", "host", "schema", "login", "password", "extra"])
def test_a_field_that_is_not_text_as_a_number_of_a_yaml_file_is_named_without_its_value(
    make_connection, assert_hides, name: str, value: Any
) -> None:
    connection = make_connection()
    names = ("conn_id", "conn_type", "host", "schema", "login", "password", "port", "extra")
    given: Any = SimpleNamespace(**{one: getattr(connection, one) for one in names} | {name: value})
    with pytest.raises(AirflowFailException) as raised:
        _ = TriggerDevHook(connection=given).settings
    must_be = (
        "a JSON object" if name == "extra" else "text: in a YAML or JSON file, write it in quotation marks"
    )
    assert str(raised.value).startswith(f"Connection 'mine', field {name!r}: must be {must_be}")
    assert_hides(raised.value, "MARKER")


@pytest.mark.parametrize("host", ["a\x00b", "\ud83d"])
def test_a_host_with_characters_that_no_url_has_is_not_valid(error_of, host: str) -> None:
    assert NO_BASE_URL in str(error_of(host=host))


@pytest.mark.parametrize("text", [*UNREADABLE, ""])
def test_a_missing_connection_is_named_with_what_to_do(assert_hides, from_environment, text: str) -> None:
    with pytest.raises(AirflowNotFoundException) as raised:
        from_environment(text)
    assert isinstance(raised.value, AirflowNotFoundException)
    assert not isinstance(raised.value, AirflowFailException), "a secrets backend may have failed"
    assert_hides(raised.value, "MARKER")
    assert str(raised.value) == (
        "Connection 'mine' was not found; create it under Admin, Connections, or set the environment "
        "variable AIRFLOW_CONN_MINE on every worker; if it is set, it is not valid: it must be JSON such as "
        '{"conn_type": "trigger_dev", "password": "KEY"}, or a percent-encoded URI such as '
        "trigger-dev://:KEY@HOST. A secrets backend or an API server of Airflow that fails looks the same: "
        "then a retry helps"
    )
