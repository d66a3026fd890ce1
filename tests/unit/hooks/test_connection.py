"""Read a connection, and check that its errors lead to no secret."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger._compat import AirflowFailException
from airflow_provider_trigger.hooks.connection import (
    ConnectionNotFoundError,
    InvalidConnectionError,
    Settings,
    read_settings,
)
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

KEY = "tr_prod_marker_of_the_test"
PASSWORD = "hunter2hunter2"
YEAR = 366 * 86400
ENORMOUS = pytest.param(10**400, id="enormous")
MISSING = "the secret key is missing; copy it from the API keys page of your Trigger.dev project"
NO_COLON = "empty, but login is set; in a URI, write a colon before the key: trigger-dev://:KEY@HOST"
QUOTED = "the secret key has quotation marks around it; enter it without them"
BROKEN = (
    "the secret key contains spaces, line breaks or non-ASCII characters; "
    "copy it again from the API keys page of your Trigger.dev project"
)
BAD_SCHEMA = "must be http, https or empty; a connection URI begins with trigger-dev://"
IN_HOST = "contains a secret key, which belongs in the password field; in a URI: trigger-dev://:KEY@HOST"
CLOUD = ("https://api.trigger.dev", "https://cloud.trigger.dev")
NO_URL = "not a valid URL, must be such as https://trigger.example.com"
NO_HOST = "not a valid URL, must contain a host name"
BAD_PORT = "not a valid URL, its port must be a number from 1 to 65535"
BAD_SCHEME = "must begin with http:// or https://"
SPACES = "must not contain spaces"
QUERY = "must not contain a query or a fragment (? or #)"
USER_INFO = "must not contain user info (…@…); the secret key belongs in the password field"
KEY_IN_HOST = "contains a secret key, which belongs in the password field; in a URI: trigger-dev://:KEY@HOST"


# The key


@pytest.mark.parametrize(
    ("key", "login", "reason"),
    [
        (None, None, MISSING),
        ("", "", MISSING),
        ("   ", None, MISSING),
        (None, KEY, NO_COLON),
        (" ", KEY, NO_COLON),
        (f'"{KEY}"', None, QUOTED),
        (f"'{KEY}'", None, QUOTED),
        (f" `{KEY}` ", None, QUOTED),
        (f"\u201c{KEY}\u201d", None, QUOTED),
        (f"\u2018{KEY}\u2019", None, QUOTED),
        (f"\u201e{KEY}\u201c", None, QUOTED),
        (f'"{KEY}', None, QUOTED),
        (f"{KEY}'", None, QUOTED),
        (f"{KEY} {KEY}", None, BROKEN),
        (f"{KEY}\n{KEY}", None, BROKEN),
        (f"Bearer {KEY}", None, BROKEN),
        (f"{KEY}é", None, BROKEN),
        (f"{KEY}\x00", None, BROKEN),
    ],
)
def test_an_invalid_key_is_an_error(error_of, key: str | None, login: str | None, reason: str) -> None:
    assert error_of(password=key, login=login) == f"field 'password': {reason}"


@pytest.mark.parametrize("key", [f" {KEY}\n", "new_form/of+key==", "k", "a'b\"c"])
def test_any_other_key_is_accepted_whatever_it_starts_with(settings, key: str) -> None:
    assert settings(password=key).secret_key == key.strip()


def test_a_login_next_to_a_key_has_no_effect(settings) -> None:
    assert settings(login="me") == settings()


def test_neither_key_nor_proxy_is_in_the_repr(settings) -> None:
    read = settings(extra={"proxy": f"http://me:{PASSWORD}@proxy.test:3128"})
    assert read.proxy == f"http://me:{PASSWORD}@proxy.test:3128"
    assert KEY not in repr(read)
    assert PASSWORD not in repr(read)
    assert "proxy" not in repr(read)


# Extra


@pytest.mark.parametrize("extra", [None, "", "  ", "{}"])
def test_an_empty_extra_means_the_defaults(settings, extra: str | None) -> None:
    assert settings(extra=extra).timeout == 30


def test_every_field_of_extra_counts(settings) -> None:
    extra = {
        "branch": " feature/x ",
        "timeout": 5,
        "retry_for": 0,
        "verify": False,
        "proxy": "http://p.test:1",
    }
    read = settings(extra=extra)
    assert (read.branch, read.timeout, read.retry_for) == ("feature/x", 5, 0)
    assert (read.verify, read.proxy) == (False, "http://p.test:1")


NO_OBJECT = """field 'extra': not a valid JSON object, must be such as {"timeout": 10}"""


@pytest.mark.parametrize(
    "extra", ["timeout=5", "{", "[1]", '"text"', "7", "null", f'{{"proxy": "{PASSWORD}"']
)
def test_an_extra_that_is_not_a_json_object_is_an_error(error_of, extra: str) -> None:
    assert error_of(extra=extra) == NO_OBJECT


def test_an_extra_that_is_nested_without_end_is_an_error(assert_hides) -> None:
    # As Airflow 3 returns it; 2.11 fails by itself.
    connection: Any = SimpleNamespace(
        conn_id="mine", host=None, port=None, schema=None, login=None, password=KEY, extra="[" * 10**5
    )
    with pytest.raises(InvalidConnectionError) as raised:
        read_settings(connection)
    assert str(raised.value) == f"Connection 'mine', {NO_OBJECT}"
    assert_hides(raised.value, KEY)


@pytest.mark.parametrize("field", ["timeout", "retry_for"])
@pytest.mark.parametrize(
    ("value", "seconds"), [(7, 7), (0.001, 0.001), ("7.5", 7.5), (" 7 ", 7), (1e3, 1000), (YEAR, YEAR)]
)
def test_seconds_are_numbers_or_their_text(settings, field: str, value: object, seconds: float) -> None:
    read = settings(extra={field: value})
    assert getattr(read, field) == seconds
    assert type(getattr(read, field)) is float


@pytest.mark.parametrize("field", ["timeout", "retry_for"])
@pytest.mark.parametrize("value", [None, ""])
def test_empty_seconds_mean_the_default(settings, field: str, value: object) -> None:
    assert getattr(settings(extra={field: value}), field) == {"timeout": 30, "retry_for": 120}[field]


@pytest.mark.parametrize("field", ["timeout", "retry_for"])
@pytest.mark.parametrize(
    "value",
    [-1, "-0.5", "1e3", " ", True, False, [], {}, [5], "nan", "inf", float("nan"), float("inf"), ENORMOUS],
)
def test_an_invalid_number_of_seconds_is_an_error(error_of, field: str, value: object) -> None:
    limit = "above 0" if field == "timeout" else "0 or more"
    assert error_of(extra={field: value}) == (
        f"field {field!r}: not a valid number of seconds, must be {limit}"
    )


@pytest.mark.parametrize("field", ["timeout", "retry_for"])
@pytest.mark.parametrize(("value", "shown"), [(YEAR + 1, "3.16224e+07"), (1e10, "1e+10")])
def test_more_than_a_year_is_an_error(error_of, field: str, value: float, shown: str) -> None:
    assert error_of(extra={field: value}) == f"field {field!r}: {shown} s is too long, must be up to one year"


@pytest.mark.parametrize("value", [0, "0", 0.0, -0.0])
def test_a_request_needs_some_time_but_need_not_be_repeated(settings, error_of, value: object) -> None:
    assert error_of(extra={"timeout": value}).endswith("must be above 0")
    assert settings(extra={"retry_for": value}).retry_for == 0


@pytest.mark.parametrize(
    ("value", "verify"),
    [
        (None, True),
        ("", True),
        (True, True),
        ("true", True),
        (" True ", True),
        (False, False),
        ("false", False),
        ("FALSE", False),
    ],
)
def test_certificates_are_checked_by_default(settings, value: object, verify: bool) -> None:
    assert settings(extra={"verify": value}).verify is verify


def test_certificates_are_checked_against_a_file_that_exists(settings, error_of, tmp_path) -> None:
    (tmp_path / "ca.pem").touch()
    assert settings(extra={"verify": str(tmp_path / "ca.pem")}).verify == str(tmp_path / "ca.pem")
    assert settings(extra={"verify": f" {tmp_path} "}).verify == str(tmp_path)
    gone = str(tmp_path / "gone.pem")
    assert error_of(extra={"verify": gone}) == (
        f"field 'verify': file {gone!r} not found, must be true, false or the path of a CA file"
    )


@pytest.mark.parametrize("value", ["no", "truefalse", "\x00"])
def test_another_text_of_verify_is_an_error(error_of, value: str) -> None:
    assert error_of(extra={"verify": value}) == (
        f"field 'verify': file {value!r} not found, must be true, false or the path of a CA file"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *itertools.product(("branch", "dashboard_url", "verify", "proxy"), (0, 1, [], {}, 0.5, ["main"])),
        *itertools.product(("branch", "dashboard_url", "proxy"), [True]),
    ],
)
def test_what_is_not_text_is_an_error(error_of, field: str, value: object) -> None:
    kind = type(value).__name__
    assert error_of(extra={field: value}) == f"field {field!r}: must be text, not of type {kind}"


@pytest.mark.parametrize("value", ["bücher", "a\nb", "a\x7fb"])
def test_a_branch_that_a_header_cannot_contain_is_an_error(error_of, value: str) -> None:
    expected = "field 'branch': must contain only printable ASCII characters"
    assert error_of(extra={"branch": value}) == expected


@pytest.mark.parametrize(
    "value", ["proxy.test:3128", "proxy.test", "http://", "http://[::1", f"{PASSWORD}@p:1", f"//{PASSWORD}"]
)
def test_an_invalid_proxy_is_an_error_that_does_not_show_it(error_of, value: str) -> None:
    expected = "field 'proxy': not a valid URL, must be such as http://proxy.example.com:3128"
    assert error_of(extra={"proxy": value}) == expected


@pytest.mark.parametrize(
    "value", ["http://p.test:1", "https://p.test", "socks5://me:pw@p.test", "http://[::1]:1"]
)
def test_a_proxy_is_any_url(settings, value: str) -> None:
    assert settings(extra={"proxy": f" {value}\n"}).proxy == value


@pytest.mark.parametrize("field", ["branch", "dashboard_url", "proxy"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_an_empty_text_means_none(settings, field: str, value: object) -> None:
    assert settings(extra={field: value}) == settings()


def test_unknown_fields_of_extra_are_named_and_have_no_effect(
    settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert settings(extra={"timeuot": 5, "a": PASSWORD, KEY: "", "timeout": 7}).timeout == 7
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "Connection 'mine': unknown fields in extra have no effect: 'a', 'timeuot', a secret key; "
        "the known fields are branch, dashboard_url, timeout, retry_for, verify, proxy"
    )


def test_known_fields_of_extra_are_not_warned_about(settings, caplog: pytest.LogCaptureFixture) -> None:
    settings(extra=dict.fromkeys(["branch", "dashboard_url", "timeout", "retry_for", "verify", "proxy"]))
    assert not caplog.records


# Where the API is


def test_a_key_alone_means_the_cloud(settings) -> None:
    read = settings()
    assert (read.base_url, read.dashboard_url) == CLOUD
    assert (read.secret_key, read.branch, read.proxy, read.verify) == (KEY, None, None, True)
    assert (read.timeout, read.retry_for) == (30, 120)


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({"host": ""}, CLOUD[0]),
        ({"host": "  "}, CLOUD[0]),
        ({"host": "trigger.test"}, "https://trigger.test"),
        ({"host": " trigger.test \n"}, "https://trigger.test"),
        ({"host": "trigger.test:3030"}, "https://trigger.test:3030"),
        ({"host": "trigger.test/prefix/"}, "https://trigger.test/prefix"),
        ({"host": "https://trigger.test/"}, "https://trigger.test"),
        ({"host": "https://trigger.test/a/b//"}, "https://trigger.test/a/b"),
        ({"host": "https://trigger.test/X/"}, "https://trigger.test/X"),
        ({"host": "HTTPS://trigger.test"}, "https://trigger.test"),
        ({"host": "http://localhost:3030"}, "http://localhost:3030"),
        ({"host": "trigger.test", "port": 3030}, "https://trigger.test:3030"),
        ({"host": "https://trigger.test/prefix", "port": 3030}, "https://trigger.test:3030/prefix"),
        ({"host": "https://trigger.test:3030", "port": 3030}, "https://trigger.test:3030"),
        ({"host": "https://trigger.test:", "port": 3030}, "https://trigger.test:3030"),
        ({"host": "https://TRIGGER.TEX", "port": 3030}, "https://TRIGGER.TEX:3030"),
        ({"host": "trigger.test", "schema": "https"}, "https://trigger.test"),
        ({"host": "localhost", "schema": "HTTP", "port": 3030}, "http://localhost:3030"),
        ({"host": "::1", "schema": "http", "port": 3030}, "http://[::1]:3030"),
        ({"host": "[::1]", "schema": "http", "port": 3030}, "http://[::1]:3030"),
        ({"host": "[::1]:3030", "schema": "http"}, "http://[::1]:3030"),
        ({"host": "http://[::1]:3030"}, "http://[::1]:3030"),
        ({"host": "http://[::1]", "port": 3030}, "http://[::1]:3030"),
        ({"port": 8443}, "https://api.trigger.dev:8443"),
        ({"host": "trigger.test", "port": 0}, "https://trigger.test"),
        ({"host": "https://trigger.test:3030", "port": 0}, "https://trigger.test:3030"),
        ({"host": "trigger.test", "port": 1}, "https://trigger.test:1"),
        ({"host": "trigger.test", "port": 65535}, "https://trigger.test:65535"),
        ({"host": "https://trigger.test:1"}, "https://trigger.test:1"),
        ({"host": "https://trigger.test:65535"}, "https://trigger.test:65535"),
        ({"host": "trigger.test", "schema": " Http "}, "http://trigger.test"),
        ({"host": "https://trigger.test", "schema": "http"}, "https://trigger.test"),
        ({"host": " "}, CLOUD[0]),
        ({"host": None, "schema": "http"}, CLOUD[0]),
    ],
)
def test_host_port_and_schema_make_the_base_url(settings, fields: dict[str, Any], base_url: str) -> None:
    assert settings(**fields).base_url == base_url


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"host": "ftp://trigger.test"}, "host", BAD_SCHEME),
        ({"host": "://trigger.test"}, "host", BAD_SCHEME),
        ({"host": '"https://trigger.test"'}, "host", BAD_SCHEME),
        ({"host": "trigger.test", "schema": "prefix"}, "schema", BAD_SCHEMA),
        ({"host": "trigger.test", "schema": KEY}, "schema", BAD_SCHEMA),
        ({"host": "https://"}, "host", NO_HOST),
        ({"host": "https:///path"}, "host", NO_HOST),
        ({"host": "https://:3030"}, "host", NO_HOST),
        ({"host": "https://trigger test"}, "host", SPACES),
        ({"host": "https://trigger.test/a b"}, "host", SPACES),
        ({"host": "https://trigger.test/a\tb"}, "host", SPACES),
        ({"host": "https://trigger.test?x=1"}, "host", QUERY),
        ({"host": "https://trigger.test/#top"}, "host", QUERY),
        ({"host": f"https://me:{PASSWORD}@trigger.test"}, "host", USER_INFO),
        ({"host": f"me:{PASSWORD}@trigger.test"}, "host", USER_INFO),
        ({"host": f"me:{PASSWORD}@trigger.test:3030"}, "host", USER_INFO),
        ({"host": f"{KEY}@trigger.test"}, "host", USER_INFO),
        ({"host": "https://[::1"}, "host", NO_URL),
        ({"host": f"https://[{PASSWORD}]"}, "host", NO_URL),
        ({"host": "https://trigger.test:port"}, "host", BAD_PORT),
        ({"host": f"trigger.test:{PASSWORD}"}, "host", BAD_PORT),
        ({"host": "https://trigger.test:0"}, "host", BAD_PORT),
        ({"host": "https://trigger.test:65536"}, "host", BAD_PORT),
        ({"host": "trigger.test", "port": -1}, "port", "-1 is not a valid port, must be from 1 to 65535"),
        ({"port": 65536}, "port", "65536 is not a valid port, must be from 1 to 65535"),
        (
            {"host": "https://trigger.test:3030", "port": 8080},
            "port",
            "8080 contradicts the port 3030 in host; remove one of them",
        ),
        ({"host": "https://trigger..test"}, "host", NO_HOST),
        ({"host": f"https://{'a' * 64}.test"}, "host", NO_HOST),
        ({"host": KEY}, "host", KEY_IN_HOST),
        ({"host": KEY, "password": None}, "host", KEY_IN_HOST),
        ({"host": f"https://{KEY}:443/"}, "host", KEY_IN_HOST),
        ({"host": f"https://api.trigger.dev/{KEY}"}, "host", KEY_IN_HOST),
        ({"host": KEY.upper()}, "host", KEY_IN_HOST),
    ],
)
def test_an_invalid_base_url_is_an_error(error_of, fields: dict[str, Any], field: str, reason: str) -> None:
    assert error_of(**fields) == f"field {field!r}: {reason}"


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/api/v1", "/api/v1"),
        ("/api/v2/", "/api/v2"),
        ("/api/v3//", "/api/v3"),
        ("/API/V1", "/API/V1"),
        ("/prefix/api/v1", "/api/v1"),
    ],
)
@pytest.mark.parametrize("scheme", ["", "https://"])
def test_the_path_of_the_api_does_not_belong_to_the_host(
    error_of, scheme: str, path: str, named: str
) -> None:
    expected = f"field 'host': must not end in {named}; give the base URL, without {named}"
    assert error_of(host=f"{scheme}trigger.test{path}") == expected


@pytest.mark.parametrize(
    "path",
    ["/api", "/gateway/api", "/myapi", "/api/v1/prefix", "/apiary", "/v1", "/api/v", "/api-v1", "/api/v1X"],
)
def test_another_path_may_belong_to_the_host(settings, path: str) -> None:
    assert settings(host=f"trigger.test{path}").base_url == f"https://trigger.test{path}"


@pytest.mark.parametrize(
    "host",
    [
        "trigger.test.",
        "xn--bcher-kva.test",
        "bücher.test",
        "10.0.0.1",
        "a_b.test",
        "tr_prod",
        "tr_prod_1.test",
        "str_max_length",
        f"{'a' * 63}.test",
    ],
)
def test_an_unusual_host_is_accepted(settings, host: str) -> None:
    assert settings(host=host).base_url == f"https://{host}"


# Where the dashboard is


@pytest.mark.parametrize(
    "host",
    ["", "api.trigger.dev", "https://api.trigger.dev/", "https://API.trigger.dev", "api.trigger.dev:443"],
)
def test_the_clouds_dashboard_is_known(settings, host: str) -> None:
    assert settings(host=host).dashboard_url == CLOUD[1]


def test_the_dashboard_of_another_server_is_the_server_itself_by_default(settings) -> None:
    assert settings(host="trigger.test").dashboard_url == "https://trigger.test"
    assert settings(host="trigger.test/x", port=3030).dashboard_url == "https://trigger.test:3030/x"
    other = settings(host="trigger.test", extra={"dashboard_url": " https://dashboard.test:1/x/ "})
    assert other.dashboard_url == "https://dashboard.test:1/x"
    assert (
        settings(extra={"dashboard_url": "https://dashboard.test"}).dashboard_url == "https://dashboard.test"
    )


def test_the_port_of_the_api_is_not_that_of_the_dashboard(settings) -> None:
    read = settings(host="trigger.test", port=3030, extra={"dashboard_url": "https://dashboard.test"})
    assert read.dashboard_url == "https://dashboard.test"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://dashboard.test", BAD_SCHEME),
        ("dashboard.test", BAD_SCHEME),
        (f"https://me:{PASSWORD}@d.test", USER_INFO),
        ("https://[::1", NO_URL),
        ("https://d.test:0", BAD_PORT),
        (7, "must be text, not of type int"),
    ],
)
def test_an_invalid_dashboard_url_is_an_error(error_of, url: object, reason: str) -> None:
    assert error_of(extra={"dashboard_url": url}) == f"field 'dashboard_url': {reason}"


def test_a_runs_page_has_its_id_as_one_segment(settings) -> None:
    assert settings().run_url("run_1") == "https://cloud.trigger.dev/runs/run_1"
    assert settings().run_url("a/../b?c") == "https://cloud.trigger.dev/runs/a%2F..%2Fb%3Fc"


# Unencrypted


@pytest.mark.parametrize("host", ["http://trigger.test", "http://10.0.0.1:3030", "http://[fd00::1]"])
def test_http_is_used_with_one_warning(settings, host: str, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        assert settings(host=host).base_url == host
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        f"Connection 'mine': the secret key is sent unencrypted, because host is {host}; use https"
    )


def test_each_connection_is_warned_about(settings, caplog: pytest.LogCaptureFixture) -> None:
    for conn_id in ("mine", "theirs", "mine"):
        settings(conn_id=conn_id, host="http://trigger.test")
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "Connection 'mine'",
        "Connection 'theirs'",
    ]


def test_an_invalid_connection_is_not_warned_about(error_of, caplog: pytest.LogCaptureFixture) -> None:
    error_of(host="http://trigger.test", password="")
    assert not caplog.records


@pytest.mark.parametrize("host", ["localhost:1", "LOCALHOST", "127.0.0.1", "127.9.9.9:1", "[::1]:1"])
def test_a_loopback_address_is_not_warned_about(
    settings, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings(host=f"http://{host}")
    settings(host=f"https://{host}")
    assert not caplog.records


# As users write them: a URI, JSON, and anything else


@pytest.fixture
def from_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Settings]:
    """Read a connection in the text form that Airflow takes from an environment variable."""

    def read(text: str) -> Settings:
        monkeypatch.setenv("AIRFLOW_CONN_MINE", text)
        return TriggerDevHook("mine").settings

    return read


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


def test_a_missing_connection_and_an_empty_variable_are_named_with_what_to_do(from_environment) -> None:
    with pytest.raises(ConnectionNotFoundError) as raised:
        from_environment("")
    assert str(raised.value) == (
        "Connection 'mine' was not found; create it under Admin, Connections, or check that the environment "
        "variable AIRFLOW_CONN_MINE is set, to valid JSON or a URI, on every worker"
    )


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
