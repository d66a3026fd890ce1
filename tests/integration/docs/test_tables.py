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
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest
from airflow_names import IS_AIRFLOW_2
from docs_pages import DOCS, PINNED, ROOT, matches, rows
from run_operator import operator

from airflow_provider_trigger import exceptions, testing
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.testing import TriggerDevServer

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


def test_what_1000_items_cost_is_what_was_measured():
    [row] = re.findall(
        r"^\|many_items(.*)$", (DOCS / "benchmarks.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    measured = [cell.replace(", 0 rejected", "") for cell in row.split("|")[2:4]]
    shown = rows("many_runs.md", "| you want | use | 1,000 items cost |")
    assert [cells[-1].strip(" |") for cells in shown[:2]] == measured


def test_what_is_public_is_in_the_reference():
    reference, versioning = (
        (DOCS / page).read_text(encoding="utf-8") for page in ("reference.md", "versioning.md")
    )
    shown = {*re.findall(r"^(?:### |\| `)([A-Z]\w+[a-z])(?:$|`)", reference, re.MULTILINE)}
    _, promised, _ = re.split(r"^## What is public$|^New attributes", versioning, flags=re.MULTILINE)
    named = {*re.findall(r"`([A-Z]\w+[a-z])`", promised)}
    for module in (exceptions, import_module(TriggerDevError.__module__), testing):
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
    assert tuple(status for status in shown if shown[status]) == value_of("api.statuses.RETRY_STATUSES")
    older = {"INTERRUPTED"}
    assert set(shown) == value_of("api.statuses.FINAL_STATUSES") - older


def test_tags_of_a_run(server, run_try):
    run_try(operator(wait_for_completion=False), task_id="resize", map_index=2)
    (run,) = server.runs.values()
    for (cell, *_), tag in zip(rows("run.md", "| tag | content |"), run.tags, strict=True):
        assert matches(cell.rpartition(", ")[2].replace("nightly", "a_dag"), tag)


@pytest.mark.parametrize("given", [row[0] for row in rows("cancel.md", "| given | works in |")])
def test_what_run_ids_may_be(given, server, run_try):
    for run_id in ("run_a", "run_b"):
        server.add_run(run_id=run_id)
    for text in re.findall(r"`([^`]+)`", given):
        if "{{" in text:
            ids = ["run_a", "run_b"]
            value: Any = str(ids)
        elif "start" in text or "one." in text:
            continue  # the operator's tests run these in Dags
        else:
            value, ids = eval(text), re.findall(r"run_[ab]\b", text)
        result = run_try(CancelTriggerRunOperator(task_id="cancel", run_ids=value))
        assert (result.error, [one["run_id"] for one in result.results]) == (None, ids)


# Versions and limits.


def test_versions():
    shown = rows("../README.md", "| Airflow | Python | whole Airflow tested with |")
    for airflow, pythons, *_ in shown:
        (name,) = [name for name in PINNED if PINNED[name] == airflow]
        script = f"source scripts/pythons.sh; supported_pythons {name}"
        real = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
        assert set(real.stdout.split()) == set(pythons.split(", "))
    assert [airflow for airflow, *_ in shown] == sorted(PINNED.values())


WORDS = {4: "four"}
MB = 1024**2
# A sentence of a page, in which {} is a number of the code; where that is, and in which unit the page has it.
NUMBERS: list[tuple[str, str, str, float]] = [
    ("limits.md", "| cancel up to {} runs | two for each run: ", "defaults.BULK_FROM", 1),
    ("limits.md", "cancels {} exact ids with one request", "api.runs.MAX_BULK_SIZE", 1),
    ("limits.md", "One query every {} s shows", "run.watch.QUERY_INTERVAL", 1),
    ("limits.md", "up to {} runs", "api.runs.MAX_QUERIED_RUNS", 1),
    ("limits.md", "at a time limit or after an error | {} s |", "cancel.cancellation.TIME_LIMIT", 1),
    ("limits.md", "the last {} % of it", "defaults.RATE_LIMIT_RESERVE", 0.01),
    ("limits.md", "with a bulk action for more than {} runs", "defaults.BULK_FROM_AT_A_STOP", 1),
    ("limits.md", "each run of the last {} s is also", "cancel.record.BULK_LAG", 1),
    ("limits.md", "| one request | {} s; ", "defaults.REQUEST_TIMEOUT", 1),
    ("limits.md", "in an operator | {} s, ", "defaults.RETRY_FOR", 1),
    ("limits.md", "reading XCom included | {} s;", "defaults.NOTIFIER_TIMEOUT", 1),
    ("limits.md", "| {} s after the run's cancel |", "defaults.TERMINATION_TIMEOUT", 1),
    ("limits.md", "After {} requests in a row", "api.limits.FAILURES_TO_OPEN", 1),
    ("limits.md", "An answer may have {} MB", "api.http.MAX_BODY_BYTES", MB),
    ("outcomes.md", "{} s after the cancel", "api.models.TERMINATES_WITHIN", 1),
    ("outcomes.md", "up to {} runs have a line each", "log.MAX_LINES", 1),
    ("outcomes.md", "a line every {} minutes without a change", "log.LOG_INTERVAL", 60),
    ("security.md", "answer over {} MB", "api.http.MAX_BODY_BYTES", MB),
    ("security.md", "a key of less than {} characters", "api.secret_key.SHORTEST", 1),
    ("security.md", "cut to {}\ncharacters", "api.answers.MAX_DETAIL_LENGTH", 1),
    ("security.md", "up to {} characters", "sources.run_ids.MAX_SHOWN", 1),
    ("run.md", "above `max_output_size`\n({} MB)", "defaults.MAX_OUTPUT_SIZE", MB),
    ("run.md", "until its worker has stopped, up to {} s", "api.models.TERMINATES_WITHIN", 1),
    ("many_runs.md", "more than {} runs by\na bulk action", "defaults.BULK_FROM_AT_A_STOP", 1),
    ("many_runs.md", "up to {} requests of", "run.starts.REQUESTS_AT_ONCE", 1),
    ("many_runs.md", "requests of {} items each", "api.runs.MAX_ITEMS_AT_ONCE", 1),
]


def test_how_long_a_stop_has():
    page = (DOCS / "limits.md").read_text(encoding="utf-8")
    newer, older = re.findall(
        r"while running \| (\d+) s, before Airflow kills the task; (\d+) s with 2\.11", page
    )[0]
    assert value_of("_compat.stop_time")() == float(older if IS_AIRFLOW_2 else newer)


def value_of(path: str) -> Any:
    """Return what a module of the package has by a name."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(f"airflow_provider_trigger.{module}"), name)


@pytest.mark.parametrize(("page", "sentence", "path", "unit"), NUMBERS, ids=[text for _, text, *_ in NUMBERS])
def test_a_page_has_the_number_of_the_code(page, sentence, path, unit):
    number = value_of(path) / unit
    shown = {f"{number:g}", f"{number:,g}", WORDS.get(number, "")}
    text = (DOCS / page).read_text(encoding="utf-8")
    assert any(sentence.replace("{}", one) in text for one in shown)


def test_outcomes_of_a_cancel():
    shown = [row[0].strip("`") for row in rows("../README.md", "| outcome | meaning | the task |")]
    assert shown == [outcome.value for outcome in value_of("cancel.outcome.CancelOutcome")]


def test_a_page_names_each_right():
    page = (DOCS / "connection.md").read_text(encoding="utf-8")
    assert [right for right in value_of("api.answers.RIGHTS").values() if f"`{right}`" not in page] == []


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
    check = value_of("api.runs.retrieve_run")(server.add_run("EXECUTING").id)
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
