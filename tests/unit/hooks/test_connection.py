from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_trigger._compat import AirflowFailException
from airflow_provider_trigger.hooks.connection import (
    InvalidConnectionError,
    Settings,
    _warn_if_unencrypted,
    read_settings,
)
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

try:
    from airflow.sdk import Connection
except ImportError:  # 2.11
    from airflow.models import Connection

KEY = "tr_prod_marker_of_the_test"
PASSWORD = "hunter2hunter2"
ENORMOUS = pytest.param(10**400, id="enormous")
CLOUD = ("https://api.trigger.dev", "https://cloud.trigger.dev")


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """Let each test be warned anew."""
    _warn_if_unencrypted.cache_clear()
    yield
    _warn_if_unencrypted.cache_clear()


def settings(*, password: str | None = KEY, extra: object = None, **fields: Any) -> Settings:
    text = extra if isinstance(extra, str) or extra is None else json.dumps(extra)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Airflow 2.11 warns of an extra that is no JSON, and takes it
        return read_settings(
            Connection(conn_id="mine", conn_type="trigger_dev", password=password, extra=text, **fields)
        )


def refusal(**fields: Any) -> str:
    with pytest.raises(InvalidConnectionError) as raised:
        settings(**fields)
    text = str(raised.value)
    assert text.startswith("Connection 'mine', field ")
    for secret in (KEY, PASSWORD):
        assert secret not in text + repr(raised.value) + repr(raised.value.args)
    return text


@pytest.fixture
def from_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Settings]:
    """Read a connection in the text form that Airflow takes from an environment variable."""

    def read(text: str) -> Settings:
        monkeypatch.setenv("AIRFLOW_CONN_MINE", text)
        return TriggerDevHook("mine").settings

    return read


# Where the API is


def test_a_key_alone_means_the_cloud() -> None:
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
        ({"host": "HTTPS://trigger.test"}, "https://trigger.test"),
        ({"host": "http://localhost:3030"}, "http://localhost:3030"),
        ({"host": "trigger.test", "port": 3030}, "https://trigger.test:3030"),
        ({"host": "https://trigger.test/prefix", "port": 3030}, "https://trigger.test:3030/prefix"),
        ({"host": "https://trigger.test:3030", "port": 3030}, "https://trigger.test:3030"),
        ({"host": "https://trigger.test:", "port": 3030}, "https://trigger.test:3030"),
        ({"host": "trigger.test", "schema": "https"}, "https://trigger.test"),
        ({"host": "localhost", "schema": "HTTP", "port": 3030}, "http://localhost:3030"),
        ({"host": "::1", "schema": "http", "port": 3030}, "http://[::1]:3030"),
        ({"host": "[::1]", "schema": "http", "port": 3030}, "http://[::1]:3030"),
        ({"host": "[::1]:3030", "schema": "http"}, "http://[::1]:3030"),
        ({"host": "http://[::1]:3030"}, "http://[::1]:3030"),
        ({"host": "http://[::1]", "port": 3030}, "http://[::1]:3030"),
        ({"port": 8443}, "https://api.trigger.dev:8443"),
    ],
)
def test_host_port_and_schema_make_the_base_url(fields: dict[str, Any], base_url: str) -> None:
    assert settings(**fields).base_url == base_url


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"host": "ftp://trigger.test"}, "host", "begins with neither http:// nor https://"),
        ({"host": "://trigger.test"}, "host", "begins with neither http:// nor https://"),
        ({"host": "trigger.test", "schema": "prefix"}, "schema", "is neither http nor https"),
        ({"host": "https://"}, "host", "names no host"),
        ({"host": "https:///path"}, "host", "names no host"),
        ({"host": "https://:3030"}, "host", "names no host"),
        ({"host": "https://trigger test"}, "host", "a blank"),
        ({"host": "https://trigger.test/a b"}, "host", "a blank"),
        ({"host": "https://trigger.test?x=1"}, "host", "a query or a fragment"),
        ({"host": "https://trigger.test/#top"}, "host", "a query or a fragment"),
        ({"host": f"https://me:{PASSWORD}@trigger.test"}, "host", "user info"),
        ({"host": f"me:{PASSWORD}@trigger.test"}, "host", "user info"),
        ({"host": f"{KEY}@trigger.test"}, "host", "user info"),
        ({"host": "https://[::1"}, "host", "no URL"),
        ({"host": "https://trigger.test:port"}, "host", "no URL"),
        ({"host": "https://trigger.test:99999"}, "host", "no URL"),
        ({"host": "trigger.test", "port": 99999}, "port", "no port"),
        ({"host": "trigger.test", "port": -1}, "port", "no port"),
        ({"host": "https://trigger.test:3030", "port": 8080}, "port", "it is 8080, but host says 3030"),
        ({"host": "https://trigger..test"}, "host", "names no host"),
        ({"host": f"https://{'a' * 64}.test"}, "host", "names no host"),
    ],
)
def test_a_base_url_that_is_none_is_refused(fields: dict[str, Any], field: str, reason: str) -> None:
    text = refusal(**fields)
    assert f"field {field!r}: " in text
    assert reason in text


