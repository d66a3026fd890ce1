"""The messages that the pages show are those of the code: in errors, in the log, and at the Test button."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from docs_pages import DOCS, matches, rows
from docs_scenes import RUN_SCENARIOS, RunScene
from waiting import until

from airflow_provider_trigger.cancel.outcome import CancelOutcome
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.testing import TriggerDevServer


@pytest.fixture
def tls_server(certificate) -> Iterator[TriggerDevServer]:
    """A server whose certificate is signed by itself only."""
    with TriggerDevServer(ssl_certfile=certificate.file, ssl_keyfile=certificate.key) as server:
        yield server


BUTTON: dict[str, Callable[..., Any]] = {
    "is accepted`": lambda server, connect: None,
    "which canceling does not need": lambda server, connect: server.fail_next(status=503),
    "preview key": lambda server, connect: connect(key="tr_preview_x"),
    "certificate": lambda server, connect: connect(host=f"https://127.0.0.1:{server.port}"),
    "is not a Trigger.dev server": lambda server, connect: server.malformed_next(),
}


@pytest.mark.parametrize("shown", [row[0] for row in rows("connection.md", "| it says | what to do |")])
def test_what_the_button_says(shown, server, tls_server, connect):
    server = tls_server if "certificate" in shown else server
    connect()
    (prepare,) = [action for words, action in BUTTON.items() if words in shown]
    prepare(server, connect)
    works, message = TriggerDevHook().test_connection()
    assert works is ("Connected" in shown)
    assert matches(shown, message)


# Outcomes and errors.


def test_outcomes():
    shown = [row[0].strip("`") for row in rows("../README.md", "| outcome | meaning | the task |")]
    assert shown == [outcome.value for outcome in CancelOutcome]


class Scene:
    """What a scenario has at hand."""

    def __init__(self, server: Any, tls_server: Any, connect: Any, execute: Any) -> None:
        self.server, self.tls_server, self.connect, self.execute = server, tls_server, connect, execute
        self.error = ""

    def add_runs(self, count: int, **attributes: Any) -> list[str]:
        return [self.server.add_run(**attributes).id for _ in range(count)]

    def cancel(self, run_ids: Any = None, **options: Any) -> None:
        """Execute the operator; run ids are as they are after rendering, by default those of one new run."""
        run_ids = self.add_runs(1) if run_ids is None else run_ids
        operator = CancelTriggerRunOperator(task_id="cancel", run_ids=run_ids, **options)
        self.error = str(self.execute(operator).error)

    def fail(self, fault: str, *arguments: Any, runs: int = 1, **options: Any) -> None:
        """Let all requests meet a fault."""
        getattr(self.server, fault)(None, *arguments, **options)
        self.cancel(self.add_runs(runs))


# About the task.


def wrong_key(scene: Scene, runs: int = 1) -> None:
    scene.connect(key="tr_prod_wrong")
    scene.cancel(scene.add_runs(runs), max_concurrency=1)


def never_terminated(scene: Scene) -> None:
    runs = scene.add_runs(1, acknowledge_after=None)
    scene.cancel(runs, wait_for_termination=True, termination_timeout=0.2, poll_interval=0.1)


def still_alive(scene: Scene, runs: int = 1) -> None:
    """The server acknowledges cancels that have no effect."""
    run_ids = scene.add_runs(runs)
    for run_id in run_ids:
        answer = f'{{"id": "{run_id}"}}'
        scene.server.malformed_next(None, answer, "application/json", path=f"{run_id}/cancel")
    scene.cancel(run_ids)


# About one run.


def out_of_time(scene: Scene) -> None:
    scene.server.latency = 0.2
    CancelTriggerRunNotifier(run_ids=scene.add_runs(10), timeout=1.0, max_concurrency=1).notify({})


def stopped_while(scene: Scene, path: str, runs: int = 1) -> None:
    """Stop the operator, as Airflow does, when the server has a request that it does not answer."""
    scene.server.hang_next(None, path=path)
    stopped_when(scene, lambda: any(path in request.path for request in list(scene.server.requests)), runs)


def stopped_when(scene: Scene, condition: Callable[[], bool], runs: int) -> None:
    """Stop the operator, as Airflow does, when a condition holds."""
    operator = CancelTriggerRunOperator(task_id="cancel", run_ids=scene.add_runs(runs))

    def stop() -> None:
        until(condition, "it is to be stopped", limit=30)
        operator.on_kill()

    stopping = threading.Thread(target=stop, daemon=True)
    stopping.start()
    scene.error = str(scene.execute(operator).error)
    stopping.join()


def stopped_before(scene: Scene) -> None:
    operator = CancelTriggerRunOperator(task_id="cancel", run_ids=scene.add_runs(1))
    operator.on_kill()
    scene.error = str(scene.execute(operator).error)


def bulk_action_without_answer(scene: Scene) -> None:
    scene.server.latency = 0.05
    scene.server.hang_next(None, path="bulk-actions")
    CancelTriggerRunNotifier(run_ids=scene.add_runs(301), timeout=4, max_concurrency=1).notify({})


def bulk_action_off(scene: Scene) -> None:
    """Stop once a check has shown that it has not begun."""
    scene.server.bulk_duration = None
    path = "/bulk-actions/"
    stopped_when(
        scene,
        lambda: any(path in request.path and request.status for request in list(scene.server.requests)),
        runs=301,
    )


def not_readable_yet(scene: Scene) -> None:
    scene.server.fail_next(None, 404, method="GET", headers={"x-should-retry": "false"})
    scene.cancel()


def no_answer(scene: Scene) -> None:
    scene.connect(timeout=0.2, retry_for=0)
    scene.fail("hang_next")


def bad_certificate(scene: Scene) -> None:
    scene.connect(host=scene.tls_server.url)
    scene.cancel("run_a")


def no_proxy(scene: Scene) -> None:
    scene.connect(host="http://trigger.example.com", proxy="http://127.0.0.1:9", retry_for=0)
    scene.cancel("run_a")


def used_up(scene: Scene) -> None:
    scene.connect(retry_for=10)
    scene.server.rate_limit_next(reset_after=5)
    scene.cancel(scene.add_runs(2), max_concurrency=1)


JSON = "application/json"

# A part of a message that the page shows, and what makes the code say it. The longest part decides.
SCENARIOS: dict[str, tuple[Callable[[Scene], object], ...]] = {
    "No run ids were found": (lambda scene: scene.cancel([]),),
    "may still run (status": (
        still_alive,
        lambda scene: still_alive(scene, runs=2),
        lambda scene: scene.fail("fail_next", 503),
        lambda scene: scene.fail("fail_next", 503, runs=2),
    ),
    "is not confirmed": (lambda scene: stopped_while(scene, "/api/v3/runs", runs=30),),
    "not found:": (lambda scene: scene.cancel("run_a"),),
    "not terminated within": (never_terminated,),
    # A run: what was done.
    "not sent:": (out_of_time,),
    "cancel failed:": (lambda scene: scene.fail("fail_next", 503),),
    "not acknowledged": (lambda scene: stopped_while(scene, "/cancel"),),
    "cancel requested, but the status": (lambda scene: stopped_while(scene, "/api/v3/runs"),),
    "bulk action…, but the status": (
        lambda scene: stopped_while(scene, "/api/v3/runs", runs=301),
        bulk_action_without_answer,
    ),
    "which has handled no run": (bulk_action_off,),
    "requested; status check failed": (lambda scene: scene.fail("fail_next", 503, method="GET"),),
    "still EXECUTING after": (still_alive,),
    # A run: why.
    "the time limit was reached": (out_of_time,),
    "canceling was stopped": (stopped_before,),
    "the secret key was rejected": (lambda scene: wrong_key(scene, runs=3),),
    "answered 401": (wrong_key,),
    "answered 403": (lambda scene: scene.fail("fail_next", 403),),
    "answered 404": (not_readable_yet,),
    "status check failed": (not_readable_yet,),
    "answered 429": (lambda scene: scene.fail("rate_limit_next", 1),),
    "answered 500": (lambda scene: scene.fail("fail_next", 500),),
    "stopped responding": (lambda scene: scene.fail("redirect_next", runs=40),),
    "answered 503": (lambda scene: scene.fail("fail_next", 503),),
    "no answer within": (no_answer,),
    "not a Trigger.dev server": (
        lambda scene: scene.fail("fail_next", 404, body={"error": "no route"}),
        lambda scene: scene.fail("malformed_next"),
        lambda scene: scene.fail("malformed_next", "[]", JSON),
    ),
    "answered 302": (lambda scene: scene.fail("redirect_next"),),
    "certificate": (bad_certificate,),
    "the proxy rejected": (no_proxy,),
}


def messages(page: str, *headings: str) -> list[str]:
    """Return what is shown in the first columns of some tables."""
    cells = [row[0] for heading in headings for row in rows(page, heading)]
    return [text for cell in cells for text in re.findall(r"`(.+?)`", cell)]


SHOWN = messages(
    "outcomes.md",
    "| message | what to do |",
    "| message about one run | what it means |",
    "| reason | what to do |",
)


def part_of(shown: str) -> str:
    """Return what decides about the scenarios of a message."""
    return max((part for part in (*SCENARIOS, *RUN_SCENARIOS) if part in shown), key=len)


CASES: list[tuple[str, Any]] = [
    (shown, scenario) for shown in SHOWN for scenario in {**SCENARIOS, **RUN_SCENARIOS}[part_of(shown)]
]


@pytest.mark.parametrize(("shown", "scenario"), CASES, ids=[shown for shown, _ in CASES])
@pytest.mark.usefixtures("quick_checks", "connection")
def test_what_the_log_says(shown, scenario, server, tls_server, connect, execute, run_try, meanwhile, said):
    connect(retry_for=0.3)
    scene: Any = RunScene(server, run_try, meanwhile)
    if part_of(shown) in SCENARIOS:
        scene = Scene(server, tls_server, connect, execute)
    scenario(scene)
    assert matches(shown, f"{said.text}\n{scene.error}")


def test_the_log_says_that_the_rate_limit_is_used_up(server, tls_server, connect, execute, said):
    (shown,) = re.findall(r"`(Waiting … s for the rate limit)`", (DOCS / "limits.md").read_text())
    used_up(Scene(server, tls_server, connect, execute))
    assert matches(shown, said.text)


def test_no_scenario_is_left_over():
    assert not set(SCENARIOS) & set(RUN_SCENARIOS)
    assert set(map(part_of, SHOWN)) == {*SCENARIOS, *RUN_SCENARIOS}
