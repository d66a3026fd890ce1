"""What the pages say that the code says, is what it says: in errors, in the log, and at the Test button."""

from __future__ import annotations

import ast
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from docs_pages import DOCS, ROOT, matches, rows
from docs_scenes import RUN_SCENARIOS, RunScene
from requests import exceptions

from airflow_provider_trigger.api.client import ERRORS, TriggerDevClient
from airflow_provider_trigger.api.endpoints.runs import cancel_run
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.models import run_errors, runs
from airflow_provider_trigger.api.settings import ServerSettings
from airflow_provider_trigger.api.transport_errors import transport_error
from airflow_provider_trigger.cancel import workers
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
    "check the password": lambda server, connect: connect(key="tr_prod_wrong"),
    "preview key": lambda server, connect: connect(key="tr_preview_x"),
    "lacks a permission": lambda server, connect: server.fail_next(None, status=403),
    "rate limit": lambda server, connect: server.rate_limit_next(),
    "speaks http": lambda server, connect: connect(host=server.url.replace("http", "https")),
    "certificate": lambda server, connect: connect(host=f"https://127.0.0.1:{server.port}"),
    "could not be reached": lambda server, connect: server.stop(),
    "is not a Trigger.dev server": lambda server, connect: server.malformed_next(),
    "failed: …. A status check": lambda server, connect: server.fail_next(None, status=503),
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
    shown = [row[0].strip("`") for row in rows("outcomes.md", "| outcome | meaning | the task |")]
    assert shown == [outcome.value for outcome in CancelOutcome]
    heading = "| outcome | meaning | the task |"
    assert rows("../README.md", heading) == rows("outcomes.md", heading)


class Scene:
    """What a scenario has at hand."""

    def __init__(self, server: Any, tls_server: Any, connect: Any, execute: Any, make_context: Any) -> None:
        self.server, self.tls_server, self.connect = server, tls_server, connect
        self.execute, self.make_context = execute, make_context
        self.error = ""

    def add_runs(self, count: int, **attributes: Any) -> list[str]:
        return [self.server.add_run(**attributes).id for _ in range(count)]

    def cancel(self, run_ids: Any = None, xcoms: Any = None, **options: Any) -> None:
        """Execute the operator; run ids are as they are after rendering, by default those of one new run."""
        if run_ids is None and "xcom_task_ids" not in options:
            run_ids = self.add_runs(1)
        operator = CancelTriggerRunOperator(task_id="cancel", run_ids=run_ids, **options)
        self.error = str(self.execute(operator, xcoms=xcoms).error)

    def notify(self, *, context: Any = None, **options: Any) -> None:
        given: Any = context or {}
        CancelTriggerRunNotifier(**options).notify(given)

    def fail(self, fault: str, *arguments: Any, runs: int = 1, **options: Any) -> None:
        """Let all requests meet a fault."""
        getattr(self.server, fault)(None, *arguments, **options)
        self.cancel(self.add_runs(runs))

    def raised(self, call: Callable[[], Any]) -> None:
        """Keep the text of the error that a call raises."""
        with pytest.raises(TriggerDevError) as raised:
            call()
        self.error = str(raised.value)

    def not_reached(self, error: Exception) -> None:
        """Keep the text for an error that no server can cause at will."""
        where = "POST /cancel to trigger.example.com"
        self.error = str(transport_error(error, where, 30, ERRORS))


# About the task.


def wrong_key(scene: Scene, runs: int = 1) -> None:
    scene.connect(key="tr_prod_wrong")
    scene.cancel(scene.add_runs(runs), max_concurrency=1)


def never_terminated(scene: Scene) -> None:
    runs = scene.add_runs(1, acknowledge_after=None)
    scene.cancel(runs, wait_for_termination=True, termination_timeout=0.2, poll_interval=0.1)


def killed(scene: Scene) -> None:
    scene.server.latency = 0.2
    operator = CancelTriggerRunOperator(task_id="cancel", run_ids=scene.add_runs(1))
    operator.on_kill()
    with pytest.raises(Exception, match="killed") as raised:
        operator.execute(scene.make_context())
    scene.error = str(raised.value)


def fail(*_: Any, **__: Any) -> None:
    raise RuntimeError("the object store is down")