@pytest.mark.parametrize(
    "host", ["trigger.test.", "xn--bcher-kva.test", "bücher.test", "10.0.0.1", "a_b.test"]
)
def test_an_unusual_host_is_taken(host: str) -> None:
    assert settings(host=host).base_url == f"https://{host}"


# Where the dashboard is


@pytest.mark.parametrize(
    "host",
    ["", "api.trigger.dev", "https://api.trigger.dev/", "https://API.trigger.dev", "api.trigger.dev:443"],
)
def test_the_clouds_dashboard_is_known(host: str) -> None:
    assert settings(host=host).dashboard_url == CLOUD[1]


def test_another_servers_dashboard_is_the_server_itself_unless_told() -> None:
    assert settings(host="trigger.test").dashboard_url == "https://trigger.test"
    told = settings(host="trigger.test", extra={"dashboard_url": "https://dashboard.test/x/"})
    assert told.dashboard_url == "https://dashboard.test/x"


@pytest.mark.parametrize(
    "url", ["ftp://dashboard.test", "dashboard.test", f"https://me:{PASSWORD}@d.test", 7]
)
def test_a_dashboard_that_is_no_url_is_refused(url: object) -> None:
    assert "field 'dashboard_url': " in refusal(extra={"dashboard_url": url})


def test_a_runs_page_has_its_id_as_one_segment() -> None:
    assert settings().run_url("run_1") == "https://cloud.trigger.dev/runs/run_1"
    assert settings().run_url("a/../b?c") == "https://cloud.trigger.dev/runs/a%2F..%2Fb%3Fc"


# Unencrypted


@pytest.mark.parametrize("host", ["http://trigger.test", "http://10.0.0.1:3030", "http://[fd00::1]"])
def test_http_is_honoured_with_one_warning(host: str, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        assert settings(host=host).base_url == host
    [record] = caplog.records
    assert "'mine'" in record.getMessage()
    assert "unencrypted" in record.getMessage()


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "127.9.9.9:1", "[::1]:1"])
def test_a_loopback_address_is_no_reason_for_a_warning(host: str, caplog: pytest.LogCaptureFixture) -> None:
    settings(host=f"http://{host}")
    settings(host=f"https://{host}")
    assert not caplog.records


# The key


@pytest.mark.parametrize("key", [None, "", "   "])
def test_a_missing_key_is_refused(key: str | None) -> None:
    assert "field 'password': the secret key is missing" in refusal(password=key)


@pytest.mark.parametrize("key", [f"{KEY} {KEY}", f"{KEY}\n{KEY}", f"{KEY}é", f"{KEY}\x00"])
def test_a_key_that_cannot_be_one_is_refused_and_not_shown(key: str) -> None:
    assert "field 'password': " in refusal(password=key)


@pytest.mark.parametrize("key", [f" {KEY}\n", "new_form/of+key=="])
def test_any_other_key_is_taken_whatever_it_starts_with(key: str) -> None:
    assert settings(password=key).secret_key == key.strip()


