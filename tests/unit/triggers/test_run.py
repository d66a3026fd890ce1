"""What triggers keep, what they wait for, and what they do when their task is ended."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import json
import random
import time
from datetime import UTC, datetime, timedelta
from string import ascii_lowercase, digits
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet
from event_loop import run, until

from airflow_provider_trigger import _compat
from airflow_provider_trigger.triggers.base import event_hold
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger
from airflow_provider_trigger.triggers.waitpoint import WaitpointTokenTrigger

URL = "https://trigger.test/runs/run_1"
RUN_ARGUMENTS: dict[str, Any] = {
    "trigger_dev_conn_id": "other",
    "run_ids": ["run_1", "run_2"],
    "wait": {"run_url": URL, "poll_interval": 7.5, "deadline": 1_795_600_000.5, "cancels": True},
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


def test_a_trigger_without_runs_ends_and_disturbs_no_other(server, connection: str) -> None:
    started = server.add_run("EXECUTING", then=[(1, "COMPLETED")])

    async def main() -> list[Any]:
        triggers = (TriggerDevRunTrigger(run_ids=run_ids) for run_ids in ([started.id], []))
        return await asyncio.gather(*map(events_of, triggers))

    one, none = run(main())
    assert [each["status"] for each in one["runs"]] == ["COMPLETED"]
    assert none["runs"] == []


# What is imported, and what is stored


def test_its_import_brings_no_client(parse, heavy: set[str]) -> None:
    parsed = set(
        parse(
            """
            from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger
            TriggerDevRunTrigger(run_ids=["run_1"]).serialize()
            from airflow_provider_trigger.triggers.waitpoint import WaitpointTokenTrigger
            WaitpointTokenTrigger(token_id="waitpoint_1", begun_at=0.0).serialize()
            """
        )
    )
    assert "airflow_provider_trigger.triggers.run" in parsed
    assert not parsed & heavy
    others = (".testing", ".run.", ".api.", ".cancel.")
    assert not {name for name in parsed if any(part in name for part in others)}


def test_all_its_arguments_survive_and_none_hides_an_attribute_of_airflows() -> None:
    path, kept = TriggerDevRunTrigger(**RUN_ARGUMENTS).serialize()
    assert path == f"{TriggerDevRunTrigger.__module__}.TriggerDevRunTrigger"
    assert kept == RUN_ARGUMENTS
    again = TriggerDevRunTrigger(**json.loads(json.dumps(kept)))
    assert again.serialize() == (path, RUN_ARGUMENTS)
    assert inspect.signature(TriggerDevRunTrigger).parameters.keys() == RUN_ARGUMENTS.keys()
    # On Airflow 3.3 ``task`` is a read-only property (measured).
    assert "task" not in vars(TriggerDevRunTrigger) | RUN_ARGUMENTS


def test_all_arguments_of_the_trigger_of_a_token_survive() -> None:
    arguments: dict[str, Any] = {"token_id": "waitpoint_1", "begun_at": 1_795_600_000.5}
    rest = {"trigger_dev_conn_id": "trigger_dev_default", "was_shown": False, "not_before": None}
    assert WaitpointTokenTrigger(**arguments).serialize()[1] == arguments | rest
    arguments |= {"trigger_dev_conn_id": "other", "was_shown": True, "not_before": 1_795_600_000.25}
    path, kept = WaitpointTokenTrigger(**arguments).serialize()
    assert (path, kept) == (f"{WaitpointTokenTrigger.__module__}.WaitpointTokenTrigger", arguments)
    assert inspect.signature(WaitpointTokenTrigger).parameters.keys() == arguments.keys()


@pytest.mark.parametrize(("count", "is_text"), [(1000, False), (1001, True), (3000, True)])
def test_many_runs_fit_the_64_kb_that_mysql_has_for_arguments(count: int, is_text: bool) -> None:
    chance = random.Random(count)
    ends = ["".join(chance.choices(ascii_lowercase + digits, k=12)) for _ in range(count)]
    run_ids = [f"run_cmlocal{number:06}{end}" for number, end in enumerate(ends)]
    _, stored = TriggerDevRunTrigger(run_ids=run_ids, wait=RUN_ARGUMENTS["wait"]).serialize()
    assert isinstance(stored["run_ids"], str) is is_text
    assert len(Fernet(Fernet.generate_key()).encrypt(json.dumps(stored).encode())) < 65_536
    assert TriggerDevRunTrigger(**stored).run_ids == run_ids


def test_arguments_that_an_older_version_did_not_store_have_defaults() -> None:
    assert TriggerDevRunTrigger(run_ids=("run_1",)).serialize()[1] == {
        "run_ids": ["run_1"],
        "trigger_dev_conn_id": "trigger_dev_default",
        "wait": {},
        "try_number": None,
        "not_before": None,
    }


# The wait for one run


def trigger(run: Any, **wait: Any) -> TriggerDevRunTrigger:
    return TriggerDevRunTrigger(run_ids=[run.id], wait={"poll_interval": 0.02, "patience": 2.0} | wait)


def test_its_event_says_which_try_has_waited_and_has_no_output(server, connection: str) -> None:
    one = server.add_run("COMPLETED")
    shown = {"run_id": one.id, "end": "final", "status": "COMPLETED", "error": "", "is_canceled": False}
    event = run(events_of(TriggerDevRunTrigger(run_ids=[one.id], try_number=3)))
    assert event == {"runs": [shown], "try_number": 3}


@pytest.mark.parametrize("logs_end", [True, False])
def test_the_log_has_link_and_changes_but_no_payload(logs_end: bool, server, connection: str, log) -> None:
    server.query = False
    one = server.add_run("QUEUED", payload="x" * 100_000)

    async def main() -> list[Any]:
        waiting = asyncio.create_task(event_of(trigger(one, run_url=URL, logs_end=logs_end)))
        await until(lambda: len(log.of("info")) == 2)
        kept = [seen for seen in gc.get_objects() if type(seen).__name__ == "Run" and seen.id == one.id]
        one.schedule([(0, "COMPLETED")])
        await waiting
        return kept

    kept = run(main())
    assert kept
    assert not any("payload" in seen.attributes for seen in kept)
    assert log.of("info") == [
        f"Waiting for run {one.id} {URL}",
        f"Run {one.id} is QUEUED",
        *[f"Run {one.id} is COMPLETED, attempt 1"] * logs_end,
    ]


# When the task is resumed

SHORTEST, LONGEST = 10.0, 30.0


@pytest.mark.parametrize(
    ("ago", "least", "most"),
    [
        pytest.param(0.5, SHORTEST, SHORTEST, id="on an idle machine"),
        pytest.param(6, 18, LONGEST, id="on a busy one"),
        pytest.param(600, LONGEST, LONGEST, id="deferred again"),
        pytest.param(-600, SHORTEST, SHORTEST, id="a clock that was set"),
        pytest.param(None, SHORTEST, SHORTEST, id="executed by hand"),
    ],
)
def test_it_is_held_back_for_longer_where_the_task_needed_long_to_defer(
    ago: float | None, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    date = None if ago is None else datetime.fromtimestamp(time.time() - ago, UTC)
    context: Any = {"ti": SimpleNamespace(start_date=date)}
    monkeypatch.setattr(_compat, "scheduler_knows_resumed_tasks", lambda: False)
    assert least <= event_hold(context) <= most
    assert event_hold({}) == event_hold({"ti": SimpleNamespace()}) == SHORTEST  # type: ignore[typeddict-item]
    # What an execution_timeout leaves: half of it is for the resumed task.
    left = 30 - max(ago or 0, 0)
    assert event_hold(context, timedelta(seconds=30)) <= max(left / 2, 0)
    monkeypatch.setattr(_compat, "scheduler_knows_resumed_tasks", lambda: True)
    assert event_hold(context) == 0


# The connection


def fail_fetches(monkeypatch: pytest.MonkeyPatch, *given: Exception) -> list[Exception]:
    """Let the next fetches of a connection raise these; return those that are left."""
    fetch, errors = _compat.get_async_connection, list(given)

    async def fail_first(conn_id: str, **options: Any) -> Any:
        if errors:
            raise errors.pop(0)
        return await fetch(conn_id, **options)

    monkeypatch.setattr(_compat, "get_async_connection", fail_first)
    return errors


@pytest.mark.parametrize(
    ("seconds_left", "is_fetched"), [(None, True), (600.0, True), (20.0, False), (-60.0, False)]
)
def test_a_connection_is_fetched_again_until_the_deadline_of_the_wait(
    seconds_left: float | None, is_fetched: bool, server, connection: str, log, monkeypatch
) -> None:
    errors = fail_fetches(monkeypatch, OSError("tr_prod_secret"), *[TimeoutError("the vault is sealed")] * 7)
    deadline = None if seconds_left is None else time.time() + seconds_left
    made = trigger(server.add_run("COMPLETED"), deadline=deadline)
    if is_fetched:
        assert run(event_of(made))["status"] == "COMPLETED"
    else:
        event = run(event_of(made))
        assert (event["end"], event["error"]) == ("no_connection", "TimeoutError")
        assert errors, "it is not fetched any more"
    # Its text may contain values of the connection.
    assert log.of("warning") == ["Could not fetch connection 'trigger_dev_default', trying again: OSError"]


def test_a_connection_that_cannot_be_fetched_is_a_warning_each_5_minutes(
    server, connection: str, log, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_fetches(monkeypatch, *[OSError("sealed")] * 24)
    run(event_of(trigger(server.add_run("COMPLETED"), deadline=time.time() + 3600)))
    assert len(log.of("warning")) == 3, "each 5 minutes"


@pytest.mark.usefixtures("world")
def test_a_cancel_interrupts_no_fetch_of_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def main() -> None:
        begun, may_end = asyncio.Event(), asyncio.Event()

        async def fetch(conn_id: str, **_: Any) -> None:
            begun.set()
            await may_end.wait()
            seen.append(conn_id)

        monkeypatch.setattr(_compat, "get_async_connection", fetch)
        made = TriggerDevRunTrigger(run_ids=["run_1"], wait={"cancels": False})
        waiting = asyncio.create_task(event_of(made))
        await begun.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        may_end.set()
        await until(lambda: seen)

    run(main())
