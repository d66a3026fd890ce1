"""Very many ids, many tasks at once, and too little time."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.http import ServerSettings
from airflow_provider_trigger.cancel import bulk, workers
from airflow_provider_trigger.cancel.cancellation import Cancellation
from airflow_provider_trigger.cancel.settings import CancelSettings
from airflow_provider_trigger.defaults import BULK_FROM
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.testing import TriggerDevServer

MANY = 2_000
BYTES_A_RUN = 1_500
PROGRESS_INTERVAL = 0.2
TASKS = 10
RUNS_A_TASK = 30


SERVER = """
import json, sys
from airflow_provider_trigger.testing import TriggerDevServer

with TriggerDevServer(rate_limit=None) as server:
    ids = [server.add_run("QUEUED").id for _ in range(int(sys.argv[1]))]
    print(json.dumps([server.url, server.secret_key, ids]), flush=True)
    sys.stdin.read()
"""


def new_client(url, key):
    return TriggerDevClient(ServerSettings(base_url=url, secret_key=key, user_agent="a test"))


def cancellation(client, run_ids, **options):
    behavior = {name: options.pop(name) for name in ("is_stopped", "action_for") if name in options}
    return Cancellation(client, run_ids, CancelSettings(bulk_action_name="a test", **options), **behavior)


@contextmanager
def server_elsewhere(count):
    """A server with runs in a process of its own, whose memory is not measured."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        yield json.loads(process.stdout.readline())
        process.stdin.close()