def test_neither_key_nor_proxy_is_in_the_repr() -> None:
    read = settings(extra={"proxy": f"http://me:{PASSWORD}@proxy.test:3128"})
    assert read.proxy == f"http://me:{PASSWORD}@proxy.test:3128"
    assert KEY not in repr(read)
    assert PASSWORD not in repr(read)
    assert "proxy" not in repr(read)


# Extra


@pytest.mark.parametrize("extra", [None, "", "  ", "{}"])
def test_an_empty_extra_means_the_defaults(extra: str | None) -> None:
    assert settings(extra=extra).timeout == 30


def test_every_field_of_extra_counts() -> None:
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


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ("timeout=5", "it is no JSON"),
        ("{", "it is no JSON"),
        ("[1]", "no JSON object but of type list"),
        ('"text"', "no JSON object but of type str"),
        ("7", "no JSON object but of type int"),
    ],
)
def test_an_extra_that_is_no_json_object_is_refused(extra: str, reason: str) -> None:
    text = refusal(extra=extra)
    assert "field 'extra': " in text
    assert reason in text


def test_an_extra_that_is_nested_without_end_is_refused() -> None:
    # As Airflow 3 hands it over; 2.11 fails at it by itself.
    connection = SimpleNamespace(
        conn_id="mine", host=None, port=None, schema=None, password=KEY, extra="[" * 10**5
    )
    with pytest.raises(InvalidConnectionError, match="field 'extra': it is no JSON"):
        read_settings(connection)


@pytest.mark.parametrize("field", ["timeout", "retry_for"])
@pytest.mark.parametrize(("value", "seconds"), [(7, 7), (0.5, 0.5), ("7.5", 7.5), (" 7 ", 7), (1e3, 1000)])
def test_seconds_are_numbers_or_their_text(field: str, value: object, seconds: float) -> None:
    read = settings(extra={field: value})
    assert getattr(read, field) == seconds
    assert type(getattr(read, field)) is float


@pytest.mark.parametrize("field", ["timeout", "retry_for"])
@pytest.mark.parametrize("value", [None, ""])
def test_empty_seconds_mean_the_default(field: str, value: object) -> None:
    assert getattr(settings(extra={field: value}), field) == getattr(settings(), field)


@pytest.mark.parametrize("field", ["timeout", "retry_for"])
@pytest.mark.parametrize(
    "value",
    [-1, "-0.5", "soon", " ", True, False, [], {}, [5], "nan", "inf", float("nan"), float("inf"), ENORMOUS],
)
def test_what_is_no_number_of_seconds_is_refused(field: str, value: object) -> None:
    text = refusal(extra={field: value})
    assert f"field {field!r}: " in text
    assert text.endswith(f"is no number of seconds{' above 0' if field == 'timeout' else ''}")
    assert len(text) < 150


@pytest.mark.parametrize("field", ["timeout", "retry_for"])
def test_what_no_clock_can_hold_is_refused(field: str) -> None:
    assert refusal(extra={field: 1e10}).endswith(f"field {field!r}: 1e+10 s is more than a year")
    assert getattr(settings(extra={field: 366 * 86400}), field) == 366 * 86400


def test_a_request_needs_some_time_but_need_not_be_repeated() -> None:
    assert refusal(extra={"timeout": 0}).endswith("field 'timeout': it is no number of seconds above 0")
    assert settings(extra={"retry_for": "0"}).retry_for == 0


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
def test_certificates_are_checked_unless_told_otherwise(value: object, verify: bool) -> None:
    assert settings(extra={"verify": value}).verify is verify


def test_certificates_are_checked_against_a_file_that_exists(tmp_path: Any) -> None:
    (tmp_path / "ca.pem").touch()
    assert settings(extra={"verify": str(tmp_path / "ca.pem")}).verify == str(tmp_path / "ca.pem")
    text = refusal(extra={"verify": str(tmp_path / "gone.pem")})
    assert "field 'verify': there is no file " in text
    assert "gone.pem" in text


