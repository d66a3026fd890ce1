"""Cancel and check runs with the hook."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from in_process import Network

from airflow_provider_trigger.api.endpoints.batches import batch_item, trigger_batch
from airflow_provider_trigger.api.errors import AuthenticationError, NotFoundError, TransportError
from airflow_provider_trigger.api.settings import ServerSettings
from airflow_provider_trigger.cancel.cancellation import Cancellation
from airflow_provider_trigger.cancel.settings import CancelSettings
from airflow_provider_trigger.sources import selected
from airflow_provider_trigger.testing import TriggerDevServer


def runs(answer: Any) -> Any:
    """Script a server with one run that is canceled on demand, and no other."""

    def script(request: requests.PreparedRequest) -> Any:
        if "/run_1" not in str(request.url):
            return answer(404, {"error": "Not found"})
        return answer(200, {"id": "run_1", "status": "CANCELED", "taskIdentifier": "t"})

    return script


def test_runs_are_canceled_and_checked(connect_as, wire, answer) -> None:
    wire.script = runs(answer)
    hook = connect_as()
    assert hook.cancel_run("run_1").outcome.value == "canceled"
    outcomes = [result.outcome.value for result in hook.cancel_runs(["run_x", "run_1"])]
    assert outcomes == ["not_found", "canceled"]
    assert hook.get_run("run_1").task_identifier == "t"
    with pytest.raises(NotFoundError):
        hook.get_run("run_x")


def test_a_rejected_key_is_raised(connect_as, wire, answer) -> None:
    wire.script = lambda _: answer(401, {"error": "Invalid API key"})
    for call in (connect_as().cancel_run, connect_as().get_run):
        with pytest.raises(AuthenticationError):
            call("run_1")


def test_a_failure_names_the_connection_and_its_host(connect_as, wire, answer) -> None:
    wire.script = lambda _: answer(401, {"error": "Invalid API key"})
    hook = connect_as()
    calls = (lambda: hook.cancel_runs(["run_1"]), lambda: hook.cancel_run("run_1"), lambda: hook.get_run("r"))
    for call in calls:
        with pytest.raises(AuthenticationError) as raised:
            call()
        text = str(raised.value)
        assert text.startswith("Connection 'trigger_dev_default' to https://trigger.test: ")
        assert text.endswith("; check the password of the connection")
        assert text.count("'trigger_dev_default'") == 1
        assert (raised.value.message, raised.value.detail) == (text, "Invalid API key")


def test_a_server_that_is_down_is_named_once_with_the_connection_and_what_to_do(connect_as, wire) -> None:
    wire.script = lambda _: requests.ConnectionError()
    hook = connect_as(extra={"retry_for": 0})
    with pytest.raises(TransportError) as raised:
        hook.get_run("run_1")
    assert str(raised.value) == (
        "Connection 'trigger_dev_default': GET /api/v3/runs/run_1 to trigger.test: ConnectionError; "
        "check host, port and 'proxy' of the connection, and whether the server runs"
    )
    assert hook.cancel_run("run_1").error == (
        "cancel failed: POST /api/v2/runs/run_1/cancel to trigger.test: ConnectionError; "
        "status check failed: ConnectionError; "
        "check host, port and 'proxy' of connection 'trigger_dev_default', and whether the server runs"
    )


# A cancellation


def test_a_cancellation_has_a_client_of_its_own_that_is_closed_at_the_end(connect_as, wire, answer) -> None:
    wire.script = runs(answer)
    with connect_as().cancellation(["run_1", "run_x", "run_1"], CancelSettings()) as cancellation:
        assert isinstance(cancellation, Cancellation)
        cancellation.run()
    assert [(result.run_id, result.outcome.value) for result in cancellation.results] == [
        ("run_1", "canceled"),
        ("run_x", "not_found"),
    ]
    assert not cancellation.stopped


@pytest.fixture
def passed_on(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Put something that only keeps its arguments in the place of clients and cancellations."""
    calls: list[tuple[str, dict[str, Any]]] = []

    class Client:
        def __init__(self, settings: ServerSettings, **arguments: Any) -> None:
            calls.append(("client", arguments | {"settings": settings}))

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            calls.append(("closed", {}))

    def cancellation(client: Client, run_ids: list[str], settings: CancelSettings, **arguments: Any) -> None:
        assert isinstance(client, Client)
        calls.append(("cancellation", arguments | {"run_ids": run_ids, "settings": settings}))

    monkeypatch.setattr("airflow_provider_trigger.api.client.TriggerDevClient", Client)
    monkeypatch.setattr("airflow_provider_trigger.cancel.cancellation.Cancellation", cancellation)
    return calls


