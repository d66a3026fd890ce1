"""Where the API and the dashboard are, and what is wrong with a URL."""

from __future__ import annotations

from typing import Any

import pytest

KEY = "tr_prod_marker_of_the_test"
PASSWORD = "hunter2hunter2"
CLOUD = ("https://api.trigger.dev", "https://cloud.trigger.dev")

NO_URL = "not a valid URL, must be such as https://trigger.example.com"
NO_HOST = "not a valid URL, must contain a host name"
BAD_PORT = "not a valid URL, its port must be a number from 1 to 65535"
BAD_SCHEME = "must begin with http:// or https://"
BAD_SCHEMA = "must be http, https or empty; a connection URI begins with trigger-dev://"
SPACES = "must not contain spaces"
QUERY = "must not contain a query or a fragment (? or #)"
USER_INFO = "must not contain user info (…@…); the secret key belongs in the password field"
KEY_IN_HOST = "contains a secret key, which belongs in the password field; in a URI: trigger-dev://:KEY@HOST"


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