@pytest.mark.parametrize("value", [0, 1, [], {}, 0.5, "no", "\x00"])
def test_another_value_of_verify_is_refused(value: object) -> None:
    assert "field 'verify': " in refusal(extra={"verify": value})


@pytest.mark.parametrize("value", [7, True, ["main"], "bücher", "a\nb"])
def test_a_branch_that_cannot_be_sent_is_refused(value: object) -> None:
    assert "field 'branch': " in refusal(extra={"branch": value})


@pytest.mark.parametrize(
    "value", ["proxy.test:3128", "proxy.test", "http://", "http://[::1", 7, f"{PASSWORD}@p:1"]
)
def test_a_proxy_that_is_no_url_is_refused_and_not_shown(value: object) -> None:
    assert "field 'proxy': " in refusal(extra={"proxy": value})


@pytest.mark.parametrize("field", ["branch", "dashboard_url", "proxy"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_an_empty_text_means_none(field: str, value: object) -> None:
    assert settings(extra={field: value}) == settings()


def test_what_means_nothing_in_extra_is_named_and_otherwise_left_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert settings(extra={"timeuot": 5, "a": PASSWORD, "timeout": 7}).timeout == 7
    [record] = caplog.records
    text = record.getMessage()
    assert "'mine'" in text
    assert "without effect: 'a', 'timeuot';" in text
    assert "known are branch, dashboard_url, timeout, retry_for, verify, proxy" in text
    assert PASSWORD not in text


def test_another_try_would_not_cure_a_connection() -> None:
    assert issubclass(InvalidConnectionError, AirflowFailException)


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
def test_a_uri_is_understood(from_environment: Any, uri: str, base_url: str) -> None:
    read = from_environment(uri)
    assert (read.base_url, read.secret_key) == (base_url, KEY)


def test_the_texts_of_a_uris_query_are_understood(from_environment: Any) -> None:
    read = from_environment(
        f"trigger-dev://:{KEY}@trigger.test?timeout=5.5&retry_for=0&verify=false&branch=main"
        "&dashboard_url=https%3A%2F%2Fdashboard.test"
    )
    assert (read.timeout, read.retry_for, read.verify) == (5.5, 0, False)
    assert (read.branch, read.dashboard_url) == ("main", "https://dashboard.test")


def test_a_uris_path_is_no_prefix_and_said_to_be_none(from_environment: Any) -> None:
    with pytest.raises(InvalidConnectionError, match="field 'schema': it is neither http nor https"):
        from_environment(f"trigger-dev://:{KEY}@trigger.test/prefix")


def test_json_is_understood(from_environment: Any) -> None:
    fields = {"conn_type": "trigger_dev", "host": "trigger.test", "port": 3030, "password": KEY}
    read = from_environment(json.dumps(fields | {"extra": {"timeout": 5, "verify": False}}))
    assert (read.base_url, read.timeout, read.verify) == ("https://trigger.test:3030", 5, False)
    assert from_environment(json.dumps(fields | {"extra": '{"timeout": "7"}'})).timeout == 7


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
def test_whatever_a_connection_holds_it_is_read_or_refused(
    host: str, port: int | None, schema: str | None, extra: dict[str, Any]
) -> None:
    told = ""
    try:
        read = settings(host=host, port=port, schema=schema, extra=extra)
    except InvalidConnectionError as error:
        told = str(error)
        assert told.startswith("Connection 'mine', field ")
    else:
        assert read.base_url.startswith(("http://", "https://"))
        assert not read.base_url.endswith("/")
    assert KEY not in told


@pytest.mark.parametrize(
    "uri",
    [
        "trigger_dev://:tr_prod_MARKER@trigger.test",
        "tr_prod_MARKER",
        "trigger-dev://tr_prod_MARKER@trigger.test",
        "trigger-dev://trigger.test/tr_prod_MARKER",
    ],
)
def test_a_key_at_the_wrong_place_of_a_uri_is_not_repeated(uri, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_TRIGGER_DEV_DEFAULT", uri)
    with pytest.raises(InvalidConnectionError) as caught:
        _ = TriggerDevHook().settings
    assert "MARKER" not in str(caught.value)
