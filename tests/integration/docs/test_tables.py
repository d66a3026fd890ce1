"""What the pages say of runs, versions, limits and routes is what the code does."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from types import SimpleNamespace
from typing import Any

import pytest
from docs_pages import DOCS, ROOT, matches, rows

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api import circuit_breaker, http, masking, responses
from airflow_provider_trigger.api.endpoints import batches, query
from airflow_provider_trigger.api.endpoints.bulk_actions import MAX_SIZE
from airflow_provider_trigger.api.endpoints.runs import cancel_run, retrieve_run
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models import runs, statuses
from airflow_provider_trigger.cancel import record
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.cancel.settings import TIME_LIMIT
from airflow_provider_trigger.defaults import BULK_FROM, BULK_FROM_AT_A_STOP
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.run import (
    identity,
    query_pace,
    request,
    search,
    starts,
    wait,
    wait_log,
    wait_settings,
)
from airflow_provider_trigger.run.identity import DagRunIdentity, TaskInstanceIdentity
from airflow_provider_trigger.sources.run_ids import MAX_SHOWN, RunIds
from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.triggers import watch_clients
from airflow_provider_trigger.wording import MAX_LINES

# Runs.


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


# What deferred runs may take of an environment of the default limit.
CHECKS_PER_SECOND = 25 * (1 - watch_clients.CHECKS_RESERVE)


def test_how_often_deferred_runs_are_checked_without_a_query():
    few, *many = rows("limits.md", "| deferred runs | each is checked |")
    longest = wait_settings.check_interval(1e6, poll_interval=None)
    assert few[0] == f"up to {int(CHECKS_PER_SECOND * longest) // 10 * 10}"
    assert f"every {longest:g} s" in few[1]
    for count, interval in many:
        assert interval == f"about every {int(count.replace(',', '')) / CHECKS_PER_SECOND:.0f} s"


def checks_of(seconds: float) -> list[float]:
    """Return when a run that takes so long is checked in a worker, in seconds from its start."""
    log: Any = SimpleNamespace(info=lambda *_: None)
    now, checks, reply = 0.0, [], None
    steps = wait.wait_for_runs(["run_a"], wait_settings.WaitSettings(), log=log, now=lambda: now)
    with contextlib.suppress(StopIteration):
        while True:
            step: Any = steps.send(reply)
            now = max(now, step.at)
            checks.append(now)
            status = "COMPLETED" if now >= seconds else "EXECUTING"
            reply = {"run_a": runs.Run.from_answer({"id": "run_a", "status": status})}
    return checks


@pytest.mark.parametrize(("seconds", "text"), [(10, "a run of 10 s"), (60, "one minute"), (300, "5 minutes")])
def test_requests_of_a_run_in_a_worker(seconds, text):
    page = " ".join((DOCS / "limits.md").read_text(encoding="utf-8").split())
    count = 1 + len(checks_of(seconds)) + 1
    assert f"{count} requests for {text}" in page or f"{count} for {text}" in page


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
    ("limits.md", "with one query every 2 s", lambda: query_pace.QUERY_INTERVAL == 2),
    ("limits.md", "up to 5,000 runs", lambda: query.MAX_QUERIED_RUNS == 5000),
    ("limits.md", "the checks use three quarters at most", lambda: watch_clients.CHECKS_RESERVE == 0.25),
    ("limits.md", "deferred: 120 s, while the triggerer runs", lambda: TIME_LIMIT == 120),
    ("limits.md", "the last 5 % of it", lambda: defaults.RATE_LIMIT_RESERVE == 0.05),
    ("limits.md", "status checks after 0.5, 1, 2 and 4 s", lambda: record.RECHECK_AFTER == (0.5, 1, 2, 4)),
    ("limits.md", "then one more cancel", lambda: record.MAX_CANCELS == 2),
    ("outcomes.md", "in about 7.5 s", lambda: sum(record.RECHECK_AFTER) == 7.5),
    ("outcomes.md", "five checks after each", lambda: len(record.RECHECK_AFTER) + 1 == 5),
    ("outcomes.md", "has shown it so in the 3 s before its cancel", lambda: record.FRESH_FOR == 3),
    ("outcomes.md", "75 s after the cancel", lambda: runs.TERMINATES_WITHIN == 75),
    ("outcomes.md", "for more than 300 runs", lambda: BULK_FROM == 300),
    ("limits.md", "with a bulk action for more than 20 runs", lambda: BULK_FROM_AT_A_STOP == 20),
    ("limits.md", "| one request | 30 s; ", lambda: defaults.REQUEST_TIMEOUT == 30),
    ("limits.md", "| 120 s after its first request", lambda: defaults.RETRY_FOR == 120),
    ("limits.md", "reading XCom included | 30 s;", lambda: defaults.NOTIFIER_TIMEOUT == 30),
    ("limits.md", "| 90 s after the run's cancel |", lambda: defaults.TERMINATION_TIMEOUT == 90),
    ("limits.md", "After 10 requests in a row", lambda: circuit_breaker.FAILURES_TO_OPEN == 10),
    ("limits.md", "one request per second", lambda: circuit_breaker.PROBE_INTERVAL == 1),
    ("limits.md", "| 16 MB |", lambda: http.MAX_BODY_BYTES == 16 * 1024**2),
    ("limits.md", "10,000 results are 1.5 MB", lambda: 1.4e6 < bytes_of_xcom(10_000) < 1.5e6),
    ("outcomes.md", "Up to 100 runs have a line each", lambda: MAX_LINES == 100),
    ("outcomes.md", "a line every 5 minutes without a change", lambda: wait_log.LOG_INTERVAL == 300),
    ("security.md", "answer over 16 MB", lambda: http.MAX_BODY_BYTES == 16 * 1024**2),
    ("security.md", "a key of less than 8 characters", lambda: masking.SHORTEST_IN_ANSWERS == 8),
    ("security.md", "cut to 300\ncharacters", lambda: responses.MAX_DETAIL_LENGTH == 300),
    ("security.md", "up to 80 characters", lambda: MAX_SHOWN == 80),
    ("run.md", "so seven are left to you", lambda: request.MAX_TAGS - identity.TAGS_OF_OURS == 7),
    ("run.md", "above `max_output_size`\n(1 MB)", lambda: defaults.MAX_OUTPUT_SIZE == 1024**2),
    ("run.md", "until its worker has stopped, up to 75 s", lambda: runs.TERMINATES_WITHIN == 75),
    ("many_runs.md", "more than 20 runs by\na bulk action", lambda: BULK_FROM_AT_A_STOP == 20),
    ("many_runs.md", "up to four requests of", lambda: starts.REQUESTS_AT_ONCE == 4),
    ("many_runs.md", "requests of 20 items each", lambda: batches.MAX_ITEMS_AT_ONCE == 20),
    ("cancel.md", "takes about 3 s", lambda: search.LIST_LAG == 2.5),
]


@pytest.mark.parametrize(("page", "sentence", "is_true"), STATEMENTS, ids=[text for _, text, _ in STATEMENTS])
def test_statement(page, sentence, is_true):
    assert sentence in (DOCS / page).read_text(encoding="utf-8")
    assert is_true()


MANY = 8  # more than any limit, less than what opens the circuit breaker

Faults = tuple[Callable[[Any], object], ...]


def fails_with(*statuses: int) -> Faults:
    return tuple(partial(TriggerDevServer.fail_next, times=MANY, status=status) for status in statuses)


# What came back, in the words of the table: the faults of a server that has answered once before, or has not.
HAS_WORKED: dict[str, Faults] = {
    "429, 408, 409, 425, 502, 503, 504 and other 5xx, except 500": fails_with(
        429, 408, 409, 425, 502, 503, 504, 520
    ),
    "no connection, no answer, a connection lost before the whole answer arrived": (
        lambda server: server.disconnect_next(MANY),
        lambda server: server.truncate_next(MANY),
    ),
    "an answer that is not Trigger.dev's, from a server that has worked before": (
        lambda server: server.malformed_next(MANY),
        lambda server: server.redirect_next(MANY),
    ),
    "500": fails_with(500),
    "401": fails_with(401),
    "403, 404 of a cancel, an invalid certificate, an answer over 16 MB": (
        *fails_with(403),
        lambda server: server.oversize_next(MANY),
    ),
}
IS_NEW: dict[str, Faults] = {
    "the same, from a server that has not worked before: invalid JSON, a missing field, another run": (
        lambda server: server.malformed_next(MANY),
        lambda server: server.malformed_next(MANY, "{}", "application/json"),
    ),
}


@pytest.fixture
def tries(connection, server, monkeypatch) -> Callable[..., int]:
    """Return how often a call is sent: until it succeeds, or fails."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))

    def count(call: Call[Any], fault: Callable[[Any], object], *, has_worked: bool) -> int:
        run = server.add_run("EXECUTING")
        with TriggerDevHook().get_client(retry_for=1000) as client:
            if has_worked:
                client.call(retrieve_run(run.id))
            before = len(server.requests)
            fault(server)
            with contextlib.suppress(TriggerDevError):
                client.call(call)
        server.clear_faults()
        return len(server.requests) - before

    return count