def test_memory_grows_by_the_results_alone_and_progress_is_logged_now_and_then(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(workers, "_PROGRESS_INTERVAL", PROGRESS_INTERVAL)
    with server_elsewhere(MANY) as (url, key, ids), new_client(url, key) as client:
        cancellation(client, ids[:1]).run()
        begun = time.time()
        tracemalloc.start()
        try:
            results = cancellation(client, ids).run()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert Counter(result.outcome.value for result in results) == {"canceled": MANY}
    assert peak < BYTES_A_RUN * MANY
    progress = [record for record in caplog.records if f" of {MANY}" in record.getMessage()]
    assert progress
    assert all(f" of {MANY} cancel requests sent, " in record.getMessage() for record in progress)
    # Airflow 2.11 hands each record on twice. Before each there was an interval.
    times = {record.created for record in progress}
    assert len(times) <= (max(times) - begun) / PROGRESS_INTERVAL


def allow_in_this_thread():
    """Let Airflow 2.11, which notes for the main thread alone who may call ``execute``, note it here too."""
    with suppress(ImportError, AttributeError):
        from airflow.models.baseoperator import ExecutorSafeguard

        if not hasattr(ExecutorSafeguard._sentinel, "callers"):
            ExecutorSafeguard._sentinel.callers = {}


def test_ten_tasks_under_one_small_bucket_all_end_and_none_starves(connect, make_operator, make_context):
    bucket: dict[str, Any] = {"rate_limit": 150, "refill": 50, "refill_interval": 0.25}
    with TriggerDevServer(**bucket, acknowledge_after=None) as server:
        connect(host=server.url, timeout=10, retry_for=30)
        # Airflow 2.11 imports what it needs when it is needed, which threads cannot do at once.
        make_operator(server.add_run()).execute(make_context())
        runs = [[server.add_run() for _ in range(RUNS_A_TASK)] for _ in range(TASKS)]
        results, seen_at_end = {}, {}
        together = threading.Barrier(TASKS)

        def execute(number):
            allow_in_this_thread()
            operator, context = make_operator(*runs[number], max_concurrency=8), make_context()
            together.wait()
            results[number] = operator.execute(context)
            seen_at_end[number] = Counter(
                record.path.split("/")[4] for record in list(server.requests) if record.status == 200
            )

        tasks = [threading.Thread(target=execute, args=(number,)) for number in range(TASKS)]
        for task in tasks:
            task.start()
        for task in tasks:
            task.join(60)
    assert len(seen_at_end) == TASKS
    outcomes = Counter(one["outcome"] for result in results.values() for one in result)
    assert outcomes == {"canceled": TASKS * RUNS_A_TASK}
    # 600 requests are nine refills after the first burst, and each task gets its share of every one.
    first = min(seen_at_end.values(), key=Counter.total)
    assert min(sum(first[run.id] for run in task) for task in runs) >= RUNS_A_TASK / 2


@pytest.fixture
def slow_server():
    """An older server, without queries."""
    with TriggerDevServer(rate_limit=None, bulk_duration=0.05, query=False) as server:
        yield server


def notified(server, connect, make_context, said, ids, *, timeout):
    """Call the notifier, and return its summary."""
    connect(host=server.url, timeout=10, retry_for=10)
    CancelTriggerRunNotifier(run_ids=ids, timeout=timeout)(make_context())
    (line,) = said.lines(f"{len(ids)} Trigger.dev runs: ")
    return line


def test_when_time_runs_out_bulk_actions_have_canceled_all(
    slow_server, connect, make_context, said, monkeypatch
):
    """In the second half of the time, each run that was not checked gets a cancel of its own as well."""
    monkeypatch.setattr(bulk, "SHARE", 0.9)  # so that a stall of the machine does not end the bulk action
    slow_server.delay_next(None, 1.0, path="/api/v3/runs/")
    ids = [slow_server.add_run().id for _ in range(500)]
    line = notified(slow_server, connect, make_context, said, ids, timeout=9)
    assert {run.status for run in slow_server.runs.values()} == {"CANCELED"}
    assert " runs was requested, and is not confirmed; " in line
    assert "; not confirmed: " in line
    assert "not sent" not in line
    checked = {record.path for record in slow_server.requests if record.path.startswith("/api/v3/runs/")}
    single = sum(bool(run.cancel_requests) for run in slow_server.runs.values())
    assert single > 0
    assert single + len(checked) >= 500


def test_an_older_servers_runs_are_canceled_until_time_runs_out(slow_server, connect, make_context, said):
    slow_server.bulk_actions = False
    slow_server.latency = 0.5
    ids = [slow_server.add_run().id for _ in range(500)]
    line = notified(slow_server, connect, make_context, said, ids, timeout=6)
    requests = [record for record in slow_server.requests if record.path.startswith("/api/v2/runs/")]
    requested = {record.path.split("/")[4] for record in requests}
    assert not any(record.method == "GET" for record in slow_server.requests)
    assert len(requested) > 100
    assert [run_id for run_id in ids if run_id in requested] == ids[: len(requested)]
    # Runs of one reason are listed together: the first ten, and how many there are beyond.
    assert f"{ids[0]}, {ids[1]}, " in line
    assert "more): cancel requested, but the status was not checked: the time limit was reached" in line
    assert f"{ids[len(requested)]}, {ids[len(requested) + 1]}, " in line
    assert f" and {500 - len(requested) - 10} more): not sent: the time limit was reached" in line


def test_an_older_servers_runs_are_all_canceled_before_most_checks(slow_server, connect, make_context, said):
    slow_server.bulk_actions = False
    slow_server.latency = 0.1
    # With the checks in between, the cancels would take 11 s.
    slow_server.delay_next(None, 0.5, path="/api/v3/runs/")
    ids = [slow_server.add_run().id for _ in range(500)]
    line = notified(slow_server, connect, make_context, said, ids, timeout=8)
    assert {run.status for run in slow_server.runs.values()} == {"CANCELED"}
    assert "the status was not checked" in line
    assert "not sent" not in line


@pytest.mark.parametrize("latency", [0.0, 0.2])
def test_a_run_that_a_bulk_action_canceled_is_never_reported_as_not_sent(latency, slow_server):
    """The runs are due for cancels of their own, as their checks are outdated, when time runs out."""
    slow_server.latency = latency
    ids = [slow_server.add_run().id for _ in range(BULK_FROM + 1)]
    slow_server.stale_next(None)
    with new_client(slow_server.url, slow_server.secret_key) as client:

        def is_stopped():
            requests = [record.method for record in list(slow_server.requests) if "bulk" not in record.path]
            return "POST" in requests

        results = cancellation(client, ids, max_concurrency=1, is_stopped=is_stopped).run()
    assert {run.status for run in slow_server.runs.values()} == {"CANCELED"}
    assert {result.outcome.value for result in results} == {"failed"}
    assert not [result.error for result in results if "not sent" in str(result.error)]
