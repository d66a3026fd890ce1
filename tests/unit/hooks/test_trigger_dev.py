from __future__ import annotations

import json

import pytest
import requests

import airflow_provider_trigger
from airflow_provider_trigger._compat import (
    AirflowFailException,
    AirflowNotFoundException,
    BaseHook,
    airflow_version,
)
from airflow_provider_trigger.api.endpoints.runs import list_newest_runs
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.hooks.connection import ConnectionNotFoundError, InvalidConnectionError
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

KEY = "tr_prod_marker_of_the_test"


def test_the_names_that_airflow_and_users_know() -> None:
    assert issubclass(TriggerDevHook, BaseHook)
    assert TriggerDevHook.conn_type == "trigger_dev"
    assert TriggerDevHook.hook_name == "Trigger.dev"
    assert TriggerDevHook.conn_name_attr == "trigger_dev_conn_id"
    assert TriggerDevHook.default_conn_name == "trigger_dev_default"
    assert TriggerDevHook().trigger_dev_conn_id == "trigger_dev_default"
    assert TriggerDevHook(trigger_dev_conn_id="mine").trigger_dev_conn_id == "mine"


def test_a_hook_fetches_no_connection_until_it_is_used() -> None:
    assert TriggerDevHook("there is no such connection").trigger_dev_conn_id


def test_the_form_of_older_airflows_is_that_of_newer_ones() -> None:
    from airflow_provider_trigger.get_provider_info import get_provider_info

    behaviour = TriggerDevHook.get_ui_field_behaviour()
    [connection_type] = get_provider_info()["connection-types"]
    newer = {name.replace("-", "_"): value for name, value in connection_type["ui-field-behaviour"].items()}
    assert behaviour == newer
    assert json.loads(behaviour["placeholders"]["extra"])


def test_a_client_has_the_values_of_the_connection(connect_as, wire) -> None:
    hook = connect_as(extra={"timeout": 7, "branch": "main", "verify": False, "proxy": "http://p.test:1"})
    with hook.get_client() as client:
        client.call(list_newest_runs())
    headers, options = wire.sent[0].headers, wire.options[0]
    assert wire.sent[0].url.startswith("https://trigger.test/api/")
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["x-trigger-branch"] == "main"
    provider = f"airflow-provider-trigger/{airflow_provider_trigger.__version__}"
    assert headers["User-Agent"] == f"{provider} apache-airflow/{airflow_version()}"
    assert options["timeout"] == (7, 7)
    assert options["verify"] is False
    assert options["proxies"]["https"] == "http://p.test:1"
    assert client.exchange.retry_for == 120


def test_a_client_can_have_other_times_than_the_connection(connect_as, wire) -> None:
    with connect_as(extra={"timeout": 7, "retry_for": 8}).get_client(timeout=2, retry_for=0) as client:
        client.call(list_newest_runs())
    assert wire.options[0]["timeout"] == (2, 2)
    assert client.exchange.retry_for == 0


def test_a_given_connection_is_not_fetched(make_connection) -> None:
    connection = make_connection(conn_id="theirs")
    assert TriggerDevHook("no such connection", connection=connection).settings.secret_key == KEY


def test_a_connection_is_read_once(connect_as) -> None:
    hook = connect_as()
    assert hook.settings is hook.settings


def test_a_malformed_connection_is_an_error_when_it_is_used(connect_as) -> None:
    hook = connect_as(password="")
    with pytest.raises(InvalidConnectionError, match="'trigger_dev_default', field 'password'"):
        hook.get_client()


# The Test button; test_diagnosis.py has what it says


def test_a_connection_that_works_is_tested_with_one_cheap_request(connect_as, wire) -> None:
    works, message = connect_as().test_connection()
    assert works
    assert message == "Connected to https://trigger.test; the secret key is accepted"
    assert wire.targets == ["GET /api/v1/runs?page%5Bsize%5D=10"]
    assert max(wire.options[0]["timeout"]) == 10


