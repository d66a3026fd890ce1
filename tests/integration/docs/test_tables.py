"""What the pages say of runs, versions, limits and routes is what the code does."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest
from docs_pages import DOCS, PINNED, ROOT, matches, rows

from airflow_provider_trigger import defaults, exceptions, testing
from airflow_provider_trigger.api import (
    errors,
    http,
    limits,
    masking,
    models,
    query,
    responses,
    rights,
    statuses,
    tasks,
)
from airflow_provider_trigger.api.bulk_actions import MAX_SIZE
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.runs import retrieve_run
from airflow_provider_trigger.cancel import record
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.cancel.settings import TIME_LIMIT
from airflow_provider_trigger.defaults import BULK_FROM, BULK_FROM_AT_A_STOP
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.run import (
    identity,
    request,
    search,
    starts,
    status_watch,
    wait_log,
    wait_settings,
)
from airflow_provider_trigger.run.identity import DagRunIdentity, TaskInstanceIdentity
from airflow_provider_trigger.sources.run_ids import MAX_SHOWN, RunIds
from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.triggers import watch_clients
from airflow_provider_trigger.wording import MAX_LINES

# What the code says.


def test_pages_have_what_is_written_from_the_code(tmp_path):
    script, pages = DOCS / "reference_tables.py", tmp_path / "pages"
    pages.mkdir()
    # A home of its own: other tests write Airflow's meanwhile.
    home = os.environ | {"AIRFLOW_HOME": str(tmp_path / "airflow")}
    command = [sys.executable, script, pages]
    done = subprocess.run(command, check=False, env=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for made in pages.iterdir():
        page = DOCS / made.name
        assert page.read_text(encoding="utf-8") == made.read_text(encoding="utf-8"), f"run: python {script}"


def test_what_is_public_is_in_the_reference():
    reference, versioning = (
        (DOCS / page).read_text(encoding="utf-8") for page in ("reference.md", "versioning.md")
    )
    shown = {*re.findall(r"^(?:### |\| `)([A-Z]\w+[a-z])(?:$|`)", reference, re.MULTILINE)}
    _, promised, _ = re.split(r"^## What is public$|^New attributes", versioning, flags=re.MULTILINE)
    named = {*re.findall(r"`([A-Z]\w+[a-z])`", promised)}
    for module in (exceptions, errors, testing):
        assert f"`{module.__name__}`" in promised
        own = (one for one in vars(module).values() if inspect.isclass(one))
        named |= {one.__name__ for one in own if one.__module__.startswith(module.__name__)}
    assert named == shown


# Runs.


def test_how_a_run_ends():
    shown = {
        status: retries.startswith("as `retries` say")
        for words, _, retries in rows("run.md", "| the run ends as | the task | its `retries` |")
        for status in words.split(", ")
    }
    assert tuple(status for status in shown if shown[status]) == statuses.RETRY_STATUSES
    older = {"INTERRUPTED"}
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


def checks_of(seconds: float) -> int:
    """Return how often a run that takes so long is checked in a worker, beginning at its start."""
    age, count = 0.0, 1
    while age < seconds:
        age += wait_settings.check_interval(age)
        count += 1
    return count


@pytest.mark.parametrize(("seconds", "text"), [(60, "one minute"), (3600, "one hour")])
def test_requests_of_a_run_in_a_worker(seconds, text):
    page = (DOCS / "limits.md").read_text(encoding="utf-8")
    assert f"{1 + checks_of(seconds) + 1} for {text}" in page


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
BENCHMARKS = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
ONE_TASK = "|41 s, 1,130 requests, 0 rejected, 209 MB|"
MAPPED_TASKS = "|366 s, 2,537 requests, 0 rejected, 1269 MB|"

STATEMENTS: list[tuple[str, str, Callable[[], bool]]] = [
    ("limits.md", "| cancel up to 300 runs | two for each run: ", lambda: BULK_FROM == 300),
    ("limits.md", "cancels 500 exact ids with one request", lambda: MAX_SIZE == 500),
    ("limits.md", "with one query every 2 s", lambda: status_watch.QUERY_INTERVAL == 2),
    ("limits.md", "up to 5,000 runs", lambda: query.MAX_QUERIED_RUNS == 5000),
    ("limits.md", "1,000 runs about every 53 s", lambda: round(1000 / CHECKS_PER_SECOND) == 53),
    ("limits.md", "deferred or after an error | 120 s |", lambda: TIME_LIMIT == 120),
    ("limits.md", "the last 5 % of it", lambda: defaults.RATE_LIMIT_RESERVE == 0.05),
    ("outcomes.md", "five checks after each", lambda: len(record.RECHECK_AFTER) + 1 == 5),
    ("outcomes.md", "has shown it so in the\n3 s before", lambda: record.FRESH_FOR == 3),
    ("outcomes.md", "75 s after the cancel", lambda: models.TERMINATES_WITHIN == 75),
    ("limits.md", "with a bulk action for more than 20 runs", lambda: BULK_FROM_AT_A_STOP == 20),
    ("limits.md", "| one request | 30 s; ", lambda: defaults.REQUEST_TIMEOUT == 30),
    ("limits.md", "in an operator | 120 s, ", lambda: defaults.RETRY_FOR == 120),
    ("limits.md", "reading XCom included | 30 s;", lambda: defaults.NOTIFIER_TIMEOUT == 30),
    ("limits.md", "| 90 s after the run's cancel |", lambda: defaults.TERMINATION_TIMEOUT == 90),
    ("limits.md", "After 10 requests in a row", lambda: limits.FAILURES_TO_OPEN == 10),
    ("limits.md", "one request per second", lambda: limits.PROBE_INTERVAL == 1),
    ("limits.md", "An answer may have 16 MB", lambda: http.MAX_BODY_BYTES == 16 * 1024**2),
    ("limits.md", "10,000 results are 1.5 MB", lambda: 1.4e6 < bytes_of_xcom(10_000) < 1.5e6),
    ("outcomes.md", "up to 100 runs have a line each", lambda: MAX_LINES == 100),
    ("outcomes.md", "a line every 5 minutes without a change", lambda: wait_log.LOG_INTERVAL == 300),
    ("security.md", "answer over 16 MB", lambda: http.MAX_BODY_BYTES == 16 * 1024**2),
    ("security.md", "a key of less than 8 characters", lambda: masking.SHORTEST == 8),
    ("security.md", "cut to 300\ncharacters", lambda: responses.MAX_DETAIL_LENGTH == 300),
    ("security.md", "up to 80 characters", lambda: MAX_SHOWN == 80),
    ("run.md", "so seven are left to you", lambda: request.MAX_TAGS - identity.TAGS_OF_OURS == 7),
    ("run.md", "above `max_output_size`\n(1 MB)", lambda: defaults.MAX_OUTPUT_SIZE == 1024**2),
    ("run.md", "until its worker has stopped, up to 75 s", lambda: models.TERMINATES_WITHIN == 75),
    ("many_runs.md", "more than 20 runs by\na bulk action", lambda: BULK_FROM_AT_A_STOP == 20),
    ("many_runs.md", "| 41 s, 1,130 requests, 209 MB |", lambda: ONE_TASK in BENCHMARKS),
    ("many_runs.md", "| 366 s, 2,537 requests, 1,269 MB |", lambda: MAPPED_TASKS in BENCHMARKS),
    ("many_runs.md", "up to four requests of", lambda: starts.REQUESTS_AT_ONCE == 4),
    ("many_runs.md", "requests of 20 items each", lambda: tasks.MAX_ITEMS_AT_ONCE == 20),
    ("cancel.md", "takes about 3 s", lambda: search.LIST_LAG == 2.5),
    ("connection.md", "for 10 minutes", lambda: rights.DENIED_FOR == 600),
    *(("connection.md", f"`{right}`", lambda: True) for right in dict.fromkeys(rights.RIGHTS.values())),
]


@pytest.mark.parametrize(("page", "sentence", "is_true"), STATEMENTS, ids=[text for _, text, _ in STATEMENTS])
def test_statement(page, sentence, is_true):
    assert sentence in (DOCS / page).read_text(encoding="utf-8")
    assert is_true()


# The first words of a row, and faults that are what it says, without end.
CAME_BACK: list[tuple[str, Callable[..., object]]] = [
    ("429, ", partial(TriggerDevServer.fail_next, status=503)),
    ("no connection", TriggerDevServer.disconnect_next),
    ("no connection", TriggerDevServer.truncate_next),
    ("an answer that is not Trigger.dev's", TriggerDevServer.malformed_next),
    ("the same, from a server that has not worked before", TriggerDevServer.malformed_next),
    ("500", partial(TriggerDevServer.fail_next, status=500)),
    ("404 of a status check", lambda server, times: server.runs.clear()),
    ("401", partial(TriggerDevServer.fail_next, status=401)),
    ("403, ", partial(TriggerDevServer.fail_next, status=403)),
    ("403, ", TriggerDevServer.oversize_next),
]
MANY = 8  # more than any limit, less than what opens the circuit breaker
TRIES = {row[0]: re.split("[, ]", row[1])[0] for row in rows("limits.md", "| what came back | tries |")}


@pytest.mark.parametrize(("begin", "fault"), CAME_BACK)
def test_tries(begin, fault, server, connection, monkeypatch):
    (allowed,) = [tries for what, tries in TRIES.items() if what.startswith(begin)]
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    check = retrieve_run(server.add_run("EXECUTING").id)
    with TriggerDevHook().get_client(retry_for=1000) as client:
        if not begin.startswith("the same"):
            client.call(check)
        before = len(server.requests)
        fault(server, times=MANY)
        with contextlib.suppress(TriggerDevError):
            client.call(check)
    assert len(server.requests) - before == (MANY + 1 if allowed == "no" else int(allowed))


def test_each_row_of_tries_is_tested():
    assert all(any(what.startswith(begin) for begin, _ in CAME_BACK) for what in TRIES)


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
