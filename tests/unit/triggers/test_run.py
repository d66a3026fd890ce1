"""What triggers keep, what they wait for, and what they do when their task is ended."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.hooks import fetching
from airflow_provider_trigger.hooks.connection import ConnectionNotFoundError
from airflow_provider_trigger.run.wait_settings import WaitSettings
from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.engine.ids import new_id
from airflow_provider_trigger.triggers import background, ended
from airflow_provider_trigger.triggers import run as triggers
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger, event_hold

URL = "https://trigger.test/runs/run_1"
RUN_ARGUMENTS: dict[str, Any] = {
    "trigger_dev_conn_id": "other",
    "run_ids": ["run_1", "run_2"],
    "wait": {
        "run_url": "https://trigger.test/runs/run_1",
        "poll_interval": 7.5,
        "deadline": 1_795_600_000.5,
        "pending_version_timeout": 60.0,
        "patience": 30.0,
        "cancels": False,
        "is_development": True,
        "success_statuses": ["COMPLETED", "EXPIRED"],
        "cancels_others": True,
        "logs_progress": True,
        "logs_end": True,
        "names_completed": True,
    },
    "try_number": 2,
    "not_before": 1_795_600_000.25,
}


async def events_of(trigger: Any) -> Any:
    async with contextlib.aclosing(trigger.run()) as events:
        async for event in events:
            assert json.loads(json.dumps(event.payload)) == event.payload
            return event.payload
    raise AssertionError("no event")


async def event_of(trigger: Any) -> Any:
    """Return what the event says of the only run."""
    [run] = (await events_of(trigger))["runs"]
    return run


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def log(keep_log):
    return keep_log(TriggerDevRunTrigger)


# What is imported, and what is stored


def test_its_import_brings_no_client(parse, heavy: set[str]) -> None:
    parsed = set(
        parse(
            """
            from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger
            TriggerDevRunTrigger(run_ids=["run_1"]).serialize()
            """
        )
    )
    assert "airflow_provider_trigger.triggers.run" in parsed
    assert not parsed & heavy
    others = (".testing", ".run.", ".api.", ".cancel.")
    assert not {name for name in parsed if any(part in name for part in others)}


def test_all_its_arguments_survive() -> None:
    path, kept = TriggerDevRunTrigger(**RUN_ARGUMENTS).serialize()
    assert path == f"{TriggerDevRunTrigger.__module__}.TriggerDevRunTrigger"
    assert kept == RUN_ARGUMENTS
    again = TriggerDevRunTrigger(**json.loads(json.dumps(kept)))
    assert again.serialize() == (path, RUN_ARGUMENTS)
    assert inspect.signature(TriggerDevRunTrigger).parameters.keys() == RUN_ARGUMENTS.keys()


@pytest.mark.parametrize(("count", "is_text"), [(1000, False), (1001, True), (3000, True)])
def test_many_runs_fit_the_64_kb_that_mysql_has_for_its_arguments_once_encrypted(
    count: int, is_text: bool
) -> None:
    run_ids = [new_id("run") for _ in range(count)]
    _, stored = TriggerDevRunTrigger(run_ids=run_ids, wait=RUN_ARGUMENTS["wait"]).serialize()
    assert isinstance(stored["run_ids"], str) is is_text
    assert len(Fernet(Fernet.generate_key()).encrypt(json.dumps(stored).encode())) < 65_536
    assert TriggerDevRunTrigger(**stored).run_ids == run_ids


def test_all_settings_of_a_wait_are_among_its_arguments() -> None:
    assert WaitSettings.from_json(RUN_ARGUMENTS["wait"]).to_json() == RUN_ARGUMENTS["wait"]


def test_arguments_that_an_older_version_did_not_store_have_defaults() -> None:
    assert TriggerDevRunTrigger(run_ids=("run_1",)).serialize()[1] == {
        "run_ids": ["run_1"],
        "trigger_dev_conn_id": "trigger_dev_default",
        "wait": {},
        "try_number": None,
        "not_before": None,
    }


def test_no_attribute_hides_one_of_airflows() -> None:
    # On Airflow 3.3 ``task`` is a read-only property (measured).
    assert "task" not in vars(TriggerDevRunTrigger) | RUN_ARGUMENTS


# The wait for one run


def trigger(run: Any, **wait: Any) -> TriggerDevRunTrigger:
    return TriggerDevRunTrigger(run_ids=[run.id], wait={"poll_interval": 0.02, "patience": 2.0} | wait)


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "CANCELED", "EXPIRED"])
def test_its_event_says_how_the_run_ended_and_not_with_which_output(
    status: str, server, connection: str
) -> None:
    run = server.add_run("EXECUTING", then=[(0.1, status)])
    event = asyncio.run(event_of(trigger(run)))
    assert event.items() >= {"run_id": run.id, "end": "final", "status": status, "error": ""}.items()
    assert "output" not in event
    assert run.cancel_requests == 0


def test_its_event_says_which_try_of_the_task_has_waited(server, connection: str) -> None:
    run = server.add_run("COMPLETED")
    event = asyncio.run(events_of(TriggerDevRunTrigger(run_ids=[run.id], try_number=3)))
    assert event["try_number"] == 3


def test_after_the_deadline_it_cancels_the_run_itself(server, connection: str) -> None:
    run = server.add_run("EXECUTING")
    event = asyncio.run(event_of(trigger(run, deadline=time.time() + 0.1)))
    assert event.items() >= {"run_id": run.id, "end": "timed_out", "status": "CANCELED"}.items()
    assert run.cancel_requests == 1


def test_after_the_deadline_it_leaves_a_run_alone_that_is_not_to_be_canceled(server, connection: str) -> None:
    run = server.add_run("EXECUTING")
    event = asyncio.run(event_of(trigger(run, deadline=time.time(), cancels=False)))
    assert (event["end"], event["status"], run.cancel_requests) == ("timed_out", "EXECUTING", 0)


def test_a_run_without_a_deployed_version_is_canceled(server, connection: str) -> None:
    run = server.add_run("PENDING_VERSION")
    event = asyncio.run(event_of(trigger(run, pending_version_timeout=0.1)))
    assert (event["end"], run.status) == ("no_version", "CANCELED")


def test_a_poll_that_fails_is_not_the_end_of_the_wait(server, connection: str, log) -> None:
    run = server.add_run("EXECUTING", then=[(0.3, "COMPLETED")])
    server.fail_next(2, 500)
    server.disconnect_next()
    assert asyncio.run(event_of(trigger(run)))["status"] == "COMPLETED"
    assert server.pending_faults == 0
    assert len(log.of("warning")) == 1


@pytest.mark.parametrize("logs_end", [True, False])
def test_the_log_has_the_link_and_each_change(logs_end: bool, server, connection: str, log) -> None:
    run = server.add_run("QUEUED")

    async def main() -> None:
        waiting = asyncio.create_task(event_of(trigger(run, run_url=URL, logs_end=logs_end)))
        await until(lambda: len(log.of("info")) == 2)
        run.schedule([(0, "COMPLETED")])
        await waiting

    asyncio.run(main())
    assert log.of("info") == [
        f"Waiting for run {run.id} {URL}",
        f"Run {run.id} is QUEUED",
        *[f"Run {run.id} is COMPLETED, attempt 1 (0.12 s of compute time)"] * logs_end,
    ]


def test_it_keeps_no_payload_of_its_run(server, connection: str, log) -> None:
    server.query = False
    run = server.add_run("EXECUTING", payload="x" * 100_000)

    async def main() -> list[Any]:
        waiting = asyncio.create_task(event_of(trigger(run, poll_interval=None)))
        await until(lambda: len(log.of("info")) == 2)
        kept = [one for one in gc.get_objects() if type(one) is Run and one.id == run.id]
        run.schedule([(0, "COMPLETED")])
        await waiting
        return kept

    kept = asyncio.run(main())
    assert kept
    assert not any("payload" in one.attributes for one in kept)


# When the task is resumed


def started(ago: float) -> Any:
    """Return the context of a task that Airflow started so many seconds ago."""
    return {"ti": SimpleNamespace(start_date=datetime.fromtimestamp(time.time() - ago, UTC))}


@pytest.mark.parametrize(
    ("ago", "least", "most"),
    [
        pytest.param(0.5, defaults.EVENT_HOLD, defaults.EVENT_HOLD, id="on an idle machine"),
        pytest.param(6, 18, defaults.LONGEST_EVENT_HOLD, id="on a busy one"),
        pytest.param(600, defaults.LONGEST_EVENT_HOLD, defaults.LONGEST_EVENT_HOLD, id="deferred again"),
        pytest.param(-600, defaults.EVENT_HOLD, defaults.EVENT_HOLD, id="a clock that was set"),
    ],
)
def test_it_is_held_back_for_longer_where_the_task_needed_long_to_defer(
    ago: float, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "scheduler_knows_resumed_tasks", lambda: False)
    assert least <= event_hold(started(ago)) <= most
    monkeypatch.setattr(triggers, "scheduler_knows_resumed_tasks", lambda: True)
    assert event_hold(started(ago)) == 0


@pytest.mark.parametrize("by_hand", [{}, {"ti": SimpleNamespace()}, {"ti": SimpleNamespace(start_date=None)}])
def test_without_a_start_date_it_is_held_back_as_on_an_idle_machine(
    by_hand: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "scheduler_knows_resumed_tasks", lambda: False)
    assert event_hold(by_hand) == defaults.EVENT_HOLD


# Longer than any test waits, in seconds.
LONG = 3600.0


@pytest.fixture
def in_triggerer(monkeypatch: pytest.MonkeyPatch, connection: str) -> Callable[..., TriggerDevRunTrigger]:
    """Return what makes a trigger as a triggerer does: of what is stored, and with an id."""

    def make(
        run_id: str, *, seconds: float, longest: float = LONG, trigger_id: int | None = 17, **more: Any
    ) -> TriggerDevRunTrigger:
        monkeypatch.setattr(defaults, "LONGEST_EVENT_HOLD", longest)
        arguments = {"wait": {"poll_interval": 0.02, "patience": 2.0}} | more
        before = TriggerDevRunTrigger(run_ids=[run_id], not_before=time.time() + seconds, **arguments)
        made = TriggerDevRunTrigger(**json.loads(json.dumps(before.serialize()[1])))
        made.trigger_id = trigger_id
        return made

    return make


@pytest.mark.parametrize(
    ("seconds", "longest", "trigger_id", "least"),
    [
        pytest.param(0.5, LONG, 17, 0.5, id="its run was quick"),
        pytest.param(-LONG, LONG, 17, 0.0, id="it was deferred long ago, or is on another triggerer now"),
        pytest.param(LONG, 0.5, 17, 0.5, id="the clock of the worker is ahead"),
        pytest.param(LONG, LONG, None, 0.0, id="there is no scheduler, as in dag.test()"),
    ],
)
def test_no_event_is_sent_before_the_scheduler_has_seen_the_deferral(
    server, in_triggerer, seconds: float, longest: float, trigger_id: int | None, least: float
) -> None:
    run, begun = server.add_run("COMPLETED"), time.time()
    made = in_triggerer(run.id, seconds=seconds, longest=longest, trigger_id=trigger_id)
    assert asyncio.run(asyncio.wait_for(event_of(made), 60))["status"] == "COMPLETED"
    assert time.time() - begun >= least


def test_only_the_event_of_a_deadline_waits_and_not_the_cancel(server, in_triggerer, log) -> None:
    run = server.add_run("EXECUTING")

    async def main() -> None:
        made = in_triggerer(run.id, seconds=LONG, wait={"poll_interval": 0.02, "deadline": time.time()})
        event = asyncio.create_task(event_of(made))
        await until(lambda: run.status == "CANCELED")
        await until(lambda: log.of("info")[-1].startswith("Resuming the task in 3"))
        assert not event.done()
        event.cancel()

    asyncio.run(main())


def test_its_failure_waits_too_and_a_stop_does_not(in_triggerer) -> None:
    made = in_triggerer("run_1", seconds=0.5, trigger_dev_conn_id="unknown")
    with pytest.raises(ConnectionNotFoundError):
        asyncio.run(event_of(made))
    assert time.time() >= made.not_before

    async def main() -> None:
        made = in_triggerer("run_1", seconds=LONG, trigger_dev_conn_id="unknown")
        failing = asyncio.create_task(event_of(made))
        await asyncio.sleep(0.2)
        failing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(failing, 20)

    asyncio.run(main())


# The connection


def test_a_connection_that_does_not_exist_is_an_error_at_once() -> None:
    with pytest.raises(ConnectionNotFoundError, match="'unknown'"):
        asyncio.run(event_of(TriggerDevRunTrigger(run_ids=["run_1"], trigger_dev_conn_id="unknown")))


@pytest.mark.parametrize(
    ("seconds_left", "is_fetched"), [(None, True), (60.0, True), (0.02, False), (-60.0, False)]
)
def test_a_connection_is_fetched_again_until_the_deadline_of_the_wait(
    server,
    connection: str,
    log,
    monkeypatch: pytest.MonkeyPatch,
    seconds_left: float | None,
    is_fetched: bool,
) -> None:
    monkeypatch.setattr(fetching, "_PAUSES", (0.01, 0.01))
    fetch = fetching.fetch_on_loop
    errors = [OSError("tr_prod_secret"), *[TimeoutError("the vault is sealed")] * 7]

    async def fail_first(conn_id: str) -> Any:
        if errors:
            raise errors.pop(0)
        return await fetch(conn_id)

    monkeypatch.setattr(fetching, "fetch_on_loop", fail_first)
    run = server.add_run("COMPLETED")
    made = trigger(run, deadline=None if seconds_left is None else time.time() + seconds_left)
    if is_fetched:
        assert asyncio.run(event_of(made))["status"] == "COMPLETED"
    else:
        with pytest.raises(TimeoutError, match="the vault is sealed"):
            asyncio.run(event_of(made))
        assert errors, "it is not fetched any more"
    # Its text may contain values of the connection.
    assert log.of("warning") == ["Could not fetch connection 'trigger_dev_default', trying again: OSError"]


def test_canceled_while_the_connection_is_fetched_it_does_not_interrupt_that(
    monkeypatch: pytest.MonkeyPatch, connection: str
) -> None:
    seen = []
    begun, canceled = asyncio.Event(), asyncio.Event()

    async def fetch(conn_id: str) -> Any:
        begun.set()
        try:
            await canceled.wait()
            seen.append("fetched")
        except asyncio.CancelledError:
            seen.append("interrupted")
            raise

    monkeypatch.setattr(fetching, "fetch_on_loop", fetch)

    async def main() -> None:
        waiting = asyncio.create_task(TriggerDevRunTrigger(run_ids=["run_1"], wait={"cancels": False}).hook())
        await begun.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        canceled.set()
        await until(lambda: seen)

    asyncio.run(main())
    assert seen == ["fetched"]


# The end of its task


async def cancel_while_it_waits(trigger: Any, server: TriggerDevServer) -> None:
    """Cancel a trigger once it has checked its run; it must not swallow that."""
    waiting = asyncio.create_task(event_of(trigger))
    await until(lambda: server.requests)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool, object], list[Any]]:
    """Stand in for Airflow: whether it calls on_kill of triggers, and whether the task is still deferred."""

    def set_up(has_on_kill: bool, answer: object) -> list[Any]:
        questions: list[Any] = []

        def is_still_deferred(*question: Any) -> object:
            questions.append(question)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(triggers, "is_still_deferred", is_still_deferred)
        monkeypatch.setattr(triggers, "triggers_have_on_kill", lambda: has_on_kill)
        monkeypatch.setattr(ended, "_PAUSE", 0.01)
        return questions

    return set_up


def cancel_and_look(run: Any, server: TriggerDevServer, **arguments: Any) -> int:
    """Cancel a run's trigger while it waits; return how often the run was canceled then."""

    async def main() -> None:
        made = trigger(run, **arguments)
        made.task_instance, made.trigger_id = SimpleNamespace(task_id="work"), 17  # type: ignore[assignment]
        await cancel_while_it_waits(made, server)
        await until(lambda: not background._tasks)

    asyncio.run(main())
    return int(run.cancel_requests)