def xcom_is_full(scene: Scene) -> None:
    context = scene.make_context()
    context["ti"].xcom_push = fail
    with pytest.raises(Exception, match="not found"):
        CancelTriggerRunOperator(task_id="cancel", run_ids="run_a").execute(context)


def still_alive(scene: Scene, runs: int = 1) -> None:
    """The server acknowledges cancels that have no effect."""
    run_ids = scene.add_runs(runs)
    for run_id in run_ids:
        answer = f'{{"id": "{run_id}"}}'
        scene.server.malformed_next(None, answer, "application/json", path=f"{run_id}/cancel")
    scene.cancel(run_ids)


def still_alive_and_failing(scene: Scene) -> None:
    (run_id,) = scene.add_runs(1)
    scene.server.malformed_next(1, f'{{"id": "{run_id}"}}', "application/json", path="/cancel")
    scene.server.fail_next(None, 503, path="/cancel")
    scene.cancel([run_id])


# About the sources of run ids.


def none_from_a_task(scene: Scene) -> None:
    operator = CancelTriggerRunOperator(task_id="cancel", run_ids="run_a")
    operator.run_ids = None  # as it is rendered
    scene.execute(operator)


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth else ["run_a"]


def broken_xcom(scene: Scene) -> None:
    context = scene.make_context({"start": None})
    context["ti"].xcom_pull = fail
    operator = CancelTriggerRunOperator(task_id="cancel", xcom_task_ids="start")
    with pytest.raises(Exception, match="cannot be read"):
        operator.execute(context)


def without_xcom(scene: Scene, reason: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"airflow_provider_trigger.sources.xcom.{reason}", lambda *_: True)
        scene.notify(xcom_task_ids="start", context=scene.make_context({"start": None}))


# About one run.


def out_of_time(scene: Scene) -> None:
    scene.server.latency = 0.2
    scene.notify(run_ids=scene.add_runs(10), timeout=1.0, max_concurrency=1)


def killed_while(scene: Scene, path: str, runs: int = 1) -> None:
    """Kill the operator when the server has a request that it does not answer."""
    scene.server.hang_next(None, path=path)
    operator = CancelTriggerRunOperator(task_id="cancel", run_ids=scene.add_runs(runs))

    def kill() -> None:
        while not any(path in request.path for request in list(scene.server.requests)):
            time.sleep(0.01)
        operator.on_kill()

    killing = threading.Thread(target=kill, daemon=True)
    killing.start()
    scene.error = str(scene.execute(operator).error)
    killing.join()


def bulk_action_without_answer(scene: Scene) -> None:
    scene.server.latency = 0.05
    scene.server.hang_next(None, path="bulk-actions")
    scene.notify(run_ids=scene.add_runs(301), timeout=1.5, max_concurrency=1)


def not_readable_yet(scene: Scene) -> None:
    scene.server.fail_next(None, 404, method="GET", headers={"x-should-retry": "false"})
    scene.cancel()


def nobody_listens(scene: Scene) -> None:
    scene.server.stop()
    scene.cancel("run_a")


def no_answer(scene: Scene) -> None:
    scene.connect(timeout=0.2, retry_for=0)
    scene.fail("hang_next")


def bad_certificate(scene: Scene) -> None:
    scene.connect(host=scene.tls_server.url)
    scene.cancel("run_a")


def http_port(scene: Scene) -> None:
    scene.connect(host=scene.server.url.replace("http", "https"))
    scene.cancel("run_a")


def no_ca_file(scene: Scene) -> None:
    settings = ServerSettings(
        base_url="https://127.0.0.1:9", secret_key="k", user_agent="a", verify="/nowhere.pem"
    )
    with TriggerDevClient(settings) as client:
        scene.raised(lambda: client.call(cancel_run("run_a")))


def no_proxy(scene: Scene) -> None:
    scene.connect(host="http://trigger.example.com", proxy="http://127.0.0.1:9", retry_for=0)
    scene.cancel("run_a")


# While it works.


def retried(scene: Scene) -> None:
    scene.connect(retry_for=2)
    scene.server.fail_next()
    scene.cancel()


def used_up(scene: Scene) -> None:
    scene.connect(retry_for=10)
    scene.server.rate_limit_next(reset_after=3.5)
    scene.cancel(scene.add_runs(2), max_concurrency=1)


