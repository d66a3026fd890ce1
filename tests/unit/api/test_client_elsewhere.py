"""A request of the blocking driver to another server, such as an object store."""

from __future__ import annotations

import logging

import pytest

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.endpoints.outputs import fetch_output
from airflow_provider_trigger.api.endpoints.runs import retrieve_run
from airflow_provider_trigger.api.settings import ServerSettings

KEY = "tr_prod_marker/of+the=test"
RUN = {"id": "run_1", "status": "QUEUED"}
URL = "https://store.test:9000/packets/a%20b/1.json?X-Amz-Credential=t%2F20261125&X-Amz-Signature=0bb7"


def test_the_url_is_sent_as_it_is_without_key_branch_and_version(connect, answer) -> None:
    client, wire = connect(answer(body={"json": 1}), branch="feature/x", user_agent="me/1")
    assert client.call(fetch_output(URL)) == 1
    (sent,) = wire.sent
    assert (sent.method, sent.url, sent.body) == ("GET", URL, None)
    assert sent.headers == {"User-Agent": "me/1", "Accept-Encoding": "gzip"}


def test_a_netrc_entry_for_the_host_is_not_sent(
    connect, answer, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine store.test login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    client, wire = connect(answer(body={"json": 1}))
    client.call(fetch_output(URL))
    assert "Authorization" not in wire.sent[0].headers


def test_the_next_request_to_trigger_dev_has_the_key(connect, answer) -> None:
    client, wire = connect(answer(body={"json": 1}), answer(body=RUN))
    client.call(fetch_output(URL))
    client.call(retrieve_run("run_1"))
    assert wire.sent[1].headers["Authorization"] == f"Bearer {KEY}"


def test_a_proxy_and_certificates_are_those_of_the_connection(connect, answer) -> None:
    client, wire = connect(answer(body={"json": 1}), proxy="http://mine.test:1", verify="/ca.pem")
    client.call(fetch_output(URL))
    assert wire.options[0]["proxies"]["https"] == "http://mine.test:1"
    assert wire.options[0]["verify"] == "/ca.pem"


def test_no_proxy_of_the_environment_is_about_the_store(
    connect, answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://environment.test:3128")
    monkeypatch.setenv("NO_PROXY", "store.test")
    client, wire = connect(answer(body={"json": 1}), answer(body=RUN))
    client.call(fetch_output(URL))
    client.call(retrieve_run("run_1"))
    assert wire.options[0]["proxies"].get("https") is None
    assert wire.options[1]["proxies"]["https"] == "http://environment.test:3128"


def test_an_error_names_the_store_and_not_the_signature(connect, answer) -> None:
    import requests

    client, _ = connect(requests.ConnectionError(URL), retry_for=0.0)
    with pytest.raises(errors.TransportError) as raised:
        client.call(fetch_output(URL))
    assert str(raised.value) == "GET /packets/a%20b/1.json to store.test:9000: ConnectionError"


def test_no_log_has_the_signature(server, caplog: pytest.LogCaptureFixture) -> None:
    """urllib3 logs the address of each request at debug level."""
    caplog.set_level(logging.DEBUG)
    settings = ServerSettings(base_url=server.url, secret_key=server.secret_key, user_agent="me/1")
    with TriggerDevClient(settings) as client:
        with pytest.raises(errors.TriggerDevError):
            client.call(fetch_output(f"{server.url}/packets/none.json?X-Amz-Signature=0bb7"))
        with pytest.raises(errors.NotFoundError):
            client.call(retrieve_run("run_x"))
    assert "0bb7" not in caplog.text
    assert "GET /api/v3/runs/run_x" in caplog.text  # other addresses are still logged


def test_the_patience_of_a_call_takes_the_place_of_the_clients(connect, answer, clock) -> None:
    client, wire = connect(answer(503, {"error": "busy"}, {"retry-after": "25"}), retry_for=60)
    with pytest.raises(errors.ServerError):
        client.call(retrieve_run("run_1"), patience=0)
    assert (len(wire.sent), clock.slept) == (1, [])
    with pytest.raises(errors.ServerError):
        client.call(retrieve_run("run_1"), patience=26)
    assert (len(wire.sent), clock.slept) == (3, [25])
