"""What the pages' tables say is what the code does: connection, defaults, versions, limits, routes."""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import re
import subprocess
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from types import SimpleNamespace
from typing import Any

import pytest
from docs_pages import DOCS, ROOT, matches, rows

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api import (
    circuit_breaker,
    exchange,
    http,
    masking,
    responses,
    retry,
    server_advice,
    transport_errors,
)
from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.endpoints.bulk_actions import MAX_SIZE
from airflow_provider_trigger.api.endpoints.runs import retrieve_run
from airflow_provider_trigger.api.errors import (
    TLSError,
    TransportError,
    TriggerDevError,
    UnexpectedAnswerError,
)
from airflow_provider_trigger.api.failures import Failure, tries_allowed
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.api.models import runs, statuses
from airflow_provider_trigger.cancel import bulk, record, schedule, workers
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.get_provider_info import get_provider_info
from airflow_provider_trigger.hooks import connection as connections
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators import base
from airflow_provider_trigger.operators.base import RunsOperator
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.run import conversions, identity, request, start, wait, wait_settings
from airflow_provider_trigger.run.identity import DagRunIdentity, TaskInstanceIdentity
from airflow_provider_trigger.sensors.run import TriggerRunSensor
from airflow_provider_trigger.sources import started
from airflow_provider_trigger.sources.run_ids import MAX_LENGTH, MAX_SHOWN, RunIds
from airflow_provider_trigger.triggers import run as triggers
from airflow_provider_trigger.wording import MAX_LINES

# The connection.


@pytest.fixture
def read() -> Callable[[str], Any]:
    """Read a connection as the hook does when it has it; some Airflows reject some of these before that."""

    def read_connection(text: str) -> Any:
        fields = dict.fromkeys(("host", "port", "schema", "login", "password", "extra")) | json.loads(text)
        if isinstance(fields["extra"], dict):
            fields["extra"] = json.dumps(fields["extra"])
        connection: Any = SimpleNamespace(conn_id="trigger_dev_default", **fields)
        return TriggerDevHook(connection=connection).settings

    return read_connection


@pytest.mark.parametrize(("connection", "error"), rows("connection.md", "| the connection | the error |"))
def test_error_of_a_connection(connection, error, read):
    with pytest.raises(connections.InvalidConnectionError) as raised:
        read(connection.strip("`"))
    assert str(raised.value) == "Connection 'trigger_dev_default', " + error.strip("`")


@pytest.mark.parametrize("value", ["", "{"])
def test_error_of_a_missing_connection(value, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_MY_CONN", value)
    page = (DOCS / "connection.md").read_text(encoding="utf-8")
    assert f"`{connections.connection_not_found('my_conn')}`" in page


@pytest.mark.parametrize(("connection", "warning"), rows("connection.md", "| the connection | the warning |"))
def test_warning_of_a_connection(connection, warning, read, said):
    connections._warn_if_unencrypted.cache_clear()
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
            None: "the environment's proxy" if name == "proxy" else "none",
            True: "true",
            "k": "required",
        }
        default = f"{value:g}" if isinstance(value, float) else words.get(value) or f"`{value}`"
        assert shown.startswith(default), name


# Arguments.


@pytest.mark.parametrize(
    ("page", "heading", "classes"),
    [
        ("cancel.md", "## The operator's arguments", [CancelTriggerRunOperator]),
        ("cancel.md", "## The notifier's arguments", [CancelTriggerRunNotifier]),
        ("run.md", "## The arguments that start a run", [RunTriggerTaskOperator]),
        ("run.md", "## The arguments for waiting", [RunsOperator]),
        ("run.md", "## The sensor's arguments", [TriggerRunSensor]),
    ],
)
def test_arguments(page, heading, classes):
    part = (DOCS / page).read_text(encoding="utf-8").split(f"{heading}\n")[1].split("\n## ")[0]
    shown = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", part, re.MULTILINE))
    arguments = [one for each in classes for one in inspect.signature(each.__init__).parameters.values()]
    real = {
        argument.name: argument.default for argument in arguments if argument.default is not argument.empty
    }
    real.pop("context", None)
    assert {name: eval(default) for name, default in shown.items()} == real