def slow(scene: Scene) -> None:
    scene.server.latency = 0.3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_PROGRESS_INTERVAL", 0.1)
        scene.cancel()


def unknown_status(scene: Scene) -> None:
    runs._warned_of.clear()
    scene.server.fail_next(None, 200, body={"id": "run_a", "status": "SLEEPING"}, path="/run_a")
    scene.cancel("run_a")


JSON = "application/json"
XCOM_OF_START: dict[str, Any] = {"xcom_task_ids": "start"}

# A part of a message that the page shows, and what makes the code say it. The longest part decides.
SCENARIOS: dict[str, Callable[[Scene], object]] = {
    "No run ids were found": lambda scene: scene.cancel([]),
    "0 Trigger.dev runs - ": lambda scene: scene.cancel([42]),
    "the secret key was rejected: check": wrong_key,
    "was killed": killed,
    "1 run may still run (status EXECUTING)": still_alive,
    "runs may still run (status EXECUTING)": lambda scene: still_alive(scene, runs=2),
    "1 run may still run (status unknown)": lambda scene: scene.fail("fail_next", 503),
    "runs may still run (status unknown)": lambda scene: scene.fail("fail_next", 503, runs=2),
    "could not be read": lambda scene: scene.cancel(["run_a", 42]),
    "not canceled:": lambda scene: scene.fail("fail_next", 503),
    "not found:": lambda scene: scene.cancel("run_a"),
    "None of the runs": lambda scene: scene.cancel("run_a run_b"),
    "not terminated within": never_terminated,
    "results are not in XCom": xcom_is_full,
    # Sources.
    "key 'return_value': it returned": lambda scene: scene.cancel(xcoms={"start": None}, **XCOM_OF_START),
    "key 'ids'": lambda scene: scene.cancel(xcoms={"start": None}, xcom_key="ids", **XCOM_OF_START),
    "run_ids is None": none_from_a_task,
    "rendered to None": lambda scene: scene.cancel("None"),
    "run_ids is an empty list": lambda scene: scene.cancel([]),
    "of task 'start' is an empty list": lambda scene: scene.cancel(xcoms={"start": []}, **XCOM_OF_START),
    "xcom_task_ids is an empty": lambda scene: scene.cancel("run_a", xcom_task_ids="[]"),
    "nothing but None": lambda scene: scene.cancel([None]),
    "run_ids holds no run ids": lambda scene: scene.cancel([{"runs": []}]),
    "of task 'start' holds no": lambda scene: scene.cancel(xcoms={"start": {"runs": []}}, **XCOM_OF_START),
    "Skipped": lambda scene: scene.cancel(["run_a", None]),
    "a run id goes into": lambda scene: scene.cancel(xcoms={"start": None}, xcom_task_ids="run_a"),
    "did you mean": lambda scene: scene.cancel(xcoms={"start": None}, xcom_task_ids="strat"),
    "42 from xcom_task_ids": lambda scene: scene.cancel(xcom_task_ids="[42]"),
    "42 from the XCom": lambda scene: scene.cancel(xcoms={"start": 42}, **XCOM_OF_START),
    "a batch without": lambda scene: scene.cancel({"id": "batch_a", "runCount": 2}),
    "a dict must have": lambda scene: scene.cancel({"name": "a"}),
    "differ": lambda scene: scene.cancel({"id": "a", "run_id": "b"}),
    "template that was not": lambda scene: scene.cancel("{{ ids }}"),
    "double braces": lambda scene: scene.cancel("{ ti.xcom_pull() }"),
    "looks like a list": lambda scene: scene.cancel("['run_a'"),
    "LazySelectSequence": lambda scene: scene.cancel("LazySelectSequence([2 items])"),
    "a URL must be": lambda scene: scene.cancel("https://trigger.example.com/batches"),
    "it is empty": lambda scene: scene.cancel(""),
    "longer than 256": lambda scene: scene.cancel("a" * 257),
    "it is a number": lambda scene: scene.cancel("123"),
    "cannot have": lambda scene: scene.cancel("run_ä"),
    "no letter": lambda scene: scene.cancel("..."),
    "lists within lists": lambda scene: scene.cancel(nested(11)),
    "is it a task's id?": lambda scene: scene.cancel("start"),
    "a batch's id": lambda scene: scene.cancel("batch_a"),
    "of task 'start' cannot be read": broken_xcom,
    "no task instance": lambda scene: scene.notify(**XCOM_OF_START),
    "of this Airflow version": lambda scene: without_xcom(scene, "xcom_is_out_of_reach"),
    "under 'airflow dags test'": lambda scene: without_xcom(scene, "has_no_supervisor"),
    # A run: what was done.
    "not sent:": out_of_time,
    "cancel failed:": lambda scene: scene.fail("fail_next", 503),
    "not acknowledged": lambda scene: killed_while(scene, "/cancel"),
    "cancel requested, but the status": lambda scene: killed_while(scene, "/api/v3/runs"),
    "by bulk action bulk_": lambda scene: killed_while(scene, "/api/v3/runs", runs=301),
    "a bulk action that was not": bulk_action_without_answer,
    "status check failed": lambda scene: scene.fail("fail_next", 503, method="GET"),
    "still EXECUTING after": still_alive,
    "cancel request…; last error: …": still_alive_and_failing,
    # A run: why.
    "the time limit was reached": out_of_time,
    "canceling was stopped": killed,
    "the secret key was rejected": lambda scene: wrong_key(scene, runs=3),
    "stopped responding": lambda scene: scene.fail("redirect_next", runs=40),
    "answered 401": wrong_key,
    "answered 403": lambda scene: scene.fail("fail_next", 403),
    "answered 429": lambda scene: scene.fail("rate_limit_next", 1),
    "answered 500": lambda scene: scene.fail("fail_next", 500),
    "answered 503": lambda scene: scene.fail("fail_next", 503),
    "answered 404": not_readable_yet,
    "answered 404: …: this is not": lambda scene: scene.fail("fail_next", 404, body={"error": "no route"}),
    "answered 302": lambda scene: scene.fail("redirect_next"),
    "without valid JSON": lambda scene: scene.fail("malformed_next"),
    "JSON that is not an object": lambda scene: scene.fail("malformed_next", "[]", JSON),
    "without the run's id": lambda scene: scene.fail("malformed_next", "{}", JSON, path="/cancel"),
    "without 'status'": lambda scene: scene.fail("malformed_next", '{"id": "a"}', JSON, method="GET"),
    "answered another run": lambda scene: scene.fail(
        "malformed_next", '{"id": "run_b", "status": "EXECUTING"}', JSON, method="GET"
    ),
    "more than 16 MB": lambda scene: scene.fail("oversize_next"),
    "Connection refused": nobody_listens,
    "no connection within": lambda scene: scene.not_reached(exceptions.ConnectTimeout()),
    "no answer within": no_answer,
    "connection was lost": lambda scene: scene.fail("truncate_next"),
    "decompressed": lambda scene: scene.fail("fail_next", 200, headers={"content-encoding": "gzip"}),
    "certificate": bad_certificate,
    "speaks http": http_port,
    "TLS connection failed": lambda scene: scene.not_reached(exceptions.SSLError()),
    "CA certificate bundle": no_ca_file,
    "the proxy rejected": no_proxy,
    "the proxy's URL": lambda scene: scene.not_reached(exceptions.InvalidProxyURL()),
    "cannot be the id": lambda scene: scene.raised(lambda: cancel_run("..")),
    # While it works.
    "Canceling": lambda scene: scene.cancel(scene.add_runs(2)),
    "Attempt 1 failed": retried,
    "for the rate limit": used_up,
    "Requested the cancel": slow,
    "runs canceled": lambda scene: scene.cancel(scene.add_runs(301)),
    "unknown run status": unknown_status,
}
HEADINGS = (
    "| message about the task's run | what to do |",
    "| message while a task waits | meaning |",
    "| message about the task | what to do |",
    "| message about a source | what to do |",
    "| message about one run | meaning | what to do |",
    "| reason | meaning | what to do |",
    "| message while it works | meaning |",
)
SHOWN = [
    text
    for heading in HEADINGS
    for row in rows("outcomes.md", heading)
    for text in re.findall(r"`(.+?)`", row[0])
]


