from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from airflow_provider_trigger._compat import BaseHook, airflow_version
from airflow_provider_trigger.api.errors import AuthenticationError, NotFoundError
from airflow_provider_trigger.hooks.connection import InvalidConnectionError
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

try:
    from airflow.sdk import Connection
except ImportError:  # 2.11
    from airflow.models import Connection

KEY = "tr_prod_marker_of_the_test"


@pytest.fixture
def connect_as(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the default connection."""

    def build(**fields: Any) -> TriggerDevHook:
        connection = {"conn_type": "trigger_dev", "host": "https://trigger.test", "password": KEY} | fields
        monkeypatch.setenv("AIRFLOW_CONN_TRIGGER_DEV_DEFAULT", json.dumps(connection))
        return TriggerDevHook()

    return build


def test_the_names_that_airflow_and_users_know() -> None:
    assert issubclass(TriggerDevHook, BaseHook)
    assert TriggerDevHook.conn_type == "trigger_dev"
    assert TriggerDevHook.hook_name == "Trigger.dev"
    assert TriggerDevHook.conn_name_attr == "trigger_dev_conn_id"
    assert TriggerDevHook.default_conn_name == "trigger_dev_default"
    assert TriggerDevHook().trigger_dev_conn_id == "trigger_dev_default"
    assert TriggerDevHook(trigger_dev_conn_id="mine").trigger_dev_conn_id == "mine"


def test_a_hook_asks_for_no_connection_until_it_is_used() -> None:
    assert TriggerDevHook("there is no such connection").trigger_dev_conn_id


def test_the_form_of_older_airflows_is_that_of_newer_ones() -> None:
    from airflow_provider_trigger.get_provider_info import get_provider_info

    behaviour = TriggerDevHook.get_ui_field_behaviour()
    [connection_type] = get_provider_info()["connection-types"]
    newer = {name.replace("-", "_"): value for name, value in connection_type["ui-field-behaviour"].items()}
    assert behaviour == newer
    assert json.loads(behaviour["placeholders"]["extra"])


def test_a_client_is_as_the_connection_says(connect_as: Any, wire: Any) -> None:
    hook = connect_as(extra={"timeout": 7, "branch": "main", "verify": False, "proxy": "http://p.test:1"})
    with hook.get_client() as client:
        client.call(list_runs())
    headers, options = wire.sent[0].headers, wire.options[0]
    assert wire.sent[0].url.startswith("https://trigger.test/api/")
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["x-trigger-branch"] == "main"
    assert headers["User-Agent"].endswith(f" apache-airflow/{airflow_version()}")
    assert options["timeout"] == (7, 7)
    assert options["verify"] is False
    assert options["proxies"]["https"] == "http://p.test:1"
    assert client.retry_for == 120


def list_runs() -> Any:
    from airflow_provider_trigger.api.endpoints import list_runs

    return list_runs(page_size=1)


def test_a_client_can_be_told_other_times_than_the_connections(connect_as: Any, wire: Any) -> None:
    with connect_as(extra={"timeout": 7, "retry_for": 8}).get_client(timeout=2, retry_for=0) as client:
        client.call(list_runs())
    assert wire.options[0]["timeout"] == (2, 2)
    assert client.retry_for == 0


def test_a_connection_that_was_fetched_already_is_not_fetched() -> None:
    connection = Connection(conn_id="theirs", conn_type="trigger_dev", password=KEY)
    assert TriggerDevHook("no such connection", connection=connection).settings.secret_key == KEY


def test_a_connection_is_read_once(connect_as: Any) -> None:
    hook = connect_as()
    assert hook.settings is hook.settings


def test_a_malformed_connection_is_an_error_when_it_is_used(connect_as: Any) -> None:
    hook = connect_as(password="")
    with pytest.raises(InvalidConnectionError, match="'trigger_dev_default', field 'password'"):
        hook.get_client()


def runs(answer: Any) -> Any:
    """Script a server with one run that is canceled on demand, and no other."""

    def script(request: requests.PreparedRequest) -> Any:
        if "/run_1" not in str(request.url):
            return answer(404, {"error": "Not found"})
        return answer(200, {"id": "run_1", "status": "CANCELED", "taskIdentifier": "t"})

    return script


def test_runs_are_canceled_and_looked_at(connect_as: Any, wire: Any, answer: Any) -> None:
    wire.script = runs(answer)
    hook = connect_as()
    assert hook.cancel_run("run_1").outcome.value == "canceled"
    outcomes = [result.outcome.value for result in hook.cancel_runs(["run_x", "run_1"])]
    assert outcomes == ["not_found", "canceled"]
    assert hook.get_run("run_1").task_identifier == "t"
    with pytest.raises(NotFoundError):
        hook.get_run("run_x")


def test_a_rejected_key_is_raised(connect_as: Any, wire: Any, answer: Any) -> None:
    wire.script = lambda _: answer(401, {"error": "Invalid API key"})
    for call in (connect_as().cancel_run, connect_as().get_run):
        with pytest.raises(AuthenticationError):
            call("run_1")


# The Test button


def test_a_connection_that_works_is_tried_with_one_cheap_request(connect_as: Any, wire: Any) -> None:
    works, message = connect_as().test_connection()
    assert works
    assert message == "Connected to https://trigger.test; the secret key is accepted"
    assert wire.targets == ["GET /api/v1/runs?page%5Bsize%5D=1"]
    assert max(wire.options[0]["timeout"]) <= 10


def test_a_shorter_timeout_of_the_connections_counts(connect_as: Any, wire: Any) -> None:
    connect_as(extra={"timeout": 3}).test_connection()
    assert max(wire.options[0]["timeout"]) == 3


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (
            (401, {"error": "Invalid API key"}),
            "The secret key was rejected by https://trigger.test: Invalid API",
        ),
        ((403, {"error": "no right"}), "The secret key may not list runs: no right"),
        (
            (200, b"<html>"),
            "https://trigger.test is no Trigger.dev server: GET /api/v1/runs answered 200, but no",
        ),
        ((200, {"products": []}), "https://trigger.test is no Trigger.dev server: "),
        ((404, b"<html>"), "https://trigger.test is no Trigger.dev server: "),
        ((404, {"message": "no route"}), "https://trigger.test is no Trigger.dev server: "),
        ((302, b"", {"location": "https://login.test"}), "https://trigger.test is no Trigger.dev server: "),
        ((500, {"error": "oops"}), "https://trigger.test answered, but not as hoped: "),
        ((429, {"error": "slow down"}), "https://trigger.test answered, but not as hoped: "),
        (requests.ConnectionError("refused"), "https://trigger.test could not be reached: "),
        (requests.ReadTimeout(), "https://trigger.test could not be reached: "),
        (requests.exceptions.SSLError("bad certificate"), "TLS trouble: "),
        (requests.exceptions.SSLError("wrong version"), "https://trigger.test could not be reached: "),
    ],
)
def test_what_is_wrong_is_told_apart(
    connect_as: Any, wire: Any, answer: Any, told: Any, message: str
) -> None:
    wire.script = lambda _: told if isinstance(told, Exception) else answer(*told)
    works, shown = connect_as().test_connection()
    assert not works
    assert shown.startswith(message)
    assert KEY not in shown
    assert len(wire.sent) == 1


def test_a_preview_key_without_its_branch_is_told_as_such(connect_as: Any, wire: Any, answer: Any) -> None:
    wire.script = lambda _: answer(401, {"error": "Invalid API key"})
    assert "needs its branch" in connect_as(password="tr_preview_x").test_connection()[1]
    with_branch = connect_as(password="tr_preview_x", extra={"branch": "gone"})
    assert "was rejected" in with_branch.test_connection()[1]


def test_a_malformed_field_is_told_without_a_request(connect_as: Any, wire: Any) -> None:
    works, message = connect_as(extra={"timeout": "soon"}).test_connection()
    assert not works
    assert message == "Connection 'trigger_dev_default', field 'timeout': it is no number of seconds above 0"
    assert not wire.sent


# Run ids as an author gives them


@pytest.mark.parametrize("given", ["run_1", ("run_1",), [{"id": "run_1"}], "['run_1']", {"run_id": "run_1"}])
def test_what_holds_run_ids_is_read_as_the_operator_reads_it(
    connect_as: Any, wire: Any, answer: Any, given: Any
) -> None:
    wire.script = runs(answer)
    [result] = connect_as().cancel_runs(given)
    assert (result.run_id, result.outcome.value) == ("run_1", "canceled")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (None, "None from run_ids"),
        ([None], r"None from run_ids\[0\]"),
        (["run_1", 42], r"42 from run_ids\[1\]: a run id is text, not int"),
        ([{"name": "run_1"}], "a dict without the text 'id' or 'run_id'"),
        ("{{ ids }}", "Jinja that was not rendered"),
    ],
)
def test_what_is_no_run_id_is_named_and_nothing_is_sent(
    connect_as: Any, wire: Any, given: Any, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        connect_as().cancel_runs(given)
    assert not wire.sent


@pytest.mark.parametrize("given", [[], "", "run_1,run_2", None])
def test_one_run_is_one(connect_as: Any, wire: Any, given: Any) -> None:
    with pytest.raises(ValueError, match=r"from run_ids|no single run id"):
        connect_as().cancel_run(given)
    assert not wire.sent


def test_no_run_ids_are_no_requests(connect_as: Any, wire: Any) -> None:
    assert connect_as().cancel_runs([]) == []
    assert not wire.sent


# What goes wrong names the connection


def test_a_failure_names_the_connection_and_its_host(connect_as: Any, wire: Any, answer: Any) -> None:
    wire.script = lambda _: answer(401, {"error": "Invalid API key"})
    hook = connect_as()
    calls = (lambda: hook.cancel_runs(["run_1"]), lambda: hook.cancel_run("run_1"), lambda: hook.get_run("r"))
    for call in calls:
        with pytest.raises(AuthenticationError) as raised:
            call()
        told = str(raised.value)
        assert told.startswith("Connection 'trigger_dev_default' to https://trigger.test: ")
        assert told.count("Connection") == 1
        assert (raised.value.message, raised.value.detail) == (told, "Invalid API key")


def test_a_connection_that_is_not_there_is_airflows_own_error() -> None:
    from airflow.exceptions import AirflowNotFoundException

    hook = TriggerDevHook("no_such_connection")
    for call in (hook.get_client, hook.get_conn, lambda: hook.cancel_run("run_1")):
        with pytest.raises(AirflowNotFoundException):
            call()


def test_what_every_hook_has_is_a_client(connect_as: Any, wire: Any) -> None:
    with connect_as().get_conn() as client:
        client.call(list_runs())
    assert len(wire.sent) == 1
