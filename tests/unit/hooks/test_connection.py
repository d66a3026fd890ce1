from __future__ import annotations

from dataclasses import FrozenInstanceError
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_trigger._compat import AirflowFailException, AirflowNotFoundException
from airflow_provider_trigger.hooks.connection import (
    ConnectionNotFoundError,
    InvalidConnectionError,
    Settings,
    connection_not_found,
    read_settings,
)

KEY = "tr_prod_marker_of_the_test"
PASSWORD = "hunter2hunter2"
YEAR = 366 * 86400
ENORMOUS = pytest.param(10**400, id="enormous")


# The key


MISSING = "the secret key is missing; copy it from the API keys page of your Trigger.dev project"
NO_COLON = "empty, but login is set; in a URI, write a colon before the key: trigger-dev://:KEY@HOST"
QUOTED = "the secret key has quotation marks around it; enter it without them"
BROKEN = (
    "the secret key contains spaces, line breaks or non-ASCII characters; "
    "copy it again from the API keys page of your Trigger.dev project"
)


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


def test_settings_cannot_be_changed(settings) -> None:
    with pytest.raises(FrozenInstanceError):
        settings().base_url = "https://other.test"


def test_settings_take_keyword_arguments_only(settings) -> None:
    values = vars(settings())
    assert Settings(**values) == settings()
    make: Any = Settings
    with pytest.raises(TypeError):
        make(*values.values())


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


@pytest.mark.parametrize("field", ["branch", "dashboard_url", "verify", "proxy"])
@pytest.mark.parametrize("value", [0, 1, [], {}, 0.5, ["main"]])
def test_what_is_not_text_is_an_error(error_of, field: str, value: object) -> None:
    kind = type(value).__name__
    assert error_of(extra={field: value}) == f"field {field!r}: must be text, not of type {kind}"


@pytest.mark.parametrize("field", ["branch", "dashboard_url", "proxy"])
def test_true_is_not_text_except_for_verify(error_of, field: str) -> None:
    assert error_of(extra={field: True}) == f"field {field!r}: must be text, not of type bool"


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


# What Airflow does with the errors


def test_a_task_with_an_invalid_connection_is_not_retried() -> None:
    assert issubclass(InvalidConnectionError, AirflowFailException)


def test_a_task_without_its_connection_is_not_retried() -> None:
    assert issubclass(ConnectionNotFoundError, AirflowFailException)
    assert issubclass(ConnectionNotFoundError, AirflowNotFoundException)


def test_a_missing_connection_is_named_with_what_to_do() -> None:
    assert str(connection_not_found("my_conn")) == (
        "Connection 'my_conn' was not found; create it under Admin, Connections, or check that the "
        "environment variable AIRFLOW_CONN_MY_CONN is set, to valid JSON or a URI, on every worker"
    )
