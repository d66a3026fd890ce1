from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from fake_airflow import TaskInstance
from fake_clock import Clock
from fake_log import Log

from airflow_provider_trigger._compat import AirflowNotFoundException, BaseNotifier, BaseOperator
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.cancel.settings import CancelSettings
from airflow_provider_trigger.hooks.connection import InvalidConnectionError
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.notifications import cancel as notifications
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.sources import arguments
from airflow_provider_trigger.sources.run_ids import RunIds
from airflow_provider_trigger.sources.xcom import gather

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow.models.dag import DAG

UNKNOWN = (404, {"error": "Run not found"})
CONNECTION = {"conn_type": "trigger_dev", "host": "trigger.test", "password": "tr_prod_marker"}


class Notifier(CancelTriggerRunNotifier):
    """The notifier, with a log of its own."""

    log: Any = Log()


@pytest.fixture
def log() -> Log:
    log = Notifier.log = Log()
    return log


@pytest.fixture
def runs(wire, answer, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the runs of a server behind the default connection: run id to what it answers."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_TRIGGER_DEV_DEFAULT", json.dumps(CONNECTION | {"extra": {"retry_for": 0}})
    )
    known: dict[str, Any] = {}

    def script(request: Any) -> Any:
        run_id = request.url.split("/runs/")[1].split("/")[0]
        return answer(*known.get(run_id, (200, {"id": run_id, "status": "CANCELED"})))

    wire.script = script
    return known


def context(**fields: Any) -> Any:
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        for task_id in ("start", "more"):
            BaseOperator(task_id=task_id)
    return {"dag": dag} | fields


def with_xcom(**pushed: Any) -> Any:
    """Build the context of a Dag's callback, in which a task instance has what tasks pushed."""
    return context(ti=TaskInstance(xcoms=pushed), reason="task_failure")


# What is rejected when the Dag is parsed


def test_arguments_go_by_their_names_only() -> None:
    with pytest.raises(TypeError, match="CancelTriggerRunNotifier takes keyword arguments only, for "):
        CancelTriggerRunNotifier(["run_1"])


def test_the_class_itself_as_a_callback_is_an_error_that_says_what_to_write() -> None:
    callback = CancelTriggerRunNotifier  # on_failure_callback=CancelTriggerRunNotifier
    with pytest.raises(TypeError) as raised:
        callback(context())
    name = "CancelTriggerRunNotifier"
    assert str(raised.value) == (
        f"{name}: nothing was canceled: the callback must be an instance of this class, not the class "
        f"itself; write on_failure_callback={name}() to cancel what the task or the Dag run has started, or, "
        f"for example, {name}(run_ids=...)"
    )


def test_no_templated_field_overwrites_what_airflow_calls_by_the_same_name() -> None:
    taken = {"ti", "dag", "run_id", "conn", "params", "task", "context", "log", "loop"}
    assert not taken & set(CancelTriggerRunNotifier.template_fields)


# Called


def test_one_notifier_cancels_each_dag_runs_own_runs(runs: dict[str, Any], wire, log: Log) -> None:
    notifier = Notifier(run_ids=["run_{{ x }}"])
    for x in ("a", "b"):
        notifier(context(x=x))
    assert wire.targets == [
        "POST /api/v2/runs/run_a/cancel",
        "GET /api/v3/runs/run_a",
        "POST /api/v2/runs/run_b/cancel",
        "GET /api/v3/runs/run_b",
    ]
    assert notifier.run_ids == ["run_{{ x }}"]


def test_a_context_whose_dag_has_no_templates_is_rendered_all_the_same(
    runs: dict[str, Any], wire, log: Log
) -> None:
    serialized = SimpleNamespace(dag_id="d", render_template_as_native_obj=False)
    Notifier(run_ids="run_{{ x }}")({"dag": serialized, "x": "a"})
    assert wire.targets[0] == "POST /api/v2/runs/run_a/cancel"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"variable_start_string": "<<", "variable_end_string": ">>"}, "run_<< x >>"),
        ({"line_statement_prefix": "%"}, "% if x\nrun_a\n% endif"),
        ({"line_comment_prefix": "##"}, "run_a## a comment"),
    ],
)
def test_what_begins_jinja_in_a_dag_is_rendered(options: dict[str, str], text: str, log: Log) -> None:
    dag = DAG(
        "d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), jinja_environment_kwargs=options
    )
    notifier = Notifier(run_ids=[text])
    values: Any = {"dag": dag, "x": "a"}
    notifier.render_template_fields(values)
    assert [one.strip() for one in notifier.run_ids] == ["run_a"]


