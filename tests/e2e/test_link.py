"""The button that leads from a task to its run, as a person sees it and clicks on it while the task waits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser.chromium import logged_in
from browser.pictures import SHOWN, take_picture
from playwright.sync_api import BrowserContext, expect
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.versions import AIRFLOW

from airflow_provider_trigger.links.run import TriggerRunLink
from airflow_provider_trigger.testing import TriggerDevServer

pytestmark = pytest.mark.skipif(
    AIRFLOW not in (*SHOWN, (3, 4)), reason="tested on the oldest and on the newest Airflows"
)


@pytest.fixture(scope="module")
def browser(airflow: WholeAirflow) -> Iterator[BrowserContext]:
    """Return a browser in which someone has logged in."""
    with logged_in(airflow.api.url, asks_for_password=AIRFLOW < (3, 0)) as browser:
        yield browser


@pytest.mark.parametrize("mode", ["running", "deferred"])
def test_the_button_leads_to_the_run(
    airflow: WholeAirflow, server: TriggerDevServer, browser: BrowserContext, mode: str
) -> None:
    server.on_task("never", after=None)
    dag_id, run_id = f"end_single_marked_failed_{mode}", f"linked{mode}"
    airflow.api.trigger(dag_id, run_id, {"payloads": [0]})
    url = wait_until(
        lambda: airflow.api.xcom(dag_id, run_id, "work", "run_url"), timeout=90, what="the run's address"
    )
    airflow.api.wait_for_task(dag_id, run_id, "work", mode)
    page = browser.new_page()
    if AIRFLOW < (3, 0):
        page.goto(f"{airflow.api.url}/dags/{dag_id}/grid?dag_run_id={run_id}&task_id=work&tab=details")
    else:
        page.goto(f"{airflow.api.url}/dags/{dag_id}/runs/{run_id}/tasks/work/details")
    with browser.expect_page() as opened:
        page.get_by_role("link", name=TriggerRunLink.name).click()
    assert opened.value.url == url
    assert url.startswith(f"{server.url}/runs/run_")
    airflow.api.mark_dag_run(dag_id, run_id, "failed")


@pytest.mark.skipif(SHOWN[-1] != AIRFLOW, reason="the documentation shows the newest release")
def test_a_waiting_and_a_canceled_task_look_as_in_the_documentation(
    airflow: WholeAirflow, server: TriggerDevServer, browser: BrowserContext
) -> None:
    server.on_task("resize-image", after=None)
    airflow.api.trigger("run_and_wait", "shown")
    airflow.api.wait_for_task("run_and_wait", "shown", "resize", "deferred")
    run_id = wait_until(
        lambda: airflow.api.xcom("run_and_wait", "shown", "resize", "run_id"), timeout=90, what="the run's id"
    )
    page = browser.new_page()
    page.set_viewport_size({"width": 1300, "height": 560})
    log, details = (
        f"{airflow.api.url}/dags/run_and_wait/runs/shown/tasks/resize{tab}" for tab in ("", "/details")
    )
    page.goto(log)
    expect(page.get_by_text(f"Run {run_id} is EXECUTING")).to_be_visible()
    take_picture("task-waiting", page.locator("body"))
    page.goto(details)
    expect(page.get_by_role("link", name=TriggerRunLink.name)).to_be_visible()
    take_picture("task-link", page.locator("body"))
    airflow.api.mark_dag_run("run_and_wait", "shown", "failed")
    wait_until(lambda: server.runs[run_id].status == "CANCELED", timeout=60, what="the cancel of the run")
    page.goto(log)
    expect(page.get_by_text(f"Canceled run {run_id}")).to_be_visible()
    take_picture("task-canceled", page.locator("body"))
