"""Runs of tasks that ended are canceled together, whatever becomes of the triggers."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fake_clock import Clock
from fetched_hook import get_hook
from tenacity import wait_none
from virtual_loop import run_in_virtual_time

from airflow_provider_trigger.api import circuit_breaker, exchange
from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import NotSentError
from airflow_provider_trigger.api.rate_limit import RateLimit
from airflow_provider_trigger.cancel.cancellation import Cancellation
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.cancel.settings import TIME_LIMIT, CancelSettings
from airflow_provider_trigger.defaults import BULK_FROM_AT_A_STOP
from airflow_provider_trigger.hooks import fetching
from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.triggers import background, cancels
from airflow_provider_trigger.triggers.cancels import cancel_runs

CONN_ID = "trigger_dev_default"


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(60):
            return await main()

    return asyncio.run(limited())


def outcomes(results: Any) -> dict[str, str]:
    return {run_id: result.outcome.value for run_id, result in results.items()}


def test_runs_that_are_canceled_together_go_through_one_work(server, connection: str) -> None:
    runs = [server.add_run("EXECUTING") for _ in range(BULK_FROM_AT_A_STOP + 1)]

    async def main() -> list[Any]:
        hook = await get_hook(CONN_ID)
        return await asyncio.gather(*(cancel_runs([one.id], hook) for one in runs))

    results = run(main)
    assert {one for result in results for one in outcomes(result).values()} == {"canceled"}
    posted = [request.path for request in server.requests if request.method == "POST"]
    assert posted == ["/api/v1/bulk-actions", "/api/v1/query"]


@pytest.mark.parametrize("count", [BULK_FROM_AT_A_STOP, BULK_FROM_AT_A_STOP + 1])
def test_many_runs_are_confirmed_by_queries_and_not_by_a_check_of_each(
    server, connection: str, count: int
) -> None:
    runs = [server.add_run("EXECUTING") for _ in range(count)]

    async def main() -> dict[str, CancelResult]:
        return await cancel_runs([one.id for one in runs], await get_hook(CONN_ID))

    assert set(outcomes(run(main)).values()) == {"canceled"}
    checked = [request.path for request in server.requests if request.path.startswith("/api/v3/runs/")]
    assert len(checked) == (count if count <= BULK_FROM_AT_A_STOP else 0)


def test_each_run_has_its_own_outcome(server, connection: str) -> None:
    alive, ended = server.add_run("EXECUTING"), server.add_run("COMPLETED")

    async def main() -> Any:
        return await cancel_runs([alive.id, ended.id, "run_unknown"], await get_hook(CONN_ID))

    assert outcomes(run(main)) == {
        alive.id: "canceled",
        ended.id: "already_completed",
        "run_unknown": "not_found",
    }


def test_a_run_whose_cancel_is_under_way_is_not_canceled_twice(server, connection: str) -> None:
    one = server.add_run("EXECUTING")
    server.delay_next(1, 0.5, path="/cancel")

    async def main() -> None:
        hook = await get_hook(CONN_ID)
        first = asyncio.create_task(cancel_runs([one.id], hook))
        while not server.requests:
            await asyncio.sleep(0.01)
        await asyncio.gather(first, cancel_runs([one.id], hook))

    run(main)
    assert one.cancel_requests == 1


def test_it_continues_when_its_caller_is_canceled(server, connection: str) -> None:
    one = server.add_run("EXECUTING")
    server.fail_next(2, 503, path="/cancel")

    async def main() -> None:
        caller = asyncio.create_task(cancel_runs([one.id], await get_hook(CONN_ID)))
        while not server.requests:
            await asyncio.sleep(0.01)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        while background._tasks:
            await asyncio.sleep(0.01)

    run(main)
    assert one.status == "CANCELED"


@pytest.mark.parametrize("page", ["malformed_next", "redirect_next"])
def test_a_maintenance_page_does_not_end_it(
    server, connection: str, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.setattr(exchange, "wait", wait_none())
    monkeypatch.setattr(circuit_breaker, "PROBE_INTERVAL", 0.01)
    one = server.add_run("EXECUTING")
    getattr(server, page)(30)

    async def main() -> Any:
        return await cancel_runs([one.id], await get_hook(CONN_ID))

    assert outcomes(run(main)) == {one.id: "canceled"}


@pytest.mark.parametrize(("key", "works"), [(None, 1), ("tr_prod_old", 2)])
def test_it_has_a_time_limit_also_with_a_key_that_was_changed(
    server, set_connection, monkeypatch: pytest.MonkeyPatch, key: str | None, works: int
) -> None:
    settings: list[CancelSettings] = []

    class Work(Cancellation):
        def __init__(self, client: Any, run_ids: Any, how: CancelSettings, **options: Any) -> None:
            settings.append(how)
            super().__init__(client, run_ids, how, **options)

    monkeypatch.setattr(cancels, "Cancellation", Work)

    async def main() -> Any:
        set_connection(key or server.secret_key)
        hook = await get_hook(CONN_ID)
        set_connection(server.secret_key)
        return await cancel_runs([server.add_run("COMPLETED").id], hook)

    run(main)
    assert [how.time_limit for how in settings] == [TIME_LIMIT] * works


class Works:
    """
    Stands in for works of cancels: each takes some time, and has a result for each run.

    :param results: of each work in turn, those of its runs
    """

    def __init__(self, clock: Clock, seconds: float, *results: dict[str, CancelResult]) -> None:
        self.clock = clock
        self.seconds = seconds
        self.results = list(results)
        self.done: list[tuple[float, list[str], float]] = []
        """When each began, with which runs, and for how long it might last."""

    async def __call__(
        self, run_ids: list[str], hook: object, *, time_limit: float
    ) -> dict[str, CancelResult]:
        self.done.append((self.clock.now, sorted(run_ids), time_limit))
        await asyncio.sleep(self.seconds)
        results = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        return {run_id: results[run_id] for run_id in run_ids}


def result(run_id: str, outcome: str, *, retryable: bool = False) -> CancelResult:
    request = "cancel failed" if outcome == "failed" else None
    return CancelResult(run_id=run_id, outcome=CancelOutcome(outcome), request=request, retryable=retryable)


@pytest.fixture
def cancel_by(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Let works of a test cancel runs; return a coroutine that cancels some."""

    def start(works: Works) -> Callable[..., Any]:
        monkeypatch.setattr(cancels._Cancels, "_cancel", works)
        return cancel_runs

    return start