def test_before_airflow_3_3_a_task_that_is_deferred_no_more_was_ended_and_its_run_is_canceled(
    server, connection: str, asked, log
) -> None:
    questions = asked(has_on_kill=False, answer=False)
    run = server.add_run("EXECUTING")
    assert cancel_and_look(run, server) == 1
    [(ti, trigger_id, run_ids)] = questions
    assert (ti.task_id, trigger_id, run_ids) == ("work", 17, [run.id])
    assert f"Canceled run {run.id}, because its task was ended" in log.of("info")


def test_before_airflow_3_3_a_run_is_kept_where_the_task_is_still_deferred(
    server, connection: str, asked, log
) -> None:
    questions = asked(has_on_kill=False, answer=True)
    assert cancel_and_look(server.add_run("EXECUTING"), server) == 0
    assert questions
    assert log.of("warning") == []


def test_before_airflow_3_3_a_run_is_kept_where_nobody_answers_and_the_log_names_it(
    server, connection: str, asked, log
) -> None:
    asked(has_on_kill=False, answer=OSError("the supervisor is gone"))
    run = server.add_run("EXECUTING")
    assert cancel_and_look(run, server) == 0
    [warning] = log.of("warning")
    assert warning.endswith(f"(the supervisor is gone), so that its run continues: {run.id}")