def test_a_shorter_timeout_of_the_connection_counts(connect_as, wire) -> None:
    connect_as(extra={"timeout": 3}).test_connection()
    assert max(wire.options[0]["timeout"]) == 3


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ((401, {"error": "Invalid API key"}), "https://trigger.test rejected the secret key: "),
        ((429, {"error": "slow down"}), "The rate limit of https://trigger.test is used up: "),
        (requests.ConnectionError("refused"), "https://trigger.test could not be reached: "),
        (requests.ConnectTimeout(), "https://trigger.test could not be reached: no connection within 10 s; "),
        (requests.exceptions.SSLError("bad certificate"), "No TLS connection to https://trigger.test: "),
    ],
)
def test_a_failure_is_not_repeated(connect_as, wire, answer, failure, message: str) -> None:
    wire.script = lambda _: failure if isinstance(failure, Exception) else answer(*failure)
    works, shown = connect_as().test_connection()
    assert not works
    assert shown.startswith(message)
    assert KEY not in shown
    # A 401 may be a gateway's.
    assert len(wire.sent) == (2 if isinstance(failure, tuple) and failure[0] == 401 else 1)


def test_a_list_of_runs_that_fails_is_not_the_end(connect_as, wire, answer) -> None:
    wire.script = lambda request: (
        answer(503, {"error": "down"})
        if "/api/v1/runs" in request.url
        else answer(404, {"error": "Not found"}, {"x-should-retry": "true"})
    )
    works, message = connect_as().test_connection()
    assert works
    assert message.startswith(
        "Connected to https://trigger.test; the secret key is accepted. The list of runs"
    )
    assert wire.targets[1:] == ["GET /api/v3/runs/run_of_the_connection_test"]
    assert KEY not in message


def test_a_list_of_runs_without_an_answer_is_not_the_end(connect_as, wire, answer) -> None:
    wire.script = lambda request: (
        requests.ReadTimeout() if "/api/v1/runs" in request.url else answer(404, {"error": "Not found"})
    )
    works, message = connect_as().test_connection()
    assert works
    assert message.endswith(", which canceling does not need, failed: no answer within 10 s")
    assert [max(options["timeout"]) for options in wire.options] == [10, 10]


def test_an_invalid_field_is_named_without_a_request(connect_as, wire) -> None:
    assert connect_as(extra={"timeout": "soon"}).test_connection() == (
        False,
        "Connection 'trigger_dev_default', field 'timeout': not a valid number of seconds, must be above 0",
    )
    assert not wire.sent


def test_a_missing_connection_is_named_without_a_request(wire) -> None:
    works, message = TriggerDevHook("no_such_connection").test_connection()
    assert not works
    assert message.startswith("Connection 'no_such_connection' was not found; create it ")
    assert not wire.sent


# Errors


@pytest.mark.parametrize(
    "failure", [(401, {"error": f"bad {KEY}"}), requests.ConnectionError("refused"), (200, b"<html>")]
)
def test_nothing_that_an_error_carries_leads_to_the_key(
    connect_as, wire, answer, assert_hides, failure
) -> None:
    wire.script = lambda _: failure if isinstance(failure, Exception) else answer(*failure)
    hook = connect_as(extra={"retry_for": 0})
    with pytest.raises(TriggerDevError) as raised:
        hook.get_run("run_1")
    assert_hides(raised.value, KEY)


def test_a_missing_connection_is_an_error_that_is_not_retried(assert_hides) -> None:
    hook = TriggerDevHook("no_such_connection")
    for call in (hook.get_client, hook.get_conn, lambda: hook.cancel_run("run_1"), lambda: hook.settings):
        with pytest.raises(ConnectionNotFoundError, match=r"^Connection 'no_such_connection' ") as raised:
            call()
        assert isinstance(raised.value, AirflowNotFoundException)
        assert isinstance(raised.value, AirflowFailException)
        assert_hides(raised.value, KEY)


def test_an_error_of_airflow_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise RuntimeError("no database")

    monkeypatch.setattr(TriggerDevHook, "get_connection", staticmethod(fail))
    with pytest.raises(RuntimeError, match=r"^no database$"):
        _ = TriggerDevHook().settings


def test_a_fetched_connection_is_not_kept(connect_as) -> None:
    hook = connect_as()
    assert hook.settings.secret_key == KEY
    assert KEY not in repr(vars(hook))


def test_get_conn_returns_a_client(connect_as, wire) -> None:
    with connect_as().get_conn() as client:
        client.call(list_newest_runs())
    assert len(wire.sent) == 1