@pytest.mark.parametrize(("given", "error"), rows("run.md", "| given | the error |"))
def test_error_of_an_argument(given, error):
    arguments = {"task_id": "resize", "task_identifier": "resize-image"} | eval(f"dict({given.strip('`')})")
    with pytest.raises(ValueError, match=r"\w") as raised:
        RunTriggerTaskOperator(**arguments)
    assert str(raised.value) == f"RunTriggerTaskOperator 'resize': {error.strip('`')}"


def test_how_a_run_ends():
    shown = {
        status: retries.startswith("as `retries` say")
        for words, _, retries in rows("run.md", "| the run ends as | the task | its `retries` |")
        for status in words.split(", ")
    }
    assert tuple(status for status in shown if shown[status]) == statuses.RETRY_STATUSES
    older = {"INTERRUPTED", "COMPLETED_SUCCESSFULLY", "COMPLETED_WITH_ERRORS"}
    assert set(shown) == statuses.FINAL_STATUSES - older


def test_tags_of_a_run():
    dag_run = DagRunIdentity(dag_id="nightly", run_id="manual_1", start_date=None)
    shown = [row[0] for row in rows("run.md", "| tag | content |")]
    tags = TaskInstanceIdentity(dag_run=dag_run, task_id="resize").tags
    mapped = TaskInstanceIdentity(dag_run=dag_run, task_id="resize", map_index=2).tags[-1]
    for cell, tag in zip(shown, tags, strict=True):
        assert matches(cell.split(", ")[0], tag)
    assert matches(shown[-1].split(", ")[1], mapped)


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
        assert (found.found, found.invalid) == (ids, [])


# Versions and limits.


# The version of Airflow that each file of constraints pins, by the name that ``make`` knows.
PINNED = {
    path.stem.removeprefix("airflow-"): re.findall(r"^apache-airflow==(.+)$", path.read_text(), re.MULTILINE)[
        0
    ]
    for path in (ROOT / "constraints").glob("airflow-*.txt")
}


def test_versions():
    shown = rows("../README.md", "| Airflow | Python | dependencies of | whole Airflow tested with |")
    for airflow, pythons, *_ in shown:
        (name,) = [name for name in PINNED if PINNED[name] == airflow]
        script = f"source scripts/pythons.sh; supported_pythons {name}"
        real = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
        assert set(real.stdout.split()) == set(pythons.split(", "))
    assert [airflow for airflow, *_ in shown] == sorted(PINNED.values())


# What an environment of the default limit takes, less what is left to the application.
REQUESTS_PER_MINUTE = 1500 * (1 - defaults.RATE_LIMIT_RESERVE)


def test_runs_at_a_time():
    for age, interval, count in rows(
        "limits.md", "| age of the runs | interval with `poll_interval=None` | runs at a time |"
    ):
        seconds = int(re.findall(r"\d+", age)[0]) * (60 if "minute" in age else 1)
        assert interval == f"{interval_at(seconds):g} s"
        assert int(count) == int(REQUESTS_PER_MINUTE / 60 * interval_at(seconds))
    sentence = f"With a fixed `poll_interval=60` it is {REQUESTS_PER_MINUTE:,.0f} runs"
    assert sentence in (DOCS / "limits.md").read_text(encoding="utf-8")


def interval_at(age: float) -> float:
    return wait_settings.WaitSettings().interval(age)


