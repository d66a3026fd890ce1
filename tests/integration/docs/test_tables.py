"""What the pages' tables say is what the code does: connection, defaults, versions, limits, routes."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from types import SimpleNamespace
from typing import Any

import pytest
from docs_pages import DOCS, ROOT, rows

from airflow_provider_trigger.api import client, endpoints, rate_limit, retries
from airflow_provider_trigger.cancel import bulk, cancellation
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.get_provider_info import get_provider_info
from airflow_provider_trigger.hooks import settings
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.reporting import MAX_LINES
from airflow_provider_trigger.sources.run_ids import MAX_LENGTH, RunIds

# The connection.


@pytest.fixture
def read() -> Callable[[str], Any]:
    """Read a connection as the hook does when it has it; some Airflows refuse some of these before that."""

    def read_connection(text: str) -> Any:
        fields = dict.fromkeys(("host", "port", "schema", "login", "password", "extra")) | json.loads(text)
        if isinstance(fields["extra"], dict):
            fields["extra"] = json.dumps(fields["extra"])
        connection: Any = SimpleNamespace(conn_id="trigger_dev_default", **fields)
        return TriggerDevHook(connection=connection).settings

    return read_connection


@pytest.mark.parametrize(("connection", "error"), rows("connection.md", "| the connection | the error |"))
def test_error_of_a_connection(connection, error, read):
    with pytest.raises(settings.InvalidConnectionError) as raised:
        read(connection.strip("`"))
    assert str(raised.value) == "Connection 'trigger_dev_default', " + error.strip("`")


@pytest.mark.parametrize(("connection", "warning"), rows("connection.md", "| the connection | the warning |"))
def test_warning_of_a_connection(connection, warning, read, said):
    settings._warn_if_unencrypted.cache_clear()
    read(connection.strip("`"))
    assert said.lines("Connection 'trigger_dev_default'", warning.strip("`"))


def test_fields_of_the_connection(read):
    fields = rows("connection.md", "| field | in the form | default | what it is |")
    info = get_provider_info()["connection-types"][0]
    labels = info["ui-field-behaviour"]["relabeling"] | {
        name: field["label"] for name, field in info["conn-fields"].items()
    }
    assert {re.findall(r"`(\w+)`", field)[0]: label for field, label, *_ in fields} == labels
    defaults = read('{"password": "k"}')
    for field, _, shown, _ in fields:
        name = re.findall(r"`(\w+)`", field)[0]
        value = getattr(defaults, {"host": "base_url", "password": "secret_key"}.get(name, name))
        words = {
            None: "as the environment says" if name == "proxy" else "none",
            True: "true",
            "k": "required",
        }
        default = f"{value:g}" if isinstance(value, float) else words.get(value) or f"`{value}`"
        assert shown.startswith(default), name


# Arguments.


@pytest.mark.parametrize(
    ("heading", "of"),
    [
        ("## The operator's arguments", CancelTriggerRunOperator),
        ("## The notifier's arguments", CancelTriggerRunNotifier),
    ],
)
def test_arguments(heading, of):
    part = (DOCS / "cancel.md").read_text(encoding="utf-8").split(f"{heading}\n")[1].split("\n## ")[0]
    shown = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", part, re.MULTILINE))
    arguments = inspect.signature(of.__init__).parameters.values()
    real = {
        argument.name: argument.default for argument in arguments if argument.default is not argument.empty
    }
    real.pop("context", None)
    assert {name: eval(default) for name, default in shown.items()} == real


@pytest.mark.parametrize("given", [row[0] for row in rows("cancel.md", "| given | works in |")])
def test_what_run_ids_may_be(given):
    for text in re.findall(r"`([^`]+)`", given):
        if "{{" in text:
            ids = ["run_a", "run_b"]
            value: Any = str(ids)
        elif "start" in text or "one." in text:
            continue  # the operator's tests run these in Dags
        else:
            value, ids = eval(text), re.findall(r"run_[ab]\b", text)
        found = RunIds()
        found.add(value, source="run_ids")
        assert (found.found, found.unreadable) == (ids, [])


# Versions and limits.


def test_versions():
    shown = rows("versions.md", "| Airflow | Python | dependencies of |")
    for airflow, pythons, _ in shown:
        name = airflow if airflow.endswith(".0") else airflow.rpartition(".")[0]
        constraints = (ROOT / "constraints" / f"airflow-{name}.txt").read_text()
        assert f"apache-airflow=={airflow}\n" in constraints
        script = f"source scripts/pythons.sh; supported_pythons {name}"
        real = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
        assert set(real.stdout.split()) == set(pythons.split(", "))
    assert len(shown) == len(list((ROOT / "constraints").glob("airflow-*.txt")))


def result_of(number: int) -> CancelResult:
    return CancelResult(
        run_id=f"run_cm{number:023d}",
        outcome=CancelOutcome.CANCELED,
        status="CANCELED",
        task_identifier="encode-video",
        terminated=True,
    )


def bytes_of_xcom(count: int) -> int:
    return len(json.dumps([result_of(number).to_dict() for number in range(count)]))


# What a page says, and what must be true then.
STATEMENTS: list[tuple[str, str, Callable[[], bool]]] = [
    ("limits.md", "the last 5 % of the bucket", lambda: rate_limit.RateLimit()._reserve == 0.05),
    ("limits.md", "looks after 0.5, 1, 2 and 4 s", lambda: cancellation.LOOK_AGAIN_AFTER == (0.5, 1, 2, 4)),
    ("outcomes.md", "at five looks in 7.5 s", lambda: sum(cancellation.LOOK_AGAIN_AFTER) == 7.5),
    ("limits.md", "| one connection | 10 s", lambda: client.CONNECT_TIMEOUT == 10),
    ("limits.md", "| one request | 30 s |", lambda: settings.DEFAULT_TIMEOUT == 30),
    ("limits.md", "| 120 s after its first request |", lambda: settings.DEFAULT_RETRY_FOR == 120),
    ("limits.md", "| 60 s at most |", lambda: retries.MAX_WAIT == 60),
    ("limits.md", "growing, 30 s at most", lambda: retries._BACKOFF.max == 30),
    ("limits.md", "| 500 | 6 |", lambda: retries.TRIES_AT_500 == 6),
    ("limits.md", "lacks a field | 3 |", lambda: retries.TRIES_WHEN_UNREADABLE == 3),
    ("limits.md", "| 404 of a look | 4,", lambda: retries.TRIES_WHEN_ASKED_TO == 4),
    ("limits.md", "one a run up to 100 runs", lambda: MAX_LINES == 100),
    ("limits.md", "| 256 characters;", lambda: MAX_LENGTH == 256),
    ("limits.md", "| 16 MB |", lambda: client.MAX_BODY_BYTES == 16 * 1024**2),
    ("security.md", "answer over 16 MB", lambda: client.MAX_BODY_BYTES == 16 * 1024**2),
    ("security.md", "cut to 300\ncharacters", lambda: endpoints.MAX_DETAIL_LENGTH == 300),
    ("limits.md", "10,000 results are 1.4 MB", lambda: 1.35e6 < bytes_of_xcom(10_000) < 1.45e6),
]


@pytest.mark.parametrize(("page", "sentence", "is_true"), STATEMENTS, ids=[text for _, text, _ in STATEMENTS])
def test_statement(page, sentence, is_true):
    assert sentence in (DOCS / page).read_text(encoding="utf-8")
    assert is_true()


def test_two_requests_a_run_up_to_the_number_named(server, cancel, connection):
    runs = [server.add_run("QUEUED") for _ in range(300)]
    assert cancel(*runs).outcomes == ["canceled"] * len(runs)
    assert len(server.requests) == 2 * len(runs)
    assert cancellation.BULK_FROM == 300
    assert bulk.MAX_SIZE == 500
    page = (DOCS / "limits.md").read_text(encoding="utf-8")
    assert "| up to 300 | two a run: the cancel, and the look" in page
    assert "cancels 500 exact ids with one request" in page


# Testing and routes.


@pytest.mark.parametrize("call", [row[0] for row in rows("testing.md", "| call | what the requests meet |")])
def test_fault(call, server):
    eval(call.strip("`"), {"server": server})
    assert len(server._faults._faults) == 1


def test_routes_are_those_that_were_measured():
    spec = spec_from_file_location("routes_table", DOCS / "routes_table.py")
    assert spec
    assert spec.loader
    routes_table = module_from_spec(spec)
    spec.loader.exec_module(routes_table)
    page, table = routes_table.PAGE.read_text(encoding="utf-8"), json.loads(routes_table.DATA.read_text())
    assert routes_table.page_with(page, table) == page, "run: python docs/routes_table.py"
    # What the page says of Airflow 3.0 beside the tables.
    assert "The task's callback is for Airflow 3.0 alone" in page
    without_it = ("dag_failure_callback", "teardown")
    assert {
        version
        for version in routes_table.versions(table)
        if not routes_table.covers(table, without_it, version)
    } == {"3.0"}
    assert not routes_table.is_taken(table["events"]["cleared"]["routes"]["teardown"], "3.0")