def test_before_airflow_3_3_nobody_is_asked_about_a_run_that_is_not_to_be_canceled(
    server, connection: str, asked
) -> None:
    questions = asked(has_on_kill=False, answer=False)
    assert cancel_and_look(server.add_run("EXECUTING"), server, cancels=False) == 0
    assert questions == []


def test_from_airflow_3_3_on_it_asks_nobody_as_on_kill_is_called(server, connection: str, asked) -> None:
    questions = asked(has_on_kill=True, answer=False)
    assert cancel_and_look(server.add_run("EXECUTING"), server) == 0
    assert questions == []


@pytest.mark.parametrize(("cancels", "requests"), [(True, 1), (False, 0)])
def test_on_kill_cancels_the_run_unless_it_is_not_to_be_canceled(
    cancels: bool, requests: int, server, connection: str
) -> None:
    run = server.add_run("EXECUTING")
    asyncio.run(trigger(run, cancels=cancels).on_kill())
    assert run.cancel_requests == requests


@pytest.mark.parametrize(
    "fault",
    [
        lambda server: server.fail_next(2, 503, path="/cancel"),
        lambda server: server.rate_limit_next(reset_after=1.5, path="/cancel"),
        lambda server: server.delay_next(1, 0.5, path="/cancel", after_handling=False),
    ],
    ids=["503", "429", "slow"],
)
def test_a_cancel_is_finished_although_airflow_cancels_the_trigger_again_and_again(
    fault: Callable[[TriggerDevServer], None], server, connection: str, log
) -> None:
    run = server.add_run("EXECUTING")
    fault(server)

    async def main() -> None:
        killing = asyncio.create_task(trigger(run).on_kill())
        await until(lambda: server.requests)
        killing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await killing
        assert run.status == "EXECUTING"
        await until(lambda: not background._tasks)

    asyncio.run(main())
    assert run.status == "CANCELED"
    assert [text for text in log.of("info") if run.id in text] == [
        f"Canceling run {run.id}, because its task was ended",
        f"Canceled run {run.id}, because its task was ended",
    ]