def scenario_of(shown: str) -> str:
    return max((part for part in (*SCENARIOS, *RUN_SCENARIOS) if part in shown), key=len)


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.usefixtures("quick_checks", "connection")
def test_what_the_log_says(
    shown, server, tls_server, connect, execute, make_context, run_try, meanwhile, said
):
    connect(retry_for=0.3)
    part = scenario_of(shown)
    scene: Any = RunScene(server, run_try, meanwhile, make_context)
    if part in SCENARIOS:
        scene = Scene(server, tls_server, connect, execute, make_context)
    (SCENARIOS | RUN_SCENARIOS)[part](scene)
    assert matches(shown, f"{said.text}\n{scene.error}")


def test_no_scenario_is_left_over():
    assert not set(SCENARIOS) & set(RUN_SCENARIOS)
    assert set(map(scenario_of, SHOWN)) == {*SCENARIOS, *RUN_SCENARIOS}


def test_what_to_do_about_errors_of_trigger_dev():
    shown = {
        code: text
        for codes, text in rows("outcomes.md", "| code | what to do |")
        for code in re.findall(r"`(\w+)`", codes)
    }
    assert shown == run_errors._ADVICE


# Modules whose texts go into the log, an error or XCom; and texts among them that do not, or not as they are.
WITH_MESSAGES = (
    "api/client.py",
    "api/endpoints/outputs.py",
    "api/endpoints/paths.py",
    "api/endpoints/runs.py",
    "api/endpoints/tasks.py",
    "api/exchange.py",
    "api/models/runs.py",
    "api/responses.py",
    "api/transport_errors.py",
    "cancel/bulk.py",
    "cancel/outcome.py",
    "cancel/schedule.py",
    "cancel/workers.py",
    "hooks/runs.py",
    "links/run.py",
    "notifications/cancel.py",
    "operators/cancel.py",
    "operators/base.py",
    "operators/conclusion.py",
    "operators/one_run.py",
    "operators/rendered.py",
    "operators/replay.py",
    "operators/run.py",
    "cancel_report.py",
    "run/checks.py",
    "run/describe.py",
    "run/drive.py",
    "run/ending.py",
    "run/event.py",
    "run/find.py",
    "run/wait.py",
    "run/request.py",
    "run/output.py",
    "run/cancel_guard.py",
    "run/start.py",
    "sensors/run.py",
    "sources/run_ids.py",
    "sources/started.py",
    "sources/xcom.py",
    "triggers/clients.py",
    "triggers/ended.py",
    "triggers/run.py",
)
NOT_SHOWN = {
    "canceling has ended",  # when all requests are done, there is always a better reason
    "neither JSON nor a Python literal",  # caught
    "a dict of",  # in the place of a value
    "Trigger.dev task unknown",  # in the place of a task's id
    "that cannot be shown>",  # the same
    "no content type",  # in the place of a content type
    "Resource not found",  # the server's
    "Run not found",  # the server's
    "see the connection's 'verify'",  # in the place of a certificate's reason, which Python always gives
    "must be 'fail' or 'ignore', not",  # when the Dag is parsed
    "run_id must be the id of a run, not",  # the same
    "task_identifier must be",  # the same, on another page
    "the id of a Trigger.dev task, not",  # the same
    "an idempotency key",  # one that cannot be sent is an error of the argument before
    "No runs found with idempotency key",  # the server's
    "Canceled by Apache Airflow",  # the name of a bulk action
    "runs cannot be found by a tag that is empty or has a comma",  # raised by no code of ours
    "created_from must have a time zone, not",  # the same
}


def texts_of(module: str) -> set[str]:
    """Return the texts of a module that have three words or more, without what is filled in."""
    source = (ROOT / "airflow_provider_trigger" / module).read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(source)))
    docstrings = [node.value for node in nodes if isinstance(node, ast.Expr)]
    constants = [node for node in nodes if isinstance(node, ast.Constant) and node not in docstrings]
    texts = [node.value for node in constants if isinstance(node.value, str)]
    parts = [part.strip(" :;,()") for text in texts for part in re.split(r"%s|%\S*[drf]\b", text)]
    return {part for part in parts if len(part.split()) >= 3}


@pytest.mark.parametrize("module", WITH_MESSAGES)
def test_every_message_is_on_the_page(module):
    page = (DOCS / "outcomes.md").read_text(encoding="utf-8")
    assert {text for text in texts_of(module) if text not in page} <= NOT_SHOWN
