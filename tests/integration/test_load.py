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

from airflow_provider_trigger.cancel import workers
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
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


def test_memory_grows_by_the_results_alone_and_progress_is_logged_now_and_then(connect, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(workers, "_PROGRESS_INTERVAL", PROGRESS_INTERVAL)
    with server_elsewhere(MANY) as (url, key, ids):
        connect(host=url, key=key, timeout=30, retry_for=120)
        TriggerDevHook().cancel_runs(ids[:1])
        begun = time.time()
        tracemalloc.start()
        try:
            results = TriggerDevHook().cancel_runs(ids)
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
    bucket: dict[str, Any] = {"rate_limit": 150, "refill": 50, "refill_interval": 1.0}
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


def test_an_older_servers_runs_are_canceled_until_time_runs_out(connect, make_context, said):
    with TriggerDevServer(rate_limit=None, query=False, bulk_actions=False, latency=0.2) as server:
        connect(host=server.url, timeout=10, retry_for=10)
        ids = [server.add_run().id for _ in range(2000)]
        CancelTriggerRunNotifier(run_ids=ids, timeout=4)(make_context())
        requests = [record for record in server.requests if record.path.startswith("/api/v2/runs/")]
        assert not any(record.method == "GET" for record in server.requests)
    requested = {record.path.split("/")[4] for record in requests}
    assert [run_id for run_id in ids if run_id in requested] == ids[: len(requested)]
    (line,) = said.lines("2000 Trigger.dev runs: ")
    # Runs of one reason are listed together: the first ten, and how many there are beyond.
    assert f"{ids[0]}, {ids[1]}, " in line
    assert "more): cancel requested, but the status was not checked: the time limit was reached" in line
    assert f"{ids[len(requested)]}, {ids[len(requested) + 1]}, " in line
    assert f" and {2000 - len(requested) - 10} more): not sent: the time limit was reached" in line


def test_very_many_runs_do_not_hold_up_a_notifier(server, connection, make_context, said):
    server.hang_next(None)
    notifier = CancelTriggerRunNotifier(run_ids=[f"run_{number}" for number in range(40_000)], timeout=0.5)
    notifier(make_context())
    assert said.lines("40000 Trigger.dev runs")
