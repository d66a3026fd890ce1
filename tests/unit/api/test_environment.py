from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api.environment import connection_options, proxy_for
from airflow_provider_trigger.api.settings import ServerSettings

URL = "https://trigger.test:8443/a"
PROXY = "http://environment.test:3128"
NAMES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def settings(**fields: Any) -> ServerSettings:
    return ServerSettings(base_url=URL, secret_key="k", user_agent="me/1", **fields)


def proxy(url: str = URL, given: str | None = None) -> str | None:
    return proxy_for(url, connection_options(url, settings(proxy=given)))


def test_without_anything_set_there_is_no_proxy_and_certificates_are_checked() -> None:
    assert proxy() is None
    assert connection_options(URL, settings())["verify"] is True


@pytest.mark.parametrize(
    ("name", "value", "url", "used"),
    [
        ("HTTPS_PROXY", PROXY, URL, PROXY),
        ("https_proxy", PROXY, URL, PROXY),
        ("HTTP_PROXY", PROXY, URL, None),
        ("HTTP_PROXY", PROXY, "http://trigger.test", PROXY),
        ("ALL_PROXY", PROXY, URL, PROXY),
        ("HTTPS_PROXY", "environment.test:3128", URL, PROXY),
    ],
)
def test_a_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, url: str, used: str | None
) -> None:
    monkeypatch.setenv(name, value)
    assert proxy(url) == used


@pytest.mark.parametrize("without", ["trigger.test", ".test", "*", "other.test,trigger.test:8443"])
def test_no_proxy_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch, without: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", without)
    assert proxy() is None
    # It is about each URL.
    assert proxy("https://store.example") == (None if without == "*" else PROXY)


def test_a_given_proxy_takes_the_place_of_all_of_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", "*")
    for url in (URL, "http://trigger.test"):
        assert proxy(url, "http://mine.test:1") == "http://mine.test:1"


@pytest.mark.parametrize(
    ("given", "used"), [(True, "/environment.pem"), (False, False), ("/mine.pem", "/mine.pem")]
)
def test_a_ca_file_of_the_environment_counts_where_none_is_given(
    monkeypatch: pytest.MonkeyPatch, given: bool | str, used: bool | str
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/environment.pem")
    assert connection_options(URL, settings(verify=given))["verify"] == used
