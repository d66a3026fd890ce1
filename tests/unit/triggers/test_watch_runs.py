"""One watch for each event loop and connection: what it requests, which waits hear of it, when it ends."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fetched_hook import get_hook
from waiting import LONG

from airflow_provider_trigger.api.errors import AuthenticationError
from airflow_provider_trigger.hooks import fetching
from airflow_provider_trigger.run import wait_settings
from airflow_provider_trigger.run.status_watch import StatusWatch
from airflow_provider_trigger.run.steps import Check
from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.triggers import watch, watch_clients
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger
from airflow_provider_trigger.triggers.watch import watch_runs

CONN_ID = "trigger_dev_default"


@pytest.fixture
def connect(server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Set a connection in Airflow, and return its id."""

    def connect(conn_id: str = CONN_ID, **fields: Any) -> str:
        connection = {"conn_type": "trigger_dev", "host": server.url, "password": server.secret_key}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection | fields))
        return conn_id

    connect()
    return connect


def check(*runs: Any, seconds: float = 20.0, **step: Any) -> Check:
    run_ids = tuple(getattr(run, "id", run) for run in runs)
    return Check(run_ids=run_ids, until=time.time() + seconds, **step)


def sent(server: Any) -> Counter[str]:
    return Counter(f"{request.method} {request.path.rsplit('/', 1)[0]}" for request in server.requests)


def status_of(reply: Any) -> str:
    """Return how a run was seen, or why not."""
    return str(getattr(reply, "status", reply))


QUERY, GET = "POST /api/v1", "GET /api/v3/runs"


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(60):
            return await main()

    return asyncio.run(limited())


# What is requested


def test_the_runs_of_all_waits_are_in_one_query_and_none_is_checked_by_itself(server, connect) -> None:
    runs = [server.add_run("EXECUTING") for _ in range(20)]

    async def wait(one: Any) -> Any:
        with watch_runs(await get_hook(CONN_ID)) as listener:
            return dict(await listener.check(check(one)))

    async def main() -> list[dict[str, Any]]:
        return await asyncio.gather(*map(wait, runs))

    assert [next(iter(news.values())).status for news in run(main)] == ["EXECUTING"] * 20
    assert sent(server) == {QUERY: 1}


def test_a_wait_hears_of_an_end_and_of_nothing_before(server, connect) -> None:
    one = server.add_run("EXECUTING", then=[(1, "COMPLETED")])

    async def main() -> list[str]:
        heard: list[str] = []
        with watch_runs(await get_hook(CONN_ID)) as listener:
            while heard[-1:] != ["COMPLETED"]:
                heard += map(status_of, (await listener.check(check(one))).values())
        return heard

    assert run(main) == ["EXECUTING", "COMPLETED"]


def test_what_is_kept_of_a_run_lacks_its_payload(server, connect) -> None:
    server.query = False
    one = server.add_run("COMPLETED", payload="x" * 100_000)

    async def main() -> Any:
        with watch_runs(await get_hook(CONN_ID)) as listener:
            return (await listener.check(check(one)))[one.id]

    assert "payload" not in run(main).attributes


def test_without_news_it_answers_when_the_step_says_so(server, connect) -> None:
    one = server.add_run("EXECUTING")

    async def main() -> dict[str, Any]:
        with watch_runs(await get_hook(CONN_ID)) as listener:
            await listener.check(check(one))
            return dict(await listener.check(check(one, seconds=0.1)))

    assert run(main) == {}


def test_a_fresh_check_is_one_of_its_own(server, connect) -> None:
    runs = [server.add_run("EXECUTING") for _ in range(3)]

    async def main() -> dict[str, Any]:
        with watch_runs(await get_hook(CONN_ID)) as listener:
            return dict(await listener.check(check(*runs, "run_unknown", is_fresh=True)))

    news = run(main)
    assert [news[one.id].status for one in runs] == ["EXECUTING"] * 3
    assert "404" in str(news["run_unknown"])
    assert sent(server)[GET] == 4