TRIES = {row[0]: row[1] for row in rows("limits.md", "| what came back | tries |")}


@pytest.mark.parametrize(
    ("what", "fault", "has_worked"),
    [(what, fault, True) for what, faults in HAS_WORKED.items() for fault in faults]
    + [(what, fault, False) for what, faults in IS_NEW.items() for fault in faults],
)
def test_tries(what, fault, has_worked, server, tries):
    allowed = TRIES[what].split(",")[0]
    sent = tries(retrieve_run(server.add_run().id), fault, has_worked=has_worked)
    assert sent == (MANY + 1 if allowed == "no limit but time" else int(allowed))


def test_tries_of_an_unknown_run(tries):
    def nothing(_: Any) -> None: ...

    checks = tries(retrieve_run("run_a"), nothing, has_worked=True)
    assert TRIES["404 of a status check"].startswith(str(checks))
    assert tries(cancel_run("run_a"), nothing, has_worked=True) == 1


def test_each_row_of_tries_is_tested():
    assert {*HAS_WORKED, *IS_NEW, "404 of a status check"} == set(TRIES)


def test_two_requests_for_each_run_up_to_the_number_named(server, cancel, connection):
    runs = [server.add_run("QUEUED") for _ in range(300)]
    assert cancel(*runs).outcomes == ["canceled"] * len(runs)
    assert len(server.requests) == 2 * len(runs)
    assert BULK_FROM == 300
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
    assert "on Airflow 3.0 only, in addition: `on_failure_callback` of the task\n" in page
    without_it = ("dag_failure_callback", "teardown")
    assert {
        version
        for version in routes_table.versions(table)
        if not routes_table.covers(table, without_it, version)
    } == {"3.0"}
    assert not routes_table.is_called(table["events"]["cleared"]["routes"]["teardown"], "3.0")