def test_cleanup_cancels_nothing(server, connection: str) -> None:
    run = server.add_run("EXECUTING")
    asyncio.run(trigger(run).cleanup())
    assert run.cancel_requests == 0


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, " answered 401: "),
        (403, "; check the permissions of the key in the password of connection 'trigger_dev_default'"),
        (404, "connection 'trigger_dev_default' has no such run"),
    ],
)
def test_a_cancel_that_fails_is_logged_with_its_reason_and_not_raised(
    status: int, reason: str, server, connection: str, log
) -> None:
    run = server.add_run("EXECUTING")
    server.fail_next(None, status)
    asyncio.run(trigger(run).on_kill())
    [error] = log.of("error")
    assert error.startswith(f"Run {run.id} may still be running: ")
    assert reason in error


# The wait for several runs


def runs_trigger(*runs: Any, **wait: Any) -> TriggerDevRunTrigger:
    settings = {"poll_interval": 0.02, "cancels": False, "success_statuses": ["COMPLETED"]}
    return TriggerDevRunTrigger(run_ids=[run.id for run in runs], wait=settings | wait)


def statuses(event: Any) -> dict[str, str]:
    return {run["run_id"]: run["status"] for run in event["runs"]}


def test_it_waits_until_all_runs_have_ended(server, connection: str) -> None:
    late = server.add_run("EXECUTING", then=[(0.3, "COMPLETED")])
    done = server.add_run("COMPLETED")
    event = asyncio.run(events_of(runs_trigger(late, done)))
    assert list(statuses(event).items()) == [(late.id, "COMPLETED"), (done.id, "COMPLETED")]