def test_each_run_gets_a_line_and_all_a_summary(runs: dict[str, Any], log: Log) -> None:
    runs["run_2"] = (400, {"error": "no"})
    Notifier(run_ids=["run_1", "run_2"]).notify(context(run_id="manual_1"))
    assert log.leveled[0] == (
        "info",
        "Dag 'd', Dag run 'manual_1': "
        "run_1 (Trigger.dev task unknown): canceled, CANCELED https://trigger.test/runs/run_1",
    )
    assert [level for level, _ in log.leveled] == ["info", "error", "error"]
    assert log.leveled[1][1].startswith(
        "Dag 'd', Dag run 'manual_1': run_2 (Trigger.dev task unknown): failed, status unknown - "
    )
    assert log.leveled[2][1].startswith(
        "Dag 'd', Dag run 'manual_1': 2 Trigger.dev runs: 1 canceled, 1 failed - "
        "1 run may still run (status unknown); not canceled: run_2: "
    )


def test_a_success_is_not_an_error(runs: dict[str, Any], log: Log) -> None:
    Notifier(run_ids=["run_1"]).notify({})
    assert log.leveled[1:] == [("info", "1 Trigger.dev run: 1 canceled")]


def test_unknown_runs_are_errors(runs: dict[str, Any], log: Log) -> None:
    runs["run_x"] = runs["batch_1"] = UNKNOWN
    Notifier(run_ids=["run_1", "run_x", "batch_1"]).notify({})
    assert [level for level, _ in log.leveled] == ["info", "error", "error", "error"]
    assert log.leveled[-1][1].startswith(
        "3 Trigger.dev runs: 1 canceled, 2 not found - not found: run_x, batch_1 ('batch_1' is a batch's id"
    )


def test_where_no_run_is_found_the_key_may_be_another_environments(runs: dict[str, Any], log: Log) -> None:
    runs["run_x"] = UNKNOWN
    Notifier(run_ids=["run_x"]).notify(context())
    level, text = log.leveled[-1]
    assert level == "error"
    assert "does the secret key of connection 'trigger_dev_default' belong to another environment?" in text


def test_a_rejected_key_is_named_and_not_shown(runs: dict[str, Any], log: Log) -> None:
    runs["run_1"] = (401, {"error": "Invalid API key tr_prod_marker"})
    Notifier(run_ids=["run_1"]).notify(context(run_id="manual_1"))
    level, text = log.leveled[-1]
    assert level == "error"
    assert text.startswith(
        "Dag 'd', Dag run 'manual_1': 1 Trigger.dev run: 1 failed - Connection 'trigger_dev_default': "
        "the secret key was rejected: check the password of connection 'trigger_dev_default'; "
        "1 run may still run (status unknown)"
    )
    assert "tr_prod_marker" not in str(log.leveled)


def call(notifier: Any, given: Any) -> None:
    notifier.notify(given)


def await_it(notifier: Any, given: Any) -> None:
    asyncio.run(notifier.async_notify(given))


BOTH_WAYS = pytest.mark.parametrize("run", [call, await_it], ids=["called", "awaited"])