@pytest.mark.parametrize(
    ("takes", "count", "per_minute"),
    rows("limits.md", "| the run takes | requests | runs that can start per minute |"),
)
def test_requests_of_a_run(takes, count, per_minute):
    number, unit = takes.split()
    seconds = int(number) * {"s": 1, "minute": 60, "minutes": 60, "hour": 3600}[unit]
    settings = wait_settings.WaitSettings()
    now, checks = 0.0, 0
    log: Any = SimpleNamespace(info=lambda *_: None)
    steps = wait.wait_for_run("run_a", settings, log=log, now=lambda: now)
    reply: Any = None
    with contextlib.suppress(StopIteration):
        while True:
            step = steps.send(reply)
            reply = None
            if isinstance(step, wait.Pause):
                now += step.seconds
            else:
                checks += 1
                status = "COMPLETED" if now >= seconds else "EXECUTING"
                reply = runs.Run.from_answer({"id": "run_a", "status": status})
    assert int(count) == 1 + checks + 1
    assert int(per_minute) == int(REQUESTS_PER_MINUTE / int(count))


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
    ("limits.md", "the last 5 % of the bucket", lambda: defaults.RATE_LIMIT_RESERVE == 0.05),
    ("limits.md", "status checks after 0.5, 1, 2 and 4 s", lambda: record.RECHECK_AFTER == (0.5, 1, 2, 4)),
    ("limits.md", "then one more cancel", lambda: record.MAX_CANCELS == 2),
    ("outcomes.md", "in about 7.5 s", lambda: sum(record.RECHECK_AFTER) == 7.5),
    ("outcomes.md", "the last time 1 s before", lambda: record.LAST_CHECK_BEFORE == 1),
    ("outcomes.md", "five checks after each", lambda: len(record.RECHECK_AFTER) + 1 == 5),
    ("outcomes.md", "at most 3 s older", lambda: record.FRESH_FOR == 3),
    ("outcomes.md", "75 s after its cancel", lambda: runs.TERMINATES_WITHIN == 75),
    ("outcomes.md", "for more than 300 runs", lambda: bulk.BULK_FROM == 300),
    ("limits.md", "| one connection | 10 s", lambda: transport_errors.CONNECT_TIMEOUT == 10),
    ("limits.md", "| one request | 30 s; ", lambda: defaults.REQUEST_TIMEOUT == 30),
    ("limits.md", "at most a third of the remaining time", lambda: retry.SHARE_OF_ONE_STEP == 1 / 3),
    ("limits.md", "| 120 s after its first request |", lambda: defaults.RETRY_FOR == 120),
    ("limits.md", "until 80 % of the time have passed", lambda: schedule._SHARE_FOR_CANCELS == 0.8),
    ("limits.md", "| 60 s if the server names it", lambda: server_advice.MAX_WAIT == 60),
    ("limits.md", "otherwise 30 s", lambda: 2 * retry._LONGEST_HALF == 30),
    ("limits.md", "growing, up to 30 s", lambda: retry._FIRST_HALF < retry._LONGEST_HALF == 15),
    ("limits.md", "until 5 s have passed without progress", lambda: bulk.NO_PROGRESS_AFTER == 5),
    ("limits.md", "at most a quarter of the remaining time", lambda: bulk.SHARE == 1 / 4),
    ("limits.md", "| a notifier in all | 30 s |", lambda: defaults.NOTIFIER_TIMEOUT == 30),
    ("limits.md", "| 90 s after the run's cancel |", lambda: defaults.TERMINATION_TIMEOUT == 90),
    ("limits.md", "After 10 requests in a row", lambda: circuit_breaker.FAILURES_TO_OPEN == 10),
    ("limits.md", "one request goes out per second", lambda: circuit_breaker.PROBE_INTERVAL == 1),
    ("limits.md", "one for each run up to 100 runs", lambda: MAX_LINES == 100),
    ("limits.md", "Progress every 10 s", lambda: workers._PROGRESS_INTERVAL == 10),
    ("outcomes.md", "one such line every 5 s", lambda: exchange._RETRY_LOG_INTERVAL == 5),
    ("limits.md", "| 256 characters;", lambda: MAX_LENGTH == 256),
    ("limits.md", "| 32: `max_concurrency` |", lambda: defaults.MAX_CONCURRENCY == 32),
    ("limits.md", "| 16 MB |", lambda: http.MAX_BODY_BYTES == 16 * 1024**2),
    ("security.md", "answer over 16 MB", lambda: http.MAX_BODY_BYTES == 16 * 1024**2),
    ("security.md", "a key of less than 8 characters", lambda: masking.SHORTEST_IN_ANSWERS == 8),
    ("security.md", "cut to 300\ncharacters", lambda: responses.MAX_DETAIL_LENGTH == 300),
    ("security.md", "up to 80 characters", lambda: MAX_SHOWN == 80),
    ("limits.md", "10,000 results are 1.5 MB", lambda: 1.4e6 < bytes_of_xcom(10_000) < 1.5e6),
    ("run.md", "any JSON, up to 3 MB", lambda: request.MAX_PAYLOAD_SIZE == 3 * 1024**2),
    ("run.md", "a dict of JSON, up to 256 KB", lambda: conversions.MAX_METADATA_SIZE == 256 * 1024),
    ("run.md", "up to 7, of up to 128 characters", lambda: conversions.MAX_TAGS - identity.TAGS_OF_OURS == 7),
    ("run.md", "so seven are left to you", lambda: conversions.MAX_TAGS - identity.TAGS_OF_OURS == 7),
    ("own_code.md", "with up to 10 tags", lambda: conversions.MAX_TAGS == 10),
    ("run.md", "in seconds, 5 or more", lambda: request.LEAST_MAX_DURATION == 5),
    ("run.md", "above `max_output_size`\n(1 MB)", lambda: defaults.MAX_OUTPUT_SIZE == 1024**2),
    ("run.md", "until its worker has stopped, up to 75 s", lambda: runs.TERMINATES_WITHIN == 75),
    ("outcomes.md", "at once; up to 75 s", lambda: runs.TERMINATES_WITHIN == 75),
    ("run.md", "`on_kill` cancels the run, within 4 s", lambda: base._STOP_TIME == 4),
    ("outcomes.md", "could not be canceled in the 4 s", lambda: base._STOP_TIME == 4),
    ("outcomes.md", "every 5 minutes without a change", lambda: wait._LOG_INTERVAL == 300),
    ("outcomes.md", "it tries again four times", lambda: len(triggers._CONNECTION_PAUSES) == 4),
    ("outcomes.md", "each of 5 runs was canceled", lambda: start._MAX_ROUNDS == 5),
    ("cancel.md", "it searches twice, and takes", lambda: started._LISTS == 2),
    ("cancel.md", "takes about 3 s", lambda: started._LIST_LAG == 2.5),
]