def test_the_first_run_that_did_not_end_as_it_should_ends_the_wait(server, connection: str) -> None:
    endless, done = server.add_run("EXECUTING"), server.add_run("COMPLETED")
    failing = server.add_run("EXECUTING", then=[(0.2, "FAILED")])
    event = asyncio.run(events_of(runs_trigger(endless, failing, done)))
    assert statuses(event) == {failing.id: "FAILED", done.id: "COMPLETED"}
    assert endless.cancel_requests == 0


def test_which_statuses_count_as_success_is_a_setting(server, connection: str) -> None:
    expired, late = server.add_run("EXPIRED"), server.add_run("EXECUTING", then=[(2, "COMPLETED")])
    assert statuses(asyncio.run(events_of(runs_trigger(expired, late)))) == {expired.id: "EXPIRED"}
    for settings in ({"success_statuses": ["COMPLETED", "EXPIRED"]}, {"success_statuses": None}):
        event = asyncio.run(events_of(runs_trigger(expired, late, **settings)))
        assert statuses(event) == {expired.id: "EXPIRED", late.id: "COMPLETED"}


def test_runs_that_completed_are_only_counted_where_they_need_no_name(server, connection: str) -> None:
    done, failed = [server.add_run("COMPLETED") for _ in range(2)], server.add_run("FAILED")
    trigger = runs_trigger(*done, failed, success_statuses=None, names_completed=False)
    event = asyncio.run(events_of(trigger))
    assert (statuses(event), event["completed"]) == ({failed.id: "FAILED"}, 2)


