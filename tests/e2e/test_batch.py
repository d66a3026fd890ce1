"""A batch whose process is killed while it starts runs, and one that is cleared: what is started again."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from browser.chromium import logged_in
from browser.pictures import SHOWN, take_picture
from playwright.sync_api import Page, expect
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.state import State, runs_of
from whole_airflow.versions import AIRFLOW, RETRIES_KILLED_TASKS

from airflow_provider_trigger.testing import TriggerDevServer


def test_killed_between_two_requests_a_retry_starts_only_what_has_not_completed(
    airflow: WholeAirflow, server: TriggerDevServer, state: State
) -> None:
    dag_id, run_id, path = "batch_killed", "killedbatch", "/api/v2/tasks/batch"
    count = 45  # three requests start them, of 20, 20 and 5 items, all at a time

    def double(payload: int) -> int:
        return 2 * payload

    def payloads() -> Counter[int]:
        return Counter(run.payload for run in runs_of(server, dag_id))

    def unanswered() -> int:
        return sum(one.path == path and one.status is None for one in server.requests[earlier:])

    def wait_for(condition: Callable[[], object]) -> None:
        wait_until(condition, timeout=120, what=lambda: f"{run_id}, whose runs are {runs_of(server, dag_id)}")

    server.on_task("part", after=None)
    server.on_task("part", times=3, start_after=0, after=0, output=double)
    server.on_task("part", times=2, start_after=0, after=0, error="boom")
    server.hang_next(2, path=path)
    earlier = len(server.requests)
    airflow.api.trigger(dag_id, run_id, {"payloads": list(range(count))})
    wait_for(lambda: payloads() and unanswered() == 2)
    before = payloads()
    failed = Counter(run.payload for run in runs_of(server, dag_id) if run.status == "FAILED")
    assert Counter(run.status for run in runs_of(server, dag_id))["COMPLETED"] == 3
    assert len(failed) == 2
    state.kill(run_id)
    if not RETRIES_KILLED_TASKS:
        assert airflow.api.wait_for_dag_run(dag_id, run_id, timeout=180) == "failed"
        assert payloads() == before
        return
    expected = Counter(range(count)) + failed
    wait_for(lambda: payloads() >= expected)
    for run in runs_of(server, dag_id):
        if run.status not in ("COMPLETED", "FAILED"):
            with run.lock:
                run.status, run.output = "COMPLETED", double(run.payload)
    assert airflow.api.wait_for_dag_run(dag_id, run_id, timeout=180) == "success"
    assert payloads() == expected
    assert airflow.api.xcom(dag_id, run_id, "work") == [double(n) for n in range(count)]
    ids = airflow.api.xcom(dag_id, run_id, "work", "run_id")
    assert [server.runs[one].payload for one in ids] == list(range(count))
    assert not any(run.cancel_requests for run in runs_of(server, dag_id))
    # Those that it finds alive complete as soon as the others exist.
    new = count - before.total() + failed.total()
    found = rf"45 items: \d+ completed before and reused, \d+ found alive and taken up, {new} started"
    assert re.search(found, airflow.task_log(dag_id, run_id, "work", attempt=2))


DAG_ID, RUN_ID, TASK_ID = "orders", "night", "ship"
TASK_PAGE = f"/dags/{DAG_ID}/runs/{RUN_ID}/tasks/{TASK_ID}"
# The documentation shows more orders, and a longer outage.
COUNT, OUTAGE = (300, 180.0) if os.environ.get("E2E_PICTURES") else (40, 5.0)


def test_a_clear_starts_only_what_failed_at_night(airflow: WholeAirflow, server: TriggerDevServer) -> None:
    earlier, bad = set(server.runs), [7, 18, 23, 31]
    without_address = set(bad)

    def ship(payload: dict[str, Any], log: Any) -> dict[str, Any]:
        order = payload["order"]
        log("INFO", f"shipping order {order}")
        if order in without_address:
            log("WARN", f"order {order} has no address")
            raise ValueError(f"order {order} cannot be shipped")
        return {"order": order, "parcels": 1}

    server.on_task("ship-order", output=ship, after=20)
    airflow.api.trigger(DAG_ID, RUN_ID, {"payloads": [{"order": number} for number in range(COUNT)]})
    airflow.api.wait_for_task(DAG_ID, RUN_ID, TASK_ID, "deferred")
    time.sleep(5)
    server.fail_next(None, 503)
    time.sleep(OUTAGE)
    server.clear_faults()
    assert airflow.api.wait_for_dag_run(DAG_ID, RUN_ID, timeout=300) == "failed"
    results = airflow.api.xcom(DAG_ID, RUN_ID, TASK_ID, "results")
    assert [one["index"] for one in results if one["status"] != "COMPLETED"] == bad
    assert {one["run_id"] for one in results} == set(server.runs) - earlier
    log = airflow.task_log(DAG_ID, RUN_ID, TASK_ID)
    assert re.findall(r"Log of item (\d+): run", log) == ["7", "18", "23"]
    assert "order 7 has no address" in log

    without_address.clear()  # someone has corrected them
    airflow.clear(DAG_ID, RUN_ID, TASK_ID)
    airflow.api.wait_for_task(DAG_ID, RUN_ID, TASK_ID, "deferred", "running", "success")
    assert airflow.api.wait_for_dag_run(DAG_ID, RUN_ID, timeout=120) == "success"
    assert len(server.runs) - len(earlier) == COUNT + len(bad)
    outputs = airflow.api.xcom(DAG_ID, RUN_ID, TASK_ID, "return_value")
    assert outputs == [{"order": number, "parcels": 1} for number in range(COUNT)]
    counts = f"{COUNT - len(bad)} completed before and reused, 0 found alive and taken up, 4 started"
    assert counts in airflow.task_log(DAG_ID, RUN_ID, TASK_ID, attempt=2)
    if SHOWN[-1] == AIRFLOW:
        with logged_in(airflow.api.url, asks_for_password=False) as browser:
            take_pictures(browser.new_page(), airflow.api.url)


def take_pictures(page: Page, url: str) -> None:
    """Take pictures of the log of the night, and of the log of the morning."""
    page.set_viewport_size({"width": 1500, "height": 1300})  # only lines that fit are there
    page.goto(f"{url}{TASK_PAGE}?try_number=1")
    expect(page.get_by_text("order 7 has no address")).to_be_visible(timeout=60_000)
    page.get_by_text("TriggerBatchFailedError").first.click()  # closes the stack trace, which names files
    page.keyboard.press("w")  # wraps long lines
    expect(page.get_by_text("resume_execution").first).to_be_hidden()
    take_picture("night-log", page.locator("body"))
    page.set_viewport_size({"width": 1500, "height": 700})
    page.goto(f"{url}{TASK_PAGE}?try_number=2")
    expect(page.get_by_text("completed before and reused")).to_be_visible(timeout=60_000)
    take_picture("night-clear", page.locator("body"))
