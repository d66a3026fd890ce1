"""Many ids in one call, many tasks at once, and too little time: no run is lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.testing import TriggerDevServer

# A fifth of the true bucket, and forty times as fast.
BUCKET: dict[str, Any] = {"rate_limit": 150, "refill": 50, "refill_interval": 0.25}
TASKS = 10
RUNS_A_TASK = 30


@pytest.fixture
def server():
    with TriggerDevServer(**BUCKET, acknowledge_after=None) as server:
        yield server


@pytest.mark.parametrize("max_concurrency", [1, 32, 100])
def test_no_id_is_lost_and_no_request_is_rejected_at_any_concurrency(max_concurrency, server, cancel):
    known = [server.add_run().id for _ in range(180)]
    unknown = [f"run_unknown{number}" for number in range(20)]
    ids = [run_id for pair in zip(known[:20], unknown, strict=True) for run_id in pair] + known[20:]
    result = cancel(*ids, on_not_found="ignore", max_concurrency=max_concurrency)
    assert [one["run_id"] for one in result.results] == ids
    assert Counter(result.outcomes) == {"canceled": 180, "not_found": 20}
    assert {request.status for request in server.requests} == {200, 404}


def test_others_who_empty_the_bucket_cost_time_and_no_run(server, connect, cancel):
    connect(retry_for=60)
    runs = [server.add_run() for _ in range(150)]
    ended = threading.Event()

    def use_it():
        while not ended.is_set():
            server.take_tokens(20)
            time.sleep(0.1)

    user = threading.Thread(target=use_it)
    user.start()
    try:
        result = cancel(*runs)
    finally:
        ended.set()
        user.join()
    assert (result.error, result.outcomes) == (None, ["canceled"] * 150)
    assert all(run.status == "CANCELED" for run in runs)


def allow_in_this_thread():
    """Let Airflow 2.11, which notes for the main thread alone who may call ``execute``, note it here too."""
    with suppress(ImportError, AttributeError):
        from airflow.models.baseoperator import ExecutorSafeguard

        if not hasattr(ExecutorSafeguard._sentinel, "callers"):
            ExecutorSafeguard._sentinel.callers = {}


def test_ten_tasks_under_one_small_bucket_all_end_and_none_starves(connect, make_operator, make_context):
    with TriggerDevServer(**BUCKET | {"refill_interval": 1.0}, acknowledge_after=None) as server:
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


def test_very_many_runs_do_not_hold_up_a_notifier(server, connection, make_context, said):
    server.hang_next(None)
    notifier = CancelTriggerRunNotifier(run_ids=[f"run_{number}" for number in range(40_000)], timeout=0.5)
    notifier(make_context())
    assert said.lines("40000 Trigger.dev runs")