def test_where_the_server_has_no_query_each_run_is_checked_by_itself(
    server, connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_SHORTEST_INTERVAL", "_LONGEST_INTERVAL"):  # so that none is due again meanwhile
        monkeypatch.setattr(wait_settings, name, LONG)
    server.query = False
    runs = [server.add_run("EXECUTING") for _ in range(50)]

    async def main() -> set[str]:
        heard: set[str] = set()
        with watch_runs(await get_hook(CONN_ID)) as listener:
            while left := [one for one in runs if one.id not in heard]:
                heard |= (await listener.check(check(*left))).keys()
        return heard

    assert run(main) == {one.id for one in runs}
    assert sent(server) == {QUERY: 1, GET: 50}


# The key and the connection


def count_fetches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    fetched, fetch = [], fetching.fetch_on_loop

    async def get(conn_id: str) -> Any:
        fetched.append(conn_id)
        return await fetch(conn_id)

    monkeypatch.setattr(fetching, "fetch_on_loop", get)
    return fetched


def test_a_key_that_was_changed_is_fetched_once_for_all_waits(
    server, connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [server.add_run("EXECUTING") for _ in range(10)]
    connect(password="tr_prod_old")

    async def main() -> list[dict[str, Any]]:
        hook = await get_hook(CONN_ID)
        connect()
        fetched = count_fetches(monkeypatch)

        async def wait(one: Any) -> Any:
            with watch_runs(hook) as listener:
                return dict(await listener.check(check(one, is_fresh=True)))

        news = await asyncio.gather(*map(wait, runs))
        assert fetched == [CONN_ID]
        return news

    assert [next(iter(one.values())).status for one in run(main)] == ["EXECUTING"] * 10


def test_a_key_that_is_still_wrong_is_an_error_and_fetched_again_only_after_a_while(
    server, connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = server.add_run("EXECUTING")
    connect(password="tr_prod_old")

    async def main() -> None:
        fetched = count_fetches(monkeypatch)
        with watch_runs(await get_hook(CONN_ID)) as listener:
            for _ in range(3):
                news = await listener.check(check(one, is_fresh=True))
                assert isinstance(news[one.id], AuthenticationError)
            assert fetched == [CONN_ID]
            listener._watch.clients._renew_at = 0
            connect()
            news = await listener.check(check(one, is_fresh=True))
            assert status_of(news[one.id]) == "EXECUTING"

    run(main)


def test_a_wrong_key_of_a_wait_that_comes_later_does_not_replace_the_one_that_works(
    server, connect, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = server.add_run("EXECUTING"), server.add_run("EXECUTING")

    async def main() -> None:
        with watch_runs(await get_hook(CONN_ID)) as before:
            connect(password="tr_prod_mistyped")
            for _ in range(2):
                with watch_runs(await get_hook(CONN_ID)) as after:
                    for listener, seen in ((before, one), (after, other)) * 3:
                        news = await listener.check(check(seen, is_fresh=True))
                        assert status_of(news[seen.id]) == "EXECUTING"

    run(main)
    statuses = Counter(request.status for request in server.requests if request.method == "GET")
    assert statuses == {200: 12, 401: 2}, "one call, twice, has shown that it is wrong"
    [warning] = [record.getMessage() for record in caplog.records if "another key" in record.getMessage()]
    begin = f"Connection {CONN_ID!r} has another key now, which is rejected; the one before is used: "
    assert warning.startswith(begin)


@pytest.mark.parametrize("failure", [503, 404])
def test_a_new_key_is_used_once_a_call_with_it_has_worked(server, connect, failure: int) -> None:
    one = server.add_run("EXECUTING")
    connect(password="tr_prod_revoked")

    async def main() -> list[str]:
        with watch_runs(await get_hook(CONN_ID)) as before:
            connect()
            server.fail_next(1, failure)  # it shows nothing
            with watch_runs(await get_hook(CONN_ID)) as after:
                for listener in (before, after):
                    news = await listener.check(check(one, is_fresh=True))
            return [status_of(seen) for seen in news.values()]

    assert run(main) == ["EXECUTING"]


def test_a_key_that_was_rejected_once_is_used_where_the_one_before_is_rejected_too(
    server, connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_clients, "_RENEW_INTERVAL", 0)
    one = server.add_run("EXECUTING")
    connect(password="tr_prod_revoked")

    async def main() -> str:
        with watch_runs(await get_hook(CONN_ID)) as listener:
            connect()
            server.fail_next(4, 401)
            for _ in range(2):
                with watch_runs(await get_hook(CONN_ID)):
                    news = await listener.check(check(one, is_fresh=True))
            return status_of(news[one.id])

    assert run(main) == "EXECUTING"


def test_a_connection_that_leads_elsewhere_after_a_401_is_not_used(server, connect) -> None:
    one = server.add_run("EXECUTING")
    connect(password="tr_prod_revoked")

    async def main(elsewhere: TriggerDevServer) -> None:
        with watch_runs(await get_hook(CONN_ID)) as listener:
            connect(host=elsewhere.url, password=elsewhere.secret_key)
            for _ in range(2):
                news = await listener.check(check(one, is_fresh=True))
                assert isinstance(news[one.id], AuthenticationError)

    with TriggerDevServer() as elsewhere:
        run(lambda: main(elsewhere))
        assert elsewhere.requests == []


def test_a_connection_that_leads_elsewhere_now_has_another_watch(server, connect) -> None:
    one = server.add_run("EXECUTING")

    async def main() -> None:
        with watch_runs(await get_hook(CONN_ID)) as before:
            connect(host="http://127.0.0.1:9")
            with watch_runs(await get_hook(CONN_ID)) as after:
                assert after._watch is not before._watch
                news = await before.check(check(one, is_fresh=True))
            assert status_of(news[one.id]) == "EXECUTING"

    run(main)


def test_a_connection_that_cannot_be_fetched_after_a_401_fails_no_wait(
    server, connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = server.add_run("EXECUTING")
    connect(password="tr_prod_old")

    async def fail(conn_id: str) -> Any:
        raise OSError("the secrets backend is away")

    async def main() -> None:
        with watch_runs(await get_hook(CONN_ID)) as listener:
            with monkeypatch.context() as away:
                away.setattr(fetching, "fetch_on_loop", fail)
                for is_fresh in (True, False):
                    news = await listener.check(check(one, is_fresh=is_fresh))
                    assert isinstance(news[one.id], AuthenticationError)
            monkeypatch.setattr(watch_clients, "_RENEW_AFTER_FAILURE", 0)
            listener._watch.clients._renew_at = 0
            connect()
            news = await listener.check(check(one, is_fresh=True))
            assert status_of(news[one.id]) == "EXECUTING"

    run(main)


def test_a_fresh_check_that_failed_is_followed_by_news(server, connect) -> None:
    one = server.add_run("EXECUTING")
    server.fail_next(1, 503, path="/api/v3/runs/")

    async def main() -> None:
        with watch_runs(await get_hook(CONN_ID)) as listener:
            await listener.check(check(one))
            news = await listener.check(check(one, is_fresh=True))
            assert "503" in status_of(news[one.id]) or "503" in str(news[one.id])
            news = await listener.check(check(one))
            assert status_of(news[one.id]) == "EXECUTING"

    run(main)


# Its begin and its end


def threads_of_calls() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "trigger-dev-call"]


def test_its_last_user_closes_it_and_no_thread_is_left(server, connect) -> None:
    one = server.add_run("EXECUTING")

    async def main() -> None:
        with watch_runs(await get_hook(CONN_ID)) as listener:
            with watch_runs(await get_hook(CONN_ID)):
                await listener.check(check(one))
            clients = listener._watch.clients._clients.values()
            adapters: list[Any] = [client._session.get_adapter(server.url) for client in clients]
            assert any(adapter.poolmanager.pools.keys() for adapter in adapters)
        assert not any(adapter.poolmanager.pools.keys() for adapter in adapters)
        async with asyncio.timeout(20):
            while len(asyncio.all_tasks()) > 1 or threads_of_calls():
                await asyncio.sleep(0.01)

    run(main)


def test_a_wait_that_is_canceled_leaves_it_to_the_others(server, connect) -> None:
    one = server.add_run("EXECUTING", then=[(1, "COMPLETED")])

    async def wait() -> str:
        with watch_runs(await get_hook(CONN_ID)) as listener:
            while True:
                for seen in (await listener.check(check(one))).values():
                    if getattr(seen, "is_final", False):
                        return status_of(seen)

    async def main() -> str:
        canceled, other = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0.3)
        canceled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await canceled
        return await other

    assert run(main) == "COMPLETED"


def test_a_wait_that_is_canceled_does_not_wait_for_its_requests(server, connect) -> None:
    one = server.add_run("EXECUTING")
    server.hang_next(None)

    async def wait() -> None:
        with watch_runs(await get_hook(CONN_ID)) as listener:
            await listener.check(check(one, is_fresh=True))

    async def main() -> list[threading.Thread]:
        waiting = asyncio.create_task(wait())
        while not sent(server)[GET]:
            await asyncio.sleep(0.01)
        waiting.cancel("by the test")
        with pytest.raises(asyncio.CancelledError, match="by the test"):
            await waiting
        return threads_of_calls()

    assert all(thread.daemon and thread.is_alive() for thread in run(main))
    server.stop()


def test_if_it_crashes_its_waits_fail_and_the_next_one_gets_another(
    server, connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = server.add_run("EXECUTING")

    async def main() -> None:
        with watch_runs(await get_hook(CONN_ID)) as listener:
            with monkeypatch.context() as broken:
                broken.setattr(StatusWatch, "next_query", lambda *_: 1 / 0)
                with pytest.raises(RuntimeError, match="ZeroDivisionError"):
                    await listener.check(check(one))
            with watch_runs(await get_hook(CONN_ID)) as other:
                assert await other.check(check(one))

    run(main)


def test_one_that_crashed_takes_no_other_with_it_as_it_ends(
    server, connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = server.add_run("EXECUTING")

    async def main() -> None:
        hook = await get_hook(CONN_ID)
        crashed = watch_runs(hook)
        with monkeypatch.context() as broken:
            broken.setattr(StatusWatch, "next_query", lambda *_: 1 / 0)
            listener = crashed.__enter__()
            with pytest.raises(RuntimeError, match="ZeroDivisionError"):
                await listener.check(check(one))
        with watch_runs(hook) as second:
            crashed.__exit__(None, None, None)
            with watch_runs(hook) as third:
                assert third._watch is second._watch

    run(main)


def test_work_for_several_triggers_sees_no_context_of_one(server, connection: str) -> None:
    """A trigger of Airflow 3.4 acts as its task instance, which a context variable names."""
    runs = [server.add_run("EXECUTING") for _ in range(2)]
    acts_as: contextvars.ContextVar[str | None] = contextvars.ContextVar("acts_as", default=None)
    begun: set[tuple[bool, str]] = set()

    def make_task(loop: Any, work: Any, **options: Any) -> asyncio.Task[Any]:
        given = options.get("context")
        who = acts_as.get() if given is None else given.get(acts_as)
        begun.add((who is not None, getattr(work, "__qualname__", "").rpartition(".")[2]))
        return asyncio.Task(work, loop=loop, **options)

    async def first_event(trigger: TriggerDevRunTrigger) -> Any:
        return await anext(trigger.run())

    async def act(run_id: str) -> None:
        acts_as.set(run_id)
        trigger = TriggerDevRunTrigger(run_ids=[run_id], wait={"cancels": True})
        waiting = asyncio.create_task(first_event(trigger))
        async with asyncio.timeout(20):
            while not sent(server)[QUERY]:
                await asyncio.sleep(0.01)
        waiting.cancel()
        await trigger.on_kill()

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(make_task)
        await asyncio.gather(*(asyncio.create_task(act(run.id)) for run in runs))

    run(main)
    assert {one.status for one in runs} == {"CANCELED"}
    own = {"first_event", "fetch_on_loop", "cancel_runs"}
    assert {work for is_of_one, work in begun if is_of_one} == own
    assert {work for is_of_one, work in begun if not is_of_one} >= {"_work", "_query", "_cancel_gathered"}


def test_each_connection_and_each_event_loop_has_its_own(server, connect) -> None:
    loops_of_others = set(watch._watches)  # of tests whose event loops are not collected yet
    other = connect("other")

    async def main() -> None:
        with watch_runs(await get_hook(CONN_ID)) as first, watch_runs(await get_hook(other)) as second:
            assert first._watch is not second._watch

    run(main)
    run(main)
    assert not any(of_loop for loop, of_loop in watch._watches.items() if loop not in loops_of_others)
