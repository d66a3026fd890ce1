"""The button that leads from a task to its run, as a person sees it and clicks on it while the task waits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser.chromium import logged_in
from playwright.sync_api import BrowserContext
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.versions import AIRFLOW

from airflow_provider_trigger.links.run import TriggerRunLink
from airflow_provider_trigger.testing import TriggerDevServer

pytestmark = pytest.mark.skipif(
    AIRFLOW not in ((2, 11), (3, 3)), reason="looked at on the oldest and on the newest Airflow"
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
    dag_id, run_id = f"end_marked_failed_{mode}", f"linked{mode}"
    airflow.api.trigger(dag_id, run_id)
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