def test_a_failure_that_may_pass_is_tried_again_alone_until_the_time_limit(
    hook: Any, virtual_time: Clock, cancel_by: Callable[..., Any]
) -> None:
    """In an outage that answers 500, the client no longer repeats a cancel after half a minute."""
    down, gone = result("run_1", "failed", retryable=True), result("run_2", "failed")
    works = Works(virtual_time, 24.0, {"run_1": down, "run_2": gone})
    begun = virtual_time.now + cancels._GATHER

    async def main() -> tuple[Any, float, Any]:
        cancel = cancel_by(works)
        first = asyncio.create_task(cancel(["run_1"], hook))
        second = await cancel(["run_2"], hook)
        return second, virtual_time.now - begun, await first

    second, took, first = run_in_virtual_time(main(), virtual_time)
    assert (second, took, first) == ({"run_2": gone}, 24, {"run_1": down})
    assert [(at - begun, run_ids, limit) for at, run_ids, limit in works.done] == [
        (0, ["run_1", "run_2"], 120),
        *((26 * number, ["run_1"], 120 - 26 * number) for number in range(1, 5)),
    ]


def test_it_is_tried_again_as_long_as_there_is_any_time_after_the_pause(
    hook: Any, virtual_time: Clock, cancel_by: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancels, "TIME_LIMIT", 2 * cancels._PAUSE + 0.5)
    works = Works(virtual_time, 0.0, {"run_1": result("run_1", "failed", retryable=True)})
    run_in_virtual_time(cancel_by(works)(["run_1"], hook), virtual_time)
    assert [limit for _, _, limit in works.done] == [4.5, 2.5, 0.5]


def test_a_failure_that_has_passed_is_a_cancel(
    hook: Any, virtual_time: Clock, cancel_by: Callable[..., Any]
) -> None:
    down, done = result("run_1", "failed", retryable=True), result("run_1", "canceled")
    works = Works(virtual_time, 24.0, {"run_1": down}, {"run_1": done})
    assert run_in_virtual_time(cancel_by(works)(["run_1"], hook), virtual_time) == {"run_1": done}
    assert len(works.done) == 2


def test_what_ends_a_later_work_is_raised_for_those_that_still_wait_only(
    hook: Any, virtual_time: Clock, cancel_by: Callable[..., Any]
) -> None:
    down, done = result("run_1", "failed", retryable=True), result("run_2", "canceled")
    works = Works(virtual_time, 1.0, {"run_1": down, "run_2": done}, {})  # the second one crashes

    async def main() -> Any:
        cancel = cancel_by(works)
        first = asyncio.create_task(cancel(["run_1"], hook))
        assert await cancel(["run_2"], hook) == {"run_2": done}
        with pytest.raises(KeyError):
            await first
        works.results = [{"run_1": result("run_1", "canceled")}]
        return await cancel(["run_1"], hook)

    assert outcomes(run_in_virtual_time(main(), virtual_time)) == {"run_1": "canceled"}