@pytest.mark.parametrize(("page", "sentence", "is_true"), STATEMENTS, ids=[text for _, text, _ in STATEMENTS])
def test_statement(page, sentence, is_true):
    assert sentence in (DOCS / page).read_text(encoding="utf-8")
    assert is_true()


def answer(status: int, **headers: str) -> tuple[TriggerDevError, Response]:
    """Return a response, and the error that a status check makes of it."""
    response = Response(
        status=status, headers={"x-should-retry": "", **headers}, body=b'{"error": "Not found"}'
    )
    with pytest.raises(TriggerDevError) as raised:
        retrieve_run("run_a").read(response)
    return raised.value, response


# What came back, in the words of the table; the error, and whether the server has worked before.
FAILURES: dict[str, list[tuple[TriggerDevError, Response | None, bool]]] = {
    "429": [(*answer(429), False)],
    "408, 409, 425, 502, 503, 504 and other 5xx, except 500": [
        (*answer(status), False) for status in (408, 409, 425, 502, 503, 504, 520, 599)
    ],
    "no connection, no answer, a connection lost before the whole answer arrived": [
        (TransportError(""), None, False)
    ],
    "500": [(*answer(500), worked) for worked in (False, True)],
    "invalid JSON, a missing field, another run, from a server that has worked before": [
        (UnexpectedAnswerError(""), None, True)
    ],
    "invalid JSON, a missing field, another run, otherwise": [(UnexpectedAnswerError(""), None, False)],
    "a redirect, a 404 of another product, from a server that has worked before": [(*answer(302), True)],
    "404 of a status check": [(*answer(404, **{"x-should-retry": "true"}), False)],
    "401": [(*answer(401), worked) for worked in (False, True)],
    "403, 404 of a cancel, other redirects, an invalid certificate, an answer over 16 MB": [
        *((*answer(status), False) for status in (403, 404, 302)),
        (TLSError("", retryable=False), None, True),
        (UnexpectedAnswerError("", retryable=False), None, True),
    ],
    "`x-should-retry: false`": [(*answer(503, **{"x-should-retry": "false"}), True)],
}


