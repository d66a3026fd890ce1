"""Waitpoint tokens: kills of each task, a run that waits for Airflow, and a person whom Airflow waits for."""

from __future__ import annotations

import pytest
import requests
from browser.chromium import logged_in
from browser.pictures import SHOWN, take_picture
from playwright.sync_api import expect
from whole_airflow import traces
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.state import State, runs_of
from whole_airflow.versions import AIRFLOW, RETRIES_KILLED_TASKS

from airflow_provider_trigger.testing import TriggerDevServer

TOKENS = "/api/v1/waitpoints/tokens"
ANSWER = {"approved": True, "by": "ann@example.com"}
# Airflow 3.0 gives a callback in the Dag processor no XCom.
FAILING = ("token",) if AIRFLOW == (3, 0) else ("token", "waitpoint_dag_fails")

when_killed_tasks_are_retried = pytest.mark.skipif(
    not RETRIES_KILLED_TASKS, reason="this Airflow does not retry a task whose process was killed"
)


@pytest.fixture(scope="module", autouse=True)
def tasks(server: TriggerDevServer) -> None:
    """Say what the Trigger.dev task of these tests does: it returns what the token is completed with."""
    server.on_task("publish-album", waits_for_token=True, after=1)


class Work:
    """
    A Dag run whose task "work" has to do with one token.

    :param action: what the path of the task's request ends with
    """

    def __init__(
        self, airflow: WholeAirflow, server: TriggerDevServer, dag_id: str, run_id: str, action: str = ""
    ) -> None:
        self.airflow, self.server, self.dag_id, self.run_id = airflow, server, dag_id, run_id
        self.token = server.create_token()[0]
        self.path = f"{TOKENS}/{self.token.id}{action}"

    def start(self) -> None:
        """Start it."""
        self.airflow.api.trigger(self.dag_id, self.run_id, {"token_id": self.token.id})

    def wait_for_requests(self, count: int) -> None:
        """Wait until the server has so many of the task's requests, answered or not."""
        wait_until(lambda: self.requests >= count, timeout=90, what=f"{count} requests of {self.path}")

    @property
    def requests(self) -> int:
        """How many of the task's requests the server has."""
        return sum(request.path == self.path for request in list(self.server.requests))

    def end(self) -> object:
        """Wait until it has succeeded, and return the task's return value."""
        assert self.airflow.api.wait_for_dag_run(self.dag_id, self.run_id, timeout=180) == "success"
        return self.airflow.api.xcom(self.dag_id, self.run_id, "work")


@when_killed_tasks_are_retried
def test_killed_while_it_creates_a_token_a_retry_gets_that_token(
    airflow: WholeAirflow, server: TriggerDevServer, state: State
) -> None:
    before, dag_id, run_id = set(server.tokens), "waitpoint_create", "killedcreate"
    server.hang_next(path=TOKENS, method="POST", after_handling=True)
    airflow.api.trigger(dag_id, run_id)
    wait_until(lambda: set(server.tokens) - before, timeout=90, what="a token")
    state.kill(run_id)
    assert airflow.api.wait_for_dag_run(dag_id, run_id, timeout=180) == "success"
    (token_id,) = set(server.tokens) - before
    made = airflow.api.xcom(dag_id, run_id, "work")
    assert made == {"id": token_id, "url": server.tokens[token_id].url}
    assert f"token {token_id} exists: an earlier try" in airflow.task_log(dag_id, run_id, "work", attempt=2)


@pytest.mark.together
@when_killed_tasks_are_retried
@pytest.mark.parametrize("was_handled", [False, True], ids=["before", "after"])
def test_killed_before_or_after_the_server_completes_a_token_it_has_our_data_once(
    airflow: WholeAirflow, server: TriggerDevServer, state: State, was_handled: bool
) -> None:
    work = Work(airflow, server, "waitpoint_complete", f"killed{was_handled}", "/complete")
    server.hang_next(path=work.path, after_handling=was_handled)
    work.start()
    work.wait_for_requests(1)
    state.kill(work.run_id)
    assert work.end() == [{"token_id": work.token.id, "outcome": "completed", "status": "COMPLETED"}]
    assert work.token.output == {"rows": 3}
    assert work.requests == 2  # a completion of a token that has ended changes nothing