@BOTH_WAYS
def test_a_malformed_connection_is_raised_and_says_how_many_runs_may_still_run(
    run, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MINE", json.dumps(CONNECTION | {"password": ""}))
    with pytest.raises(InvalidConnectionError, match="field 'password'") as raised:
        run(Notifier(run_ids=["run_1", "run_2"], trigger_dev_conn_id="mine"), context())
    assert str(raised.value).startswith("Dag 'd': Connection 'mine', field 'password': ")
    assert str(raised.value).endswith("; 2 runs may still run")
    assert log.leveled == []  # Airflow logs what a callback raises


@BOTH_WAYS
def test_a_missing_connection_is_raised_and_says_how_to_create_it(run, log: Log) -> None:
    with pytest.raises(AirflowNotFoundException, match="'mine' was not found; create it") as raised:
        run(Notifier(run_ids=["run_1"], trigger_dev_conn_id="mine"), context())
    assert str(raised.value).startswith("Dag 'd': Connection 'mine' was not found; ")
    assert str(raised.value).endswith("; 1 run may still run")
    assert log.leveled == []


def test_called_as_airflow_does_it_only_airflow_logs_a_missing_connection(log: Log) -> None:
    with suppress(AirflowNotFoundException):  # 2.11 does not raise it again
        Notifier(run_ids=["run_1", "run_2"], trigger_dev_conn_id="mine")(context())
    [(_, text)] = log.leveled
    assert text.startswith("Failed to send notification")
    assert text.endswith("; 2 runs may still run")


@BOTH_WAYS
def test_without_ids_the_connection_is_not_fetched(run, log: Log) -> None:
    run(Notifier(run_ids=[], trigger_dev_conn_id="there is no such connection"), context())
    assert log.leveled == [
        ("warning", "Dag 'd': run_ids is an empty list"),
        ("info", "Dag 'd': No run ids were found, so nothing was canceled"),
    ]


# From XCom


def test_ids_of_both_sources_count(runs: dict[str, Any], wire, log: Log) -> None:
    notifier = Notifier(run_ids="run_1", xcom_task_ids=["start", "more"], max_concurrency=1)
    notifier.notify(with_xcom(start=["run_2", "run_1"]))
    cancels = [target for target in wire.targets if target.startswith("POST")]
    assert [target.split("/")[4] for target in cancels] == ["run_1", "run_2"]
    [warning] = log.of("warning")
    assert "'more'" in warning


def test_run_ids_that_became_none_are_named_also_next_to_the_xcom_of_tasks(
    runs: dict[str, Any], log: Log
) -> None:
    notifier = Notifier(run_ids="{{ x }}", xcom_task_ids="start")
    notifier.run_ids = None  # as rendered natively
    notifier.notify(with_xcom(start="run_1"))
    [warning] = log.of("warning")
    assert warning.startswith("Dag 'd': run_ids is None: ")
    log.leveled.clear()
    Notifier(xcom_task_ids="start").notify(with_xcom(start="run_1"))
    assert [level for level, _ in log.leveled] == ["info", "info"]


def test_a_context_without_a_task_instance_has_no_xcom(runs: dict[str, Any], wire, log: Log) -> None:
    Notifier(run_ids="run_1", xcom_task_ids="start").notify(context())
    level, text = log.leveled[0]
    assert level == "error"
    assert "its context has no task instance" in text
    assert "CancelTriggerRunOperator" in text
    assert len(wire.sent) == 2
    level, text = log.leveled[-1]
    assert level == "error"
    assert text.startswith(
        "Dag 'd': 1 Trigger.dev run: 1 canceled - runs whose ids could not be read may still run; "
    )


@pytest.mark.parametrize("error", [ImportError("no supervisor"), RuntimeError("no database access")])
def test_after_an_xcom_that_cannot_be_read_all_others_are_canceled(
    runs: dict[str, Any], wire, log: Log, error: Exception
) -> None:
    Notifier(run_ids="run_1", xcom_task_ids="start").notify(with_xcom(start=error))
    assert f"{type(error).__name__}: {error}" in log.leveled[0][1]
    assert len(wire.sent) == 2
    assert log.leveled[-1][0] == "error"


def test_after_an_error_it_does_not_say_that_nothing_was_canceled(log: Log) -> None:
    Notifier(xcom_task_ids="start").notify(with_xcom(start=RuntimeError("no database access")))
    level, text = log.leveled[-1]
    assert level == "error"
    assert text.startswith("Dag 'd': 0 Trigger.dev runs - runs whose ids could not be read may still run; ")
    assert "nothing was canceled" not in str(log.leveled)


def test_a_task_that_the_dag_does_not_have_is_named(log: Log) -> None:
    Notifier(xcom_task_ids="strat").notify(with_xcom())
    assert log.leveled[0][0] == log.leveled[-1][0] == "error"
    assert "did you mean 'start'?" in log.leveled[0][1]
    assert "nothing was canceled" not in str(log.leveled)


# Time, and the triggerer


class Work:
    """Stands in for a cancellation, and for the hook's context manager that gives it."""

    search = None

    def __init__(self) -> None:
        self.arguments: dict[str, Any] = {}
        self.reads = 0

    @contextmanager
    def give(self, run_ids: list[str], settings: CancelSettings) -> Iterator[Work]:
        self.arguments = {"run_ids": run_ids, "settings": settings}
        yield self

    def run(self, further: Any) -> None: ...

    @property
    def results(self) -> list[CancelResult]:
        self.reads += 1
        return [
            CancelResult(run_id=run_id, outcome=CancelOutcome.FAILED, request="not sent")
            for run_id in self.arguments["run_ids"]
        ]


@pytest.fixture
def work(runs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    monkeypatch.setattr(TriggerDevHook, "cancellation", work.give)
    return work


@BOTH_WAYS
@pytest.mark.parametrize(("spent", "left"), [(0.0, 5.0), (3.0, 2.0), (6.0, 0.0)])
def test_gathering_counts_against_the_time_limit(
    run, spent: float, left: float, work: Work, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()

    def slow_gather(*_: Any, **__: Any) -> RunIds:
        clock.sleep(spent)
        return RunIds(found=["run_1"])

    monkeypatch.setattr(notifications, "time", clock)
    monkeypatch.setattr(arguments, "gather", slow_gather)
    run(Notifier(run_ids="run_1", timeout=5, max_concurrency=7), context())
    settings = CancelSettings(max_concurrency=7, time_limit=left, confirm_from=300)
    assert work.arguments == {"run_ids": ["run_1"], "settings": settings}


def test_very_many_runs_are_reported_in_few_lines(work: Work, log: Log) -> None:
    Notifier(run_ids=[f"run_{number}" for number in range(100_000)])(context())
    assert len(log.leveled) == 101
    assert len(log.leveled[-1][1]) < 1000
    assert work.reads == 1


def test_awaited_it_pulls_xcoms_off_the_event_loop(runs: dict[str, Any], log: Log) -> None:
    threads: list[Any] = []
    given = with_xcom(start="run_1")
    pull = given["ti"].xcom_pull

    def xcom_pull(**options: Any) -> Any:
        threads.append(threading.current_thread())
        return pull(**options)

    given["ti"].xcom_pull = xcom_pull
    asyncio.run(Notifier(xcom_task_ids="start").async_notify(given))
    assert log.leveled[-1] == ("info", "Dag 'd': 1 Trigger.dev run: 1 canceled")
    assert threads != [threading.main_thread()]
    assert len(threads) == 1


def test_awaited_it_needs_no_thread_of_the_event_loop(runs: dict[str, Any], log: Log) -> None:
    given = with_xcom(start="run_1")

    async def while_all_threads_are_taken() -> None:
        executor = ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(executor)
        hold = threading.Event()
        executor.submit(hold.wait)
        try:
            await asyncio.wait_for(Notifier(xcom_task_ids="start").async_notify(given), 10)
        finally:
            hold.set()

    asyncio.run(while_all_threads_are_taken())
    assert log.leveled[-1] == ("info", "Dag 'd': 1 Trigger.dev run: 1 canceled")


def test_awaited_its_thread_keeps_the_context_variables_of_the_triggerers_log(
    work: Work, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger: ContextVar[str] = ContextVar("trigger")
    seen: list[str] = []
    monkeypatch.setattr(Work, "run", lambda *_: seen.append(trigger.get()))

    def seeing_gather(*args: Any, **options: Any) -> RunIds:
        seen.append(trigger.get())
        return gather(*args, **options)

    monkeypatch.setattr(arguments, "gather", seeing_gather)

    async def main() -> None:
        trigger.set("mine")
        await Notifier(run_ids=["run_1"]).async_notify({})

    asyncio.run(main())
    assert seen == ["mine", "mine"]


def test_awaited_it_can_be_canceled_and_its_thread_finishes(
    work: Work, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def run(*_: Any) -> None:
        began.set()
        go_on.wait(10)
        ended.set()

    monkeypatch.setattr(Work, "run", run)

    async def main() -> None:
        task = asyncio.create_task(Notifier(run_ids=["run_1"]).async_notify({}))
        while not began.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not ended.is_set()

    try:
        asyncio.run(main())
    finally:
        go_on.set()
    assert ended.wait(10)
    assert not [text for text in log.lines if "CancelledError" in text]


def test_awaited_it_leaves_no_thread_behind(runs: dict[str, Any], log: Log) -> None:
    asyncio.run(Notifier(run_ids=["run_1"]).async_notify({"deadline": {}}))  # type: ignore[typeddict-unknown-key]
    assert log.leveled[-1] == ("info", "1 Trigger.dev run: 1 canceled")
    for thread in threading.enumerate():
        if thread.name.startswith("trigger-dev"):
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(BaseNotifier, "__await__"), reason="this Airflow has no deadline alerts")
def test_awaited_as_airflow_does_it_it_renders_a_copy(runs: dict[str, Any], wire, log: Log) -> None:
    async def await_it(notifier: Any) -> None:
        await notifier

    values: Any = {"x": "a"}
    notifier = Notifier(run_ids="run_{{ x }}", context=values)
    asyncio.run(await_it(notifier))
    assert wire.targets[0] == "POST /api/v2/runs/run_a/cancel"
    assert notifier.run_ids == "run_{{ x }}"