def test_a_cancellation_gets_every_argument(connect_as, passed_on) -> None:
    def is_stopped() -> bool:
        return False

    settings = CancelSettings(max_concurrency=3, time_limit=4.0)
    hook = connect_as()
    with hook.cancellation(["run_1"], settings, is_stopped=is_stopped):
        assert [name for name, _ in passed_on] == ["client", "cancellation"]
    (_, client), (_, cancellation), (closed, _) = passed_on
    assert client == {"settings": hook.settings, "max_connections": 4, "secret_key": hook._key}
    assert cancellation.pop("action_for")(TransportError("refused")) == (
        "check host, port and 'proxy' of connection 'trigger_dev_default', and whether the server runs"
    )
    assert cancellation == {"run_ids": ["run_1"], "settings": settings, "is_stopped": is_stopped}
    assert closed == "closed"


def test_a_cancellation_is_not_stopped_by_default(connect_as, passed_on) -> None:
    with connect_as().cancellation(["run_1"], CancelSettings()):
        pass
    _, (_, cancellation), _ = passed_on
    assert cancellation.pop("is_stopped")() is False


def test_an_error_that_leaves_a_cancellation_names_the_connection(connect_as, wire, answer) -> None:
    wire.script = lambda _: answer(401, {"error": "Invalid API key"})
    with (
        pytest.raises(AuthenticationError) as raised,
        connect_as().cancellation(["run_1"], CancelSettings()) as cancellation,
    ):
        cancellation.run()
    assert str(raised.value).startswith("Connection 'trigger_dev_default' to https://trigger.test: ")
    assert str(raised.value).endswith("; check the password of the connection")


def test_another_error_leaves_a_cancellation_as_it_is(connect_as, wire) -> None:
    with pytest.raises(KeyError) as raised, connect_as().cancellation(["run_1"], CancelSettings()):
        raise KeyError("mine")
    assert raised.value.args == ("mine",)


# Run ids as an author gives them


@pytest.mark.parametrize("given", ["run_1", ("run_1",), [{"id": "run_1"}], "['run_1']", {"run_id": "run_1"}])
def test_what_holds_run_ids_is_read_as_the_operator_reads_it(connect_as, wire, answer, given) -> None:
    wire.script = runs(answer)
    [result] = connect_as().cancel_runs(given)
    assert (result.run_id, result.outcome.value) == ("run_1", "canceled")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (None, "run_ids is None"),
        ([None], "run_ids holds nothing but None"),
        ("None", "run_ids rendered to None"),
        (["run_1", None], r"run_ids\[1\] is None$"),
        (["run_1", 42], r"42 from run_ids\[1\] is not a valid run id: it must be a string, not int"),
        ([42, None], r"42 from .*; run_ids\[1\] is None$"),
        ([{"name": "run_1"}], "is not a valid run id: a dict must have 'id' or 'run_id'"),
        ("{{ ids }}", "a Jinja template that was not rendered"),
        ("", "'' from run_ids is not a valid run id: it is empty"),
    ],
)
def test_an_invalid_run_id_is_named_and_nothing_is_sent(connect_as, wire, given, named: str) -> None:
    for call in (connect_as().cancel_runs, connect_as().cancel_run):
        with pytest.raises(ValueError, match=named):
            call(given)
    assert not wire.sent


@pytest.mark.parametrize(
    ("given", "form", "count"),
    [([], list, 0), ("run_1,run_2", str, 2), (["run_1", "run_2"], list, 2), (["run_1", "run_2"], iter, 2)],
)
def test_one_run_is_one(connect_as, wire, given, form, count: int) -> None:
    with pytest.raises(ValueError, match=f"^run_id must contain exactly one run id, not {count}: "):
        connect_as().cancel_run(form(given))
    assert not wire.sent


def test_a_long_value_is_shortened(connect_as) -> None:
    with pytest.raises(ValueError, match="not 100: ") as raised:
        connect_as().cancel_run([f"run_{number}" for number in range(100)])
    assert len(str(raised.value)) < 140


@pytest.mark.parametrize("given", [[], (), iter([])])
def test_without_run_ids_nothing_is_sent(connect_as, wire, given) -> None:
    assert connect_as().cancel_runs(given) == []
    assert not wire.sent


def test_an_iterator_of_run_ids_is_read(connect_as, wire, answer) -> None:
    wire.script = runs(answer)
    results = connect_as().cancel_runs(run_id for run_id in ("run_1", "run_x"))
    assert [result.run_id for result in results] == ["run_1", "run_x"]


# By tags and batches; ``sources/test_selected.py`` has which runs these are