@pytest.mark.together
@when_killed_tasks_are_retried
@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_killed_while_it_checks_a_token_a_retry_goes_on_waiting(
    airflow: WholeAirflow, server: TriggerDevServer, state: State, mode: str
) -> None:
    work = Work(airflow, server, f"waitpoint_wait_{mode}", f"killed{mode}")
    server.hang_next(path=work.path)
    work.start()
    work.wait_for_requests(1)
    state.kill(work.run_id)
    state.wait_for_start(work.run_id, attempt=2)
    work.wait_for_requests(3)
    server.complete_token(work.token.id, ANSWER)
    assert work.end() == ANSWER


@pytest.mark.together
@pytest.mark.parametrize("dag_id", FAILING)
def test_a_run_that_waits_learns_that_airflow_has_failed(
    airflow: WholeAirflow, server: TriggerDevServer, dag_id: str
) -> None:
    assert airflow.run_dag(dag_id, "fails", {"images": 0}) == "failed"
    run = runs_of(server, dag_id)[-1]
    wait_until(lambda: run.status == "COMPLETED", timeout=120, what=lambda: f"the end of {run}")
    assert run.output == {"failed": True, "dag": dag_id}


@pytest.mark.together
def test_who_has_the_address_answers_without_a_key(airflow: WholeAirflow, server: TriggerDevServer) -> None:
    airflow.api.trigger("approval", "report")
    airflow.api.wait_for_task("approval", "report", "wait", "deferred")
    url = airflow.api.xcom("approval", "report", "create", "url")
    assert url.startswith(f"{server.url}{TOKENS}/waitpoint_")
    assert requests.post(url, json=ANSWER, timeout=10).json() == {"success": True}
    assert airflow.api.wait_for_dag_run("approval", "report") == "success"
    assert airflow.api.xcom("approval", "report", "wait") == ANSWER


def test_all_addresses_are_in_xcom_and_in_no_log(airflow: WholeAirflow, server: TriggerDevServer) -> None:
    hashes = [token.path.rpartition("/")[2] for token in server.tokens.values()]
    logs = {**traces.files(airflow.home / "logs"), **traces.files(airflow.output)}
    tables = traces.rows(airflow.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    found = {name for name, text in (logs | tables).items() if any(one in text for one in hashes)}
    assert found == {"table xcom_v2" if AIRFLOW >= (3, 4) else "table xcom"}
    searched = logs["file dag_id=approval/run_id=report/task_id=wait/attempt=1.log"]
    assert any(token_id in searched for token_id in server.tokens)


@pytest.mark.skipif(SHOWN[-1] != AIRFLOW, reason="the documentation shows the newest release")
def test_answer_and_failure_look_as_in_the_documentation(airflow: WholeAirflow) -> None:
    with logged_in(airflow.api.url, asks_for_password=False) as browser:
        page = browser.new_page()
        page.set_viewport_size({"width": 1300, "height": 560})
        page.goto(f"{airflow.api.url}/dags/approval/runs/report/tasks/wait/xcom")
        page.get_by_role("button", name="Expand all extra JSON").click()
        expect(page.get_by_text("ann@example.com")).to_be_visible(timeout=20_000)
        take_picture("events-approval", page.locator("body"))
        page.goto(f"{airflow.api.url}/dags/token/runs/fails/tasks/check_images")
        page.get_by_text("ValueError: there are no images").click()  # closes the trace, which names files
        page.get_by_text("Post Execute").click()
        page.keyboard.press("w")  # wraps long lines
        expect(page.get_by_text("1 waitpoint token: 1 completed")).to_be_visible(timeout=20_000)
        expect(page.get_by_text("python.py").first).to_be_hidden()
        take_picture("events-failed", page.locator("body"))
