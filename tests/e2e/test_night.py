"""A night: items of a batch fail during an outage, and in the morning a clear starts only what failed."""

from __future__ import annotations

import os
import re
import time
from typing import Any

import pytest
from browser.chromium import logged_in
from browser.pictures import SHOWN, take_picture
from playwright.sync_api import Page, expect
from whole_airflow.airflow import WholeAirflow
from whole_airflow.versions import AIRFLOW

from airflow_provider_trigger.testing import TriggerDevServer

DAG_ID, RUN_ID, TASK_ID = "orders", "night", "ship"
TASK_PAGE = f"/dags/{DAG_ID}/runs/{RUN_ID}/tasks/{TASK_ID}"
BAD = [7, 18, 23, 31]
# The documentation shows more orders, and a longer outage.
COUNT, OUTAGE = (300, 180.0) if os.environ.get("E2E_PICTURES") else (40, 5.0)


class Shop:
    """The Trigger.dev task: orders without an address fail, until someone has corrected them."""

    def __init__(self) -> None:
        self.without_address = set(BAD)

    def ship(self, payload: dict[str, Any], log: Any) -> dict[str, Any]:
        """Return what a run returns."""
        order = payload["order"]
        log("INFO", f"shipping order {order}")
        if order in self.without_address:
            log("WARN", f"order {order} has no address")
            raise ValueError(f"order {order} cannot be shipped")
        return {"order": order, "parcels": 1}


@pytest.mark.skipif(AIRFLOW not in SHOWN, reason="tested on the Airflows that the documentation shows")
def test_a_clear_in_the_morning_starts_only_what_failed_at_night(
    airflow: WholeAirflow, server: TriggerDevServer
) -> None:
    shop, earlier = Shop(), set(server.runs)
    server.on_task("ship-order", output=shop.ship, after=20)
    airflow.api.trigger(DAG_ID, RUN_ID, {"payloads": [{"order": number} for number in range(COUNT)]})
    airflow.api.wait_for_task(DAG_ID, RUN_ID, TASK_ID, "deferred")
    time.sleep(5)
    server.fail_next(None, 503)
    time.sleep(OUTAGE)
    server.clear_faults()
    assert airflow.api.wait_for_dag_run(DAG_ID, RUN_ID, timeout=300) == "failed"
    results = airflow.api.xcom(DAG_ID, RUN_ID, TASK_ID, "results")
    assert [one["index"] for one in results if one["status"] != "COMPLETED"] == BAD
    assert {one["run_id"] for one in results} == set(server.runs) - earlier
    log = airflow.task_log(DAG_ID, RUN_ID, TASK_ID)
    assert re.findall(r"Log of item (\d+): run", log) == ["7", "18", "23"]
    assert "order 7 has no address" in log

    shop.without_address.clear()
    airflow.clear(DAG_ID, RUN_ID, TASK_ID)
    airflow.api.wait_for_task(DAG_ID, RUN_ID, TASK_ID, "deferred", "running", "success")
    assert airflow.api.wait_for_dag_run(DAG_ID, RUN_ID, timeout=120) == "success"
    assert len(server.runs) - len(earlier) == COUNT + len(BAD)
    outputs = airflow.api.xcom(DAG_ID, RUN_ID, TASK_ID, "return_value")
    assert outputs == [{"order": number, "parcels": 1} for number in range(COUNT)]
    counts = f"{COUNT - len(BAD)} completed before and reused, 0 found alive and taken up, 4 started"
    assert counts in airflow.task_log(DAG_ID, RUN_ID, TASK_ID, attempt=2)
    if SHOWN[-1] == AIRFLOW:
        with logged_in(airflow.api.url, asks_for_password=False) as browser:
            take_pictures(browser.new_page(), airflow.api.url)


def take_pictures(page: Page, url: str) -> None:
    """Take pictures of the log of the night, and of the log of the morning."""
    page.set_viewport_size({"width": 1500, "height": 1300})  # only lines that fit are there
    page.goto(f"{url}{TASK_PAGE}?try_number=1")
    expect(page.get_by_text("order 7 has no address")).to_be_visible(timeout=20_000)
    page.get_by_text("TriggerBatchFailedError").first.click()  # closes the stack trace, which names files
    page.keyboard.press("w")  # wraps long lines
    expect(page.get_by_text("resume_execution").first).to_be_hidden()
    take_picture("night-log", page.locator("body"))
    page.set_viewport_size({"width": 1500, "height": 700})
    page.goto(f"{url}{TASK_PAGE}?try_number=2")
    expect(page.get_by_text("completed before and reused")).to_be_visible(timeout=20_000)
    take_picture("night-clear", page.locator("body"))