@pytest.fixture
def server(clock) -> TriggerDevServer:
    return TriggerDevServer(clock=clock.time, acknowledge_after=10.0)


@pytest.fixture
def hook(connect_as, server: TriggerDevServer, wire, answer, clock, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A hook for the server, that goes by the test's clock."""
    wire.script = Network(server, answer)
    monkeypatch.setattr(selected, "time", clock)
    return connect_as(password=server.secret_key)


def test_runs_are_canceled_by_tags_in_addition_to_those_that_are_named(hook, server) -> None:
    named, tagged, other = (server.add_run("QUEUED", tags=tags) for tags in ([], ["a", "b"], ["a"]))
    results = hook.cancel_runs([named.id], tags=["a", "b"])
    assert [(one.run_id, one.outcome.value) for one in results] == [
        (named.id, "canceled"),
        (tagged.id, "canceled"),
    ]
    assert other.status == "QUEUED"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"tags": "a", "max_runs": 1}, "max_runs=1"), ({"batch_ids": "batch_x", "tags": "a"}, "'batch_x' from")],
)
def test_those_that_are_named_are_canceled_where_the_search_finds_a_reason_to_cancel_no_other(
    hook, server, arguments, error: str
) -> None:
    named, *others = (server.add_run("QUEUED", tags=tags) for tags in ([], ["a"], ["a"]))
    with pytest.raises(ValueError, match=error):
        hook.cancel_runs([named.id], **arguments)
    assert [run.status for run in (named, *others)] == ["CANCELED", "QUEUED", "QUEUED"]


def test_runs_are_canceled_by_batch(hook, server) -> None:
    server.on_task("resize", start_after=None)
    with hook.get_client() as client:
        batch_id = client.call(trigger_batch([batch_item("resize", options={})] * 2))
    other = server.add_run("QUEUED")
    results = hook.cancel_runs(batch_ids=batch_id)
    assert [one.run_id for one in results] == [run_id for run_id in server.runs if run_id != other.id]
    assert other.status == "QUEUED"


def test_a_run_that_the_list_shows_later_is_canceled_too(hook, server, clock) -> None:
    server.list_lag = 2.0
    run = server.add_run("QUEUED", tags=["a"])
    [result] = hook.cancel_runs(tags="a")
    assert (result.run_id, run.status) == (run.id, "CANCELED")


def test_runs_that_are_all_named_are_not_searched_for(hook, server, monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("find", "further"):
        monkeypatch.setattr(selected.SelectedRuns, method, lambda *_: pytest.fail("a search"))
    run = server.add_run("QUEUED")
    [result] = hook.cancel_runs([run.id])
    assert (result.outcome.value, run.status) == ("canceled", "CANCELED")


def test_tags_without_runs_cancel_nothing(hook, server) -> None:
    server.add_run("QUEUED")
    assert hook.cancel_runs(tags="a") == []
    assert not any(run.cancel_requests for run in server.runs.values())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"tags": []}, r"cancel_runs: \[\] from tags is not a valid tag: "),
        ({"tags": "a,b"}, "cancel_runs: 'a,b' from tags is not a valid tag: "),
        ({"batch_ids": [None]}, "cancel_runs: None from batch_ids is not a valid batch id: "),
        ({"tags": "a", "max_runs": 0}, "cancel_runs: max_runs must be a whole number of runs, 1 or "),
        ({"tags": "a", "run_ids": "no id!"}, "is not a valid run id"),
        ({}, "run_ids is None"),
        ({"tags": "a", "max_runs": 1}, "finds 2 runs that are alive, more than max_runs=1: none "),
        ({"batch_ids": ["batch_x"], "tags": "a"}, "cancel_runs: 'batch_x' from batch_ids is not a valid "),
        (
            {"batch_ids": ["batch_x", "batch_y"]},
            "^cancel_runs: 'batch_x' from batch_ids is not [^;]*; 'batch_y' from batch_ids is not [^;]*$",
        ),
    ],
)
def test_what_is_wrong_is_raised_before_the_first_cancel(hook, server, arguments, text: str) -> None:
    runs = [server.add_run("QUEUED", tags=["a"]) for _ in range(2)]
    with pytest.raises(ValueError, match=text):
        hook.cancel_runs(**arguments)
    assert [run.cancel_requests for run in runs] == [0, 0]


def test_a_list_that_fails_is_raised_and_names_the_connection(connect_as, wire, answer) -> None:
    wire.script = lambda _: answer(401, {"error": "Invalid API key"})
    with pytest.raises(AuthenticationError, match=r"^Connection 'trigger_dev_default' to https"):
        connect_as().cancel_runs(tags="a")
