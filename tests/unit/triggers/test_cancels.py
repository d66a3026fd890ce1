"""Runs of tasks that were ended are canceled together, whatever becomes of their triggers."""

from __future__ import annotations

import asyncio
import contextvars
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from event_loop import run, until
from fake_log import Log

from airflow_provider_trigger import _compat
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger

pytestmark = pytest.mark.usefixtures("world")


def trigger(*runs: Any, **arguments: Any) -> TriggerDevRunTrigger:
    return TriggerDevRunTrigger(run_ids=[getattr(run, "id", run) for run in runs], **arguments)


@pytest.fixture
def kill(world, log: Log) -> Callable[..., list[str]]:
    """
    End the task of runs; return what is said of their cancel.

    :param key: the key that its trigger has, None for the right one
    :param now: what has changed in the connection since then
    """

    def end(*runs: Any, key: str | None = None, now: dict[str, Any] | None = None) -> list[str]:
        async def main() -> None:
            world.connect(key)
            made = trigger(*runs)
            await made.hook()
            if now is not None:
                world.connect(**now)
            await made.on_kill()

        run(main())
        return [text for text in log.lines if not text.startswith("Canceling ")]

    return end


def canceled(run: Any) -> str:
    return f"Canceled run {run.id}, because the task was ended"


MANY = 21
ADVICE = "Cancel in the dashboard what no retry waits for"
REJECTED = "answered 401: Invalid API key; check the password of connection 'trigger_dev_default'"


def failed(run: Any, why: str) -> str:
    request = "POST /api/v2/runs/…/cancel"
    return f"Run {run.id} may still be running: cancel failed: {request} {why}. {ADVICE}"


@pytest.mark.parametrize("tasks", [1, MANY])
def test_one_bulk_action_cancels_the_runs_of_many(tasks: int, server, connection: str, log: Log) -> None:
    runs = [server.add_run("EXECUTING") for _ in range(MANY)]
    triggers = [trigger(*runs)] if tasks == 1 else [trigger(one) for one in runs]

    async def main() -> None:
        await asyncio.gather(*(one.on_kill() for one in triggers))

    run(main())
    assert {one.status for one in runs} == {"CANCELED"}
    requests = [request.path.partition("?")[0] for request in server.requests if request.method == "POST"]
    assert requests == ["/api/v1/bulk-actions", "/api/v1/query"]
    assert not [request for request in server.requests if request.path.startswith("/api/v3/runs/")]
    if tasks == 1:
        [begin, done] = log.of("info")
        assert begin == f"Canceling 21 runs ({', '.join(run.id for run in runs)}), because the task was ended"
        assert re.fullmatch(r"Canceled 21 runs \((run_\w+, ){9}run_\w+ … and 11 more\), because .*", done)


def test_a_run_whose_cancel_is_under_way_is_not_canceled_twice(server, connection: str) -> None:
    one = server.add_run("EXECUTING")
    server.delay_next(1, 0.5, path="/cancel")

    async def main() -> None:
        first = asyncio.create_task(trigger(one).on_kill())
        await until(lambda: server.requests)
        await asyncio.gather(first, trigger(one).on_kill())

    run(main())
    assert one.cancel_requests == 1


def test_a_cancel_is_finished_after_its_trigger_was_canceled(server, connection: str, log: Log) -> None:
    one = server.add_run("EXECUTING")
    server.fail_next(2, 503, path="/cancel")

    async def main() -> None:
        killing = asyncio.create_task(trigger(one).on_kill())
        await until(lambda: server.requests)
        killing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await killing
        assert one.status == "EXECUTING"
        await until(lambda: one.status == "CANCELED" and len(log.lines) > 1)

    run(main())
    assert one.status == "CANCELED"
    assert log.lines[1:] == [canceled(one)]


def test_a_cancel_survives_a_lack_of_threads(server, kill, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def fail_once(thread: threading.Thread) -> None:
        if thread.name != "trigger-dev-call":  # Airflow's, to fetch the connection
            return start(thread)
        monkeypatch.setattr(threading.Thread, "start", start)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail_once)
    one = server.add_run("EXECUTING")
    assert kill(one) == [canceled(one)]


# The key and the connection


def test_a_failure_says_what_to_do_about_its_connection(server, kill) -> None:
    one = server.add_run("EXECUTING")
    server.fail_next(None, 403)
    [text] = kill(one)
    assert text.startswith(failed(one, "answered 403: Simulated error 403").partition(". Cancel in")[0])
    action = "check the permissions of the key in the password of connection 'trigger_dev_default'"
    assert text.endswith(f"; {action}. {ADVICE}")


def test_a_key_that_was_changed_is_fetched_and_one_that_is_still_wrong_not_sent_again(server, kill) -> None:
    one = server.add_run("EXECUTING")
    assert kill(one, key="tr_prod_old", now={"key": "tr_prod_old"}) == [failed(one, REJECTED)]
    assert len(server.requests) == 2  # the client repeats what was answered with 401 once
    assert kill(one, key="tr_prod_old", now={})[1:] == [canceled(one)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_run_is_canceled_with_its_own_key(server, world, log: Log, order: tuple[int, int]) -> None:
    """The connection has had a typo since the first trigger began."""
    runs = [server.add_run("EXECUTING") for _ in range(2)]
    triggers = [trigger(one) for one in runs]

    async def main() -> None:
        for one, key in zip(triggers, (server.secret_key, "tr_prod_typo"), strict=True):
            world.connect(key)
            await one.hook()
        await asyncio.gather(*(triggers[one].on_kill() for one in order))

    run(main())
    assert canceled(runs[0]) in log.of("info")
    assert log.of("error") == [failed(runs[1], REJECTED)]


@pytest.mark.parametrize("is_back", [True, False])
def test_who_fetches_the_key(is_back: bool, server, kill, monkeypatch: pytest.MonkeyPatch, world) -> None:
    one = server.add_run("EXECUTING")
    trigger: contextvars.ContextVar[str] = contextvars.ContextVar("trigger", default="none")
    seen: list[str] = []
    fetch = _compat.get_async_connection

    async def fail(conn_id: str, **options: Any) -> Any:
        seen.append(trigger.get())
        if len(seen) == 1 or (len(seen) == 3 and is_back):  # the first is by the trigger
            return await fetch(conn_id, **options)
        raise OSError("tr_prod_secret")

    monkeypatch.setattr(_compat, "get_async_connection", fail)
    trigger.set("mine")
    assert kill(one, key="tr_prod_old", now={}) == [canceled(one) if is_back else failed(one, REJECTED)]
    assert (seen[0], set(seen[1:])) == ("mine", {"none"})
    warnings = [text for level, text in world.log.leveled if level == "warning"]
    assert warnings == ["Could not fetch connection 'trigger_dev_default', trying again: OSError"]


def test_a_lost_connection_is_logged_without_its_values(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    async def fail(conn_id: str, **_: Any) -> Any:
        raise OSError("tr_prod_secret")

    run(trigger("run_1", trigger_dev_conn_id="unknown").on_kill())
    assert "'unknown' was not found" in log.of("error")[0]
    monkeypatch.setattr(_compat, "get_async_connection", fail)
    run(trigger("run_0").on_kill())
    assert log.of("error")[1:] == [f"Run run_0 may still be running: cancel failed: OSError. {ADVICE}"]
