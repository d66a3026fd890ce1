"""The clients of a watch, and their threads: which key they have, how many calls are in flight, their end."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from typing import Any

import pytest
from event_loop import run, until
from fake_clock import Clock
from fetched_hook import get_hook
from waiting import LONG

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import AuthenticationError, NotSentError
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.runs import check_run
from airflow_provider_trigger.hooks import fetching
from airflow_provider_trigger.run.waited import Check
from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.triggers import watch, watch_clients
from airflow_provider_trigger.triggers.background import in_thread
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger
from airflow_provider_trigger.triggers.watch import Listener, watch_runs
from airflow_provider_trigger.triggers.watch_clients import CHECK_CONCURRENCY, CHECKS_RESERVE, WatchClients

CONN_ID = "trigger_dev_default"
CALL = check_run("run_1")


async def check(listener: Listener, one: Any) -> str:
    """Check a run now; return its status, or the name of the error."""
    step = Check(run_ids=(one.id,), until=time.time() + LONG, is_fresh=True)
    reply = (await listener.check(step))[one.id]
    return str(reply.status if isinstance(reply, Run) else type(reply).__name__)


@pytest.fixture
def one(server) -> Any:
    """A run that is EXECUTING."""
    return server.add_run("EXECUTING")


# The key and the connection


def test_a_key_that_was_changed_is_fetched_once_for_all_waits(
    one, set_connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched, fetch = [], fetching.fetch_on_loop

    async def count(conn_id: str) -> Any:
        fetched.append(conn_id)
        return await fetch(conn_id)

    async def main() -> list[str]:
        set_connection("tr_prod_old")
        hook = await get_hook(CONN_ID)
        set_connection()
        monkeypatch.setattr(fetching, "fetch_on_loop", count)
        with watch_runs(hook) as listener:
            return await asyncio.gather(*(check(listener, one) for _ in range(10)))

    assert run(main()) == ["EXECUTING"] * 10
    assert fetched == [CONN_ID]


@pytest.mark.parametrize("error", [None, OSError("tr_prod_secret")])
def test_while_the_key_is_rejected_the_connection_is_fetched_now_and_then(
    error: Exception | None, set_connection, monkeypatch, caplog
) -> None:
    clock, fetched, fetch = Clock(), [], fetching.fetch_on_loop
    monkeypatch.setattr(watch_clients, "time", clock)

    def call(client: TriggerDevClient, *_: Any, **__: Any) -> str:
        if client.settings.secret_key == "tr_prod_new":
            return "accepted"
        sent: dict[str, Any] = {"method": "GET", "path": "/", "request_id": None}
        raise AuthenticationError(**sent, status=401, detail="Invalid API key", retryable=False)

    async def fail(conn_id: str) -> Any:
        fetched.append(conn_id)
        if error is not None:
            raise error
        return await fetch(conn_id)

    async def main() -> None:
        set_connection("tr_prod_old")
        clients: Any = WatchClients(await get_hook(CONN_ID))
        monkeypatch.setattr(fetching, "fetch_on_loop", fail)
        # Three times in the 30 s after which a wait ends as rejected.
        for seconds, count in ((0.0, 1), (9.5, 1), (0.5, 2), (9.5, 2), (0.5, 3)):
            clock.sleep(seconds)
            with pytest.raises(AuthenticationError):
                await clients.call("checks", CALL)
            assert len(fetched) == count
        monkeypatch.setattr(fetching, "fetch_on_loop", fetch)
        set_connection("tr_prod_new")
        clock.sleep(10)
        assert await clients.call("checks", CALL) == "accepted"

    monkeypatch.setattr(TriggerDevClient, "call", call)
    run(main())
    texts = [record.getMessage() for record in caplog.records if record.name == fetching.__name__]
    assert texts == [f"Connection {CONN_ID!r} could not be fetched again (OSError)"] * (3 if error else 0)


def test_a_wait_keeps_the_key_that_it_began_with(server, one, set_connection) -> None:
    server.add_environment("stg", secret_key="tr_stg_other")
    keys = {"tr_stg_other": "NotFoundError", "tr_prod_mistyped": "AuthenticationError"}

    async def main() -> None:
        set_connection()
        with watch_runs(await get_hook(CONN_ID)) as before:
            for key, seen in keys.items():
                set_connection(key)
                with watch_runs(await get_hook(CONN_ID)) as after:
                    assert [await check(each, one) for each in (before, after) * 3] == ["EXECUTING", seen] * 3

    run(main())


@pytest.mark.parametrize("meanwhile", ["tr_stg_other", "tr_prod_mistyped"])
def test_where_the_key_is_rejected_another_one_is_used_once_it_has_shown_the_run(
    server, one, set_connection, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    monkeypatch.setattr(watch_clients, "_RENEW_INTERVAL", 0)
    server.add_environment("stg", secret_key="tr_stg_other")

    async def main() -> list[str]:
        set_connection("tr_prod_revoked")
        with watch_runs(await get_hook(CONN_ID)) as listener:
            set_connection(meanwhile)
            seen = [await check(listener, one)]
            set_connection()
            server.fail_next(4, 401)  # of a gateway
            return [*seen, await check(listener, one), await check(listener, one)]

    assert run(main()) == ["AuthenticationError", "AuthenticationError", "EXECUTING"]


def test_a_connection_that_leads_elsewhere_has_another_watch_and_is_not_used_after_a_401(
    one, set_connection
) -> None:
    async def main(elsewhere: TriggerDevServer) -> None:
        set_connection("tr_prod_revoked")
        with watch_runs(await get_hook(CONN_ID)) as before:
            set_connection(elsewhere.secret_key, host=elsewhere.url)
            assert [await check(before, one) for _ in range(2)] == ["AuthenticationError"] * 2
            with watch_runs(await get_hook(CONN_ID)) as after:
                assert after._watch is not before._watch

    with TriggerDevServer() as elsewhere:
        run(main(elsewhere))
        assert elsewhere.requests == []


def test_each_connection_and_each_event_loop_has_its_own(set_connection) -> None:
    loops_of_others = set(watch._watches)  # of tests whose event loops are not collected yet
    conn_ids = [set_connection(), set_connection(conn_id="other")]

    async def main() -> None:
        first, second = [await get_hook(conn_id) for conn_id in conn_ids]
        with watch_runs(first) as one, watch_runs(second) as other, watch_runs(first) as same:
            assert one._watch is same._watch is not other._watch

    run(main())
    run(main())
    assert not any(of_loop for loop, of_loop in watch._watches.items() if loop not in loops_of_others)


# Calls in flight


def test_each_use_has_its_own_connections_and_pace(hook) -> None:
    clients: Any = WatchClients(hook)._clients
    sizes = {use: client._session.get_adapter("https://")._pool_maxsize for use, client in clients.items()}
    one, many = ("queries",), ("checks", "urgent", "tokens")
    assert sizes == dict.fromkeys(one, 1) | dict.fromkeys(many, CHECK_CONCURRENCY)
    paces = {use: client.exchange._rate_limit for use, client in clients.items()}
    assert len(set(map(id, paces.values()))) == 4
    assert paces["checks"]._reserve == paces["urgent"]._reserve == CHECKS_RESERVE < paces["tokens"]._reserve


def test_calls_whose_callers_are_gone_count_among_those_in_flight_and_those_without_a_thread_do_not(
    hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = list[None](), threading.Event()

    def take(*_: Any, **__: Any) -> None:
        begun.append(None)
        may_end.wait(20)

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        clients = WatchClients(hook)

        def begin() -> list[asyncio.Task[Any]]:
            return [asyncio.create_task(clients.call("urgent", CALL)) for _ in range(CHECK_CONCURRENCY)]

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            errors: Any = await asyncio.gather(*begin(), return_exceptions=True)
        assert {(type(error), error.retryable) for error in errors} == {(NotSentError, True)}
        gone = begin()
        await until(lambda: len(begun) == CHECK_CONCURRENCY)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        later = begin()
        await asyncio.sleep(0.1)
        assert len(begun) == CHECK_CONCURRENCY
        may_end.set()
        await asyncio.gather(*later)

    monkeypatch.setattr(TriggerDevClient, "call", take)
    run(main())


# Its end


def threads_of_calls() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "trigger-dev-call"]


def test_its_last_user_closes_it_and_no_thread_is_left(server, one, set_connection) -> None:
    async def main() -> None:
        set_connection()
        with watch_runs(await get_hook(CONN_ID)) as listener:
            with watch_runs(await get_hook(CONN_ID)) as other:
                await check(other, one)
            assert await check(listener, one) == "EXECUTING"
            clients = listener._watch.clients._clients.values()
            adapters: list[Any] = [client._session.get_adapter(server.url) for client in clients]
            assert any(adapter.poolmanager.pools.keys() for adapter in adapters)
        assert not any(adapter.poolmanager.pools.keys() for adapter in adapters)
        await until(lambda: len(asyncio.all_tasks()) == 1 and not threads_of_calls())

    run(main())


def test_a_wait_that_is_canceled_does_not_wait_for_its_requests(server, one, set_connection) -> None:
    server.hang_next(None)

    async def wait() -> None:
        set_connection()
        with watch_runs(await get_hook(CONN_ID)) as listener:
            await check(listener, one)

    async def main() -> list[threading.Thread]:
        waiting = asyncio.create_task(wait())
        await until(lambda: server.requests)
        waiting.cancel("by the test")
        with pytest.raises(asyncio.CancelledError, match="by the test"):
            await waiting
        return threads_of_calls()

    assert all(thread.daemon and thread.is_alive() for thread in run(main()))
    server.stop()


def test_a_thread_that_outlives_its_event_loop_ends_quietly_and_holds_up_no_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    may_end, threads = threading.Event(), list[threading.Thread]()

    def work() -> None:
        threads.append(threading.current_thread())
        may_end.wait(20)

    async def main() -> None:
        working = asyncio.create_task(in_thread(work))
        await until(lambda: threads)
        working.cancel()

    run(main())
    may_end.set()
    [thread] = threads
    thread.join(20)
    assert errors == []
    assert (thread.name, thread.daemon) == ("trigger-dev-call", True)


def test_the_work_sees_the_context_of_its_caller_and_changes_only_a_copy() -> None:
    """Airflow 3 finds the log of a trigger by its context."""
    trigger = contextvars.ContextVar("trigger", default="none")
    seen: list[str] = []

    def work() -> None:
        seen.append(trigger.get())
        trigger.set("changed")

    async def main() -> str:
        trigger.set("one")
        await in_thread(work)
        return trigger.get()

    assert run(main()) == "one"
    assert seen == ["one"]


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
        await until(lambda: [request for request in server.requests if request.path == "/api/v1/query"])
        waiting.cancel()
        await trigger.on_kill()

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(make_task)
        await asyncio.gather(*(asyncio.create_task(act(each.id)) for each in runs))

    run(main())
    assert {each.status for each in runs} == {"CANCELED"}
    own = {"first_event", "fetch_on_loop", "cancel_runs"}
    assert {work for is_of_one, work in begun if is_of_one} == own
    assert {work for is_of_one, work in begun if not is_of_one} >= {"_work", "_query", "_cancel_gathered"}