def test_a_failure_says_what_to_do_about_its_connection(server, connection: str) -> None:
    one = server.add_run("EXECUTING")
    server.fail_next(None, 403)

    async def main() -> Any:
        return await cancel_runs([one.id], await get_hook(CONN_ID))

    assert run(main)[one.id].error.endswith(
        f"; check the permissions of the key in the password of connection {CONN_ID!r}"
    )


def test_each_connection_has_its_own_work_with_one_pace(
    server, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []

    class Client(TriggerDevClient):
        def __init__(self, settings: Any, **options: Any) -> None:
            super().__init__(settings, **options)
            made.append({"url": settings.base_url} | options)

    monkeypatch.setattr(cancels, "TriggerDevClient", Client)
    here = [server.add_run("EXECUTING") for _ in range(3)]
    with TriggerDevServer() as other:
        there = other.add_run("EXECUTING")
        fields = {"conn_type": "trigger_dev", "host": other.url, "password": other.secret_key}
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(fields))

        async def main() -> Any:
            hook = await get_hook(CONN_ID)
            both = cancel_runs([here[0].id], hook), cancel_runs([there.id], await get_hook("other"))
            first, second = await asyncio.gather(*both)
            return first | second | await cancel_runs([one.id for one in here[1:]], hook)

        assert set(outcomes(run(main)).values()) == {"canceled"}
    of_here = [options for options in made if options["url"] == server.url]
    [of_there] = [options for options in made if options["url"] == other.url]
    assert [options["max_connections"] for options in of_here] == [1, 2]
    first_pace, second_pace = (options["rate_limit"] for options in of_here)
    assert isinstance(first_pace, RateLimit)
    assert first_pace is second_pace is not of_there["rate_limit"]


# The key and the connection