def test_canceled_it_leaves_all_runs_and_no_task_behind(server, connection: str) -> None:
    runs = [server.add_run("EXECUTING") for _ in range(3)]

    async def main() -> None:
        await cancel_while_it_waits(runs_trigger(*runs), server)
        await until(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(main())
    assert [run.cancel_requests for run in runs] == [0, 0, 0]


def test_the_others_are_canceled_if_that_is_wanted(server, connection: str) -> None:
    endless = server.add_run("EXECUTING")
    failing = server.add_run("EXECUTING", then=[(0.1, "FAILED")])
    event = asyncio.run(events_of(runs_trigger(endless, failing, cancels_others=True)))
    assert statuses(event) == {endless.id: "CANCELED", failing.id: "FAILED"}
    assert [run["end"] for run in event["runs"]] == ["not_needed", "final"]
    assert [run["is_canceled"] for run in event["runs"]] == [True, False]
    assert endless.cancel_requests == 1


def test_when_its_task_is_ended_all_its_runs_are_canceled_and_many_are_counted(
    server, connection: str, log
) -> None:
    runs = [server.add_run("EXECUTING") for _ in range(11)]
    ended = server.add_run("COMPLETED")
    asyncio.run(runs_trigger(*runs, ended, cancels=True).on_kill())
    assert {run.status for run in runs} == {"CANCELED"}
    assert log.of("info") == [
        "Canceling 12 runs, because their task was ended",
        "Canceled 11 runs, because their task was ended",
        f"Run {ended.id} was COMPLETED before its cancel",
    ]


def test_a_connection_that_cannot_be_fetched_is_logged_without_its_values(
    monkeypatch: pytest.MonkeyPatch, log
) -> None:
    async def fail(conn_id: str) -> Any:
        raise OSError("tr_prod_secret")

    monkeypatch.setattr(fetching, "_PAUSES", ())
    monkeypatch.setattr(fetching, "fetch_on_loop", fail)
    asyncio.run(TriggerDevRunTrigger(run_ids=["run_0"]).on_kill())
    assert log.of("error") == [
        "Run run_0 may still be running: cancel failed: OSError. Unless a retry waits for it, cancel it in "
        "the dashboard"
    ]


def test_a_connection_that_does_not_exist_is_named_where_its_runs_are_not_canceled(log) -> None:
    asyncio.run(TriggerDevRunTrigger(run_ids=["run_1"], trigger_dev_conn_id="unknown").on_kill())
    [error] = log.of("error")
    assert "'unknown' was not found" in error