@pytest.mark.parametrize(
    ("what", "tries", "_"), rows("limits.md", "| what came back | tries | wait between them |")
)
def test_tries(what, tries, _):
    for error, response, has_worked in FAILURES[what]:
        advised = server_advice.should_retry(response)
        allowed = tries_allowed(Failure(retrieve_run("run_a").request, error, advised, has_worked=has_worked))
        assert tries.split(",")[0] == ("no limit but time" if math.isinf(allowed) else f"{allowed:g}")


# Seconds that remain, and what a first and a repeated request may take then.
LAST_SECONDS: dict[str, list[tuple[float, float, float]]] = {
    "3 s or more": [(30, 10, 10), (3, 1, 1)],
    "2 s to 3 s": [(2.9, 1, 1), (2, 1, 1)],
    "1 s to 2 s": [(1.9, 1, 0.95), (1, 1, 0.5)],
    "less than 1 s": [(0.9, 0.9, 0.45), (0.2, 0.2, 0.1)],
}


@pytest.mark.parametrize(
    "shown", [row[0] for row in rows("limits.md", "| remaining time | one request takes at most |")]
)
def test_last_seconds_of_a_notifier(shown):
    exchange_at_0: Any = SimpleNamespace(monotonic=lambda: 0.0, timeout=defaults.REQUEST_TIMEOUT)
    for remaining, *longest in LAST_SECONDS[shown]:
        timeouts = [
            exchange.Exchange._timeout(exchange_at_0, Deadline(remaining), is_retry=is_retry)
            for is_retry in (False, True)
        ]
        assert timeouts == pytest.approx(longest)


def test_two_requests_for_each_run_up_to_the_number_named(server, cancel, connection):
    runs = [server.add_run("QUEUED") for _ in range(300)]
    assert cancel(*runs).outcomes == ["canceled"] * len(runs)
    assert len(server.requests) == 2 * len(runs)
    assert bulk.BULK_FROM == 300
    assert MAX_SIZE == 500
    page = (DOCS / "limits.md").read_text(encoding="utf-8")
    assert "| up to 300 | two for each run: the cancel, and the status check |" in page
    assert "cancels 500 exact ids with one request" in page


# Testing and routes.


@pytest.mark.parametrize("call", [row[0] for row in rows("testing.md", "| call | what the requests meet |")])
def test_fault(call, server):
    eval(call.strip("`"), {"server": server})
    assert server.pending_faults == 1


def test_routes_are_those_that_were_measured():
    spec = spec_from_file_location("routes_table", DOCS / "routes_table.py")
    assert spec
    assert spec.loader
    routes_table = module_from_spec(spec)
    spec.loader.exec_module(routes_table)
    page, table = routes_table.PAGE.read_text(encoding="utf-8"), json.loads(routes_table.DATA.read_text())
    assert routes_table.written(page) == page, "run: python docs/routes_table.py"
    # What the page says about Airflow 3.0 in addition to the tables.
    assert "The task's callback is needed on Airflow 3.0 only" in page
    without_it = ("dag_failure_callback", "teardown")
    assert {
        version
        for version in routes_table.versions(table)
        if not routes_table.covers(table, without_it, version)
    } == {"3.0"}
    assert not routes_table.is_called(table["events"]["cleared"]["routes"]["teardown"], "3.0")