@pytest.fixture
def set_connection(server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change the connection."""

    def change(key: str, host: str = server.url, **extra: Any) -> None:
        fields = {"conn_type": "trigger_dev", "host": host, "password": key, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_TRIGGER_DEV_DEFAULT", json.dumps(fields))

    return change


REJECTED = "answered 401: Invalid API key; check the password of connection 'trigger_dev_default'"


def failure(results: dict[str, CancelResult]) -> str:
    """Return why the one run could not be canceled, without the request."""
    [result] = results.values()
    assert (result.outcome.value, result.retryable, result.is_unconfirmed) == ("failed", False, False)
    error = str(result.error)
    assert error.startswith(f"cancel failed: POST /api/v2/runs/{result.run_id}/cancel ")
    return error.partition("/cancel ")[2]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_each_run_is_canceled_with_the_key_of_its_own_hook(server, set_connection, order: Any) -> None:
    """The connection has had a typo since the first trigger began."""
    runs = [server.add_run("EXECUTING") for _ in range(2)]

    async def main() -> Any:
        hooks = []
        for key in (server.secret_key, "tr_prod_typo"):
            set_connection(key)
            hooks.append(await get_hook(CONN_ID))
        first, second = await asyncio.gather(*(cancel_runs([runs[one].id], hooks[one]) for one in order))
        return first | second

    results = run(main)
    assert outcomes(results) == {runs[0].id: "canceled", runs[1].id: "failed"}
    assert failure({runs[1].id: results[runs[1].id]}) == REJECTED


@pytest.mark.parametrize("is_changed", [False, True])
def test_what_is_known_is_kept_where_the_key_is_rejected_for_the_rest(
    server, set_connection, is_changed: bool
) -> None:
    *done, last = (server.add_run("EXECUTING") for _ in range(3))
    server.delay_next(1, 0.3, path=f"{last.id}/cancel")
    server.fail_next(2, 401, path=f"{last.id}/cancel")
    set_connection(server.secret_key)

    async def main() -> Any:
        hook = await get_hook(CONN_ID)
        if is_changed:
            set_connection(server.secret_key, timeout=20)
        return await cancel_runs([one.id for one in (*done, last)], hook)

    last_outcome = "canceled" if is_changed else "failed"
    assert outcomes(run(main)) == {done[0].id: "canceled", done[1].id: "canceled", last.id: last_outcome}
    assert [one.cancel_requests for one in done] == [1, 1]


def test_what_a_bulk_action_has_canceled_is_said_where_the_key_is_rejected_afterwards(
    server, connection: str
) -> None:
    runs = [server.add_run("EXECUTING") for _ in range(30)]
    for path in ("/api/v1/query", "/api/v2/runs/", "/api/v3/runs/"):
        server.fail_next(None, 401, path=path)

    async def main() -> Any:
        return await cancel_runs([one.id for one in runs], await get_hook(CONN_ID))

    results = run(main).values()
    [bulk_id] = server.bulk
    assert {(result.error, result.is_unconfirmed) for result in results} == {
        (
            f"cancel requested by bulk action {bulk_id} (30 of 30 runs canceled), but the status was not "
            f"checked: the secret key was rejected; check the password of connection {CONN_ID!r}",
            True,
        )
    }


def test_a_key_that_was_changed_is_fetched(server, set_connection) -> None:
    one = server.add_run("EXECUTING")

    async def main() -> Any:
        set_connection("tr_prod_old")
        hook = await get_hook(CONN_ID)
        set_connection(server.secret_key)
        return await cancel_runs([one.id], hook)

    assert outcomes(run(main)) == {one.id: "canceled"}


def test_a_key_that_is_still_wrong_is_not_sent_again(server, set_connection) -> None:
    one = server.add_run("EXECUTING")
    set_connection("tr_prod_old")

    async def main() -> Any:
        return await cancel_runs([one.id], await get_hook(CONN_ID))

    assert failure(run(main)) == REJECTED
    assert len(server.requests) == 2  # the client repeats what was answered with 401 once


def test_a_connection_that_leads_elsewhere_now_cancels_nothing_there(server, set_connection) -> None:
    one = server.add_run("EXECUTING")

    async def main(other: TriggerDevServer) -> Any:
        set_connection("tr_prod_old")
        hook = await get_hook(CONN_ID)
        set_connection(other.secret_key, host=other.url)
        return await cancel_runs([one.id], hook)

    with TriggerDevServer() as other:
        assert failure(run(lambda: main(other))) == REJECTED
        assert other.requests == []


def test_the_key_is_fetched_in_no_triggers_context_and_later_where_that_fails(
    server, set_connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fetching, "_PAUSES", (0.0,))
    one = server.add_run("EXECUTING")
    trigger: contextvars.ContextVar[str] = contextvars.ContextVar("trigger", default="none")
    seen: list[str] = []
    fetch = fetching.fetch_on_loop

    async def fail_first(conn_id: str) -> Any:
        seen.append(trigger.get())
        if len(seen) == 1:
            raise OSError("the secrets backend is away")
        return await fetch(conn_id)

    async def main() -> Any:
        trigger.set("that of the first caller")
        set_connection("tr_prod_old")
        hook = await get_hook(CONN_ID)
        set_connection(server.secret_key)
        monkeypatch.setattr(fetching, "fetch_on_loop", fail_first)
        return await cancel_runs([one.id], hook)

    assert outcomes(run(main)) == {one.id: "canceled"}
    assert seen == ["none", "none"]
    ours = [record for record in caplog.records if record.name.startswith("airflow_provider_trigger")]
    assert [record.getMessage() for record in ours if record.levelno == logging.WARNING] == [
        f"Could not fetch connection {CONN_ID!r}, trying again: OSError"
    ]


def test_a_connection_that_cannot_be_fetched_does_not_hide_that_its_key_was_rejected(
    server, set_connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fetching, "_PAUSES", ())
    one = server.add_run("EXECUTING")

    async def fail(conn_id: str) -> Any:
        raise OSError("tr_prod_secret")

    async def main() -> Any:
        set_connection("tr_prod_old")
        hook = await get_hook(CONN_ID)
        monkeypatch.setattr(fetching, "fetch_on_loop", fail)
        return await cancel_runs([one.id], hook)

    assert failure(run(main)) == REJECTED
    assert f"Connection {CONN_ID!r} could not be fetched again (OSError)" in caplog.messages
    assert "tr_prod_secret" not in caplog.text


def test_where_no_thread_can_be_started_the_cancel_follows(
    server, connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, in_thread, failed = server.add_run("EXECUTING"), background.in_thread, list[NotSentError]()

    async def fail_once(work: Any) -> Any:
        if failed:
            return await in_thread(work)
        failed.append(NotSentError("no thread could be started", retryable=True))
        raise failed[0]

    async def main() -> dict[str, CancelResult]:
        return await cancel_runs([one.id], await get_hook(CONN_ID))

    monkeypatch.setattr(cancels, "in_thread", fail_once)
    monkeypatch.setattr(cancels, "_PAUSE", 0.0)
    assert outcomes(run(main)) == {one.id: "canceled"}
