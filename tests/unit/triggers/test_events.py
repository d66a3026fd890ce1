"""The trigger of watchers: its arguments, its events, and what a kill of the triggerer leaves."""

from __future__ import annotations

import asyncio
import functools
import json
import random
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import airflow_has
import pytest
import requests
from calls_in_loop import calls_in_loop
from in_process import Network, client, lost, network, server
from virtual_loop import run_in_virtual_time

import airflow_provider_trigger.ends as reader
from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.http import Request
from airflow_provider_trigger.api.transport import Reply
from airflow_provider_trigger.hooks import fetching
from airflow_provider_trigger.hooks.connection import connection_not_found
from airflow_provider_trigger.testing import TriggerDevServer

if not airflow_has.WATCHERS:
    pytest.skip("this Airflow has no watchers", allow_module_level=True)

from airflow.sdk import Asset, Connection
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse
from triggerer import Database, Triggerer

from airflow_provider_trigger.triggers import ends, positions
from airflow_provider_trigger.triggers.events import TriggerRunEventTrigger

__all__ = ["client", "lost", "network", "server"]

if airflow_has.ASSET_STATES:
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors

needs_states = pytest.mark.skipif(not airflow_has.ASSET_STATES, reason="assets of this Airflow have no state")

GIVEN: dict[str, Any] = {"name": "orders", "task_identifiers": "process-order"}


# Its arguments


def test_what_airflow_stores_is_plain_json_and_the_same_for_equal_arguments() -> None:
    made = TriggerRunEventTrigger(
        name="orders", task_identifiers=("b", "a", "b"), tags="eu", statuses=["FAILED", "COMPLETED"]
    )
    path, arguments = made.serialize()
    assert path == "airflow_provider_trigger.triggers.events.TriggerRunEventTrigger"
    assert arguments == json.loads(json.dumps(arguments))
    assert arguments == {
        "name": "orders",
        "task_identifiers": ["a", "b"],
        "tags": ["eu"],
        "statuses": ["COMPLETED", "FAILED"],
        "trigger_dev_conn_id": "trigger_dev_default",
    }
    assert TriggerRunEventTrigger(**arguments).serialize() == (path, arguments)
    least = TriggerRunEventTrigger(**GIVEN).serialize()[1]
    assert (least["tags"], least["statuses"]) == (None, ["COMPLETED"])
    assert TriggerRunEventTrigger(**least).serialize()[1] == least


FINAL = "it must be one of CANCELED, COMPLETED, CRASHED, EXPIRED, FAILED, SYSTEM_FAILURE, TIMED_OUT"
INVALID: list[tuple[dict[str, Any], str]] = [
    ({"name": " "}, "name must be a string that is not empty, not ' '"),
    ({"task_identifiers": None}, "give task_identifiers, or tags, or both"),
    ({"task_identifiers": []}, "[] from task_identifiers is not a valid task identifier: it must be a "),
    ({"task_identifiers": ["a", 5]}, "it must be a string, not int"),
    ({"tags": "a,b"}, "'a,b' from tags is not a valid tag: it must not be empty, nor have a comma"),
    ({"statuses": []}, "[] from statuses is not a valid final status: it must be a string, or a"),
    ({"statuses": ["EXECUTING"]}, FINAL),
    ({"trigger_dev_conn_id": ""}, "trigger_dev_conn_id must be the id of a connection, not ''"),
]


@pytest.mark.parametrize(("arguments", "error"), INVALID)
def test_an_invalid_argument_is_an_error_when_the_dag_is_parsed(
    arguments: dict[str, Any], error: str
) -> None:
    with pytest.raises(ValueError, match=r"^TriggerRunEventTrigger: ") as raised:
        TriggerRunEventTrigger(**GIVEN | arguments)
    assert error in str(raised.value)


def test_a_parse_costs_no_client(parse, heavy) -> None:
    modules = parse(
        "from airflow_provider_trigger.triggers.events import TriggerRunEventTrigger as Trigger\n"
        "Trigger(name='orders', tags=['eu']).serialize()"
    )
    assert not heavy & set(modules)


def test_it_has_no_on_kill_which_a_pause_would_call() -> None:
    assert "on_kill" not in vars(TriggerRunEventTrigger)


# In virtual time: a triggerer that is killed, and the local server in this process


class World:
    """A triggerer that runs a watcher, its database, and the server."""

    def __init__(self, server, network, clock, log, seed: int) -> None:
        self.server, self.network, self.clock, self.log = server, network, clock, log
        self.chance = random.Random(seed)
        self.database = Database("an asset")
        self.moments: list[float] = []
        """When it was killed or paused."""
        self.longest_answer = 1.0
        self.has_states = False
        """Whether the position is kept in the state of the asset, not in a variable."""
        self.triggerer: Any = None

    def run(self, main: Callable[[], Any]) -> None:
        """Run something in virtual time."""
        run_in_virtual_time(main(), self.clock)

    def start(self, **arguments: Any) -> None:
        """Start a triggerer with the watcher."""
        trigger = TriggerRunEventTrigger(**GIVEN | arguments)
        if self.has_states:
            inlets = [Asset(name=name, uri=f"x://{name}") for name in self.database.states]
            trigger.asset_state_store = AssetStateStoreAccessors(inlets=inlets)
        self.triggerer = Triggerer(self.database, trigger, self.chance, longest=self.longest_answer)

    def kill(self) -> None:
        """Kill the triggerer."""
        self.moments.append(self.clock.now)
        self.triggerer.kill()

    def fail(self, failing: str) -> None:
        """Let Airflow's answers to requests fail whose types begin so."""
        self.database.failure = AirflowRuntimeError(ErrorResponse(error=ErrorType.GENERIC_ERROR))
        self.database.failing = failing

    async def pause(self) -> None:
        """Pause the Dag, until the watcher has ended."""
        self.moments.append(self.clock.now)
        self.triggerer.is_paused = True
        await asyncio.sleep(20)
        self.triggerer.kill()

    def add_ends(self, count: int, within: float = 0, **attributes: Any) -> list[str]:
        """Let runs end at random times, and return their ids."""
        attributes = {"task_identifier": "process-order", "tags": ["eu"]} | attributes
        then = [[(self.chance.uniform(0, within), "COMPLETED")] for _ in range(count)]
        return [self.server.add_run("EXECUTING", then=one, **attributes).id for one in then]

    def add_end(self, name: str, status: str = "COMPLETED", *, after: float = 0.0, **attributes: Any) -> Any:
        """Let a run end after so many seconds, and return it."""
        attributes = {"task_identifier": "process-order", "run_id": f"run_{name}"} | attributes
        return self.server.add_run("EXECUTING", then=[(after, status)], **attributes)

    async def hear(self, seconds: float, **arguments: Any) -> list[str]:
        """Watch in addition for so many seconds; return the names of the runs of the events, in order."""
        heard = list[str]()

        async def watch() -> None:
            async for event in TriggerRunEventTrigger(**GIVEN | arguments).run():
                heard.append(event.payload["run_id"].removeprefix("run_"))

        watching = asyncio.ensure_future(watch())
        await asyncio.sleep(seconds)
        watching.cancel()
        return heard

    @property
    def events(self) -> dict[str, list[float]]:
        """When Airflow stored events, by the runs' ids."""
        found: dict[str, list[float]] = {}
        for at, payload in self.database.events:
            found.setdefault(payload["run_id"], []).append(at)
        return found


@pytest.fixture
def world(server, network, client, clock, keep_log, monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    async def fetch(conn_id: str) -> Any:
        await asyncio.sleep(0.05)
        return Connection(
            conn_id=conn_id, conn_type="trigger_dev", host="trigger.test", password=server.secret_key
        )

    async def send(request: Request, timeout: float) -> Reply:
        await asyncio.sleep(0.05)
        return client.transport.send(request, timeout)

    monkeypatch.setattr(fetching, "fetch_shielded", fetch)
    in_loop = calls_in_loop(send)
    monkeypatch.setattr(ends.Feed, "_call", lambda self, client, call: in_loop(self, "", client, call))
    for module in (ends, positions):
        monkeypatch.setattr(module, "time", clock)

    def make(seed: int = 0) -> World:
        made = World(server, network, clock, keep_log(TriggerRunEventTrigger), seed)

        async def asend(message: Any) -> Any:
            return await made.triggerer.asend(message)

        comms = SimpleNamespace(asend=asend)
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
        return made

    return make


@pytest.fixture
def one(world) -> World:
    return world()


def in_virtual_time(test: Callable[..., Any]) -> Callable[..., None]:
    """Let a test be run in virtual time."""

    @functools.wraps(test)
    def run(one: World, **fixtures: Any) -> None:
        one.run(lambda: test(one=one, **fixtures))

    return run


@pytest.mark.parametrize("seed", range(32))
def test_kills_pauses_and_outages_lose_nothing_and_little_is_sent_again(seed: int, world, lost) -> None:
    one = world(seed)
    one.has_states = airflow_has.ASSET_STATES and seed % 2 == 0
    is_slow = seed % 4 == 3
    one.longest_answer = 8.0 if is_slow else 1.0
    wanted: list[str] = []

    def outage(_: str) -> None:
        one.network.repair()
        if seed % 3 == 0 and 1060 <= one.clock.now < 1100:
            one.network.fault("", lost)

    async def main() -> None:
        one.network.before = outage
        one.start()
        await asyncio.sleep(10)
        wanted.extend(one.add_ends(300, within=200))
        while one.clock.now < 1220:
            await asyncio.sleep(one.chance.uniform(0.5, 25))
            if one.chance.random() < (0.2 if is_slow else 0.8):
                one.kill()
                await asyncio.sleep(one.chance.choice([0.1, 20]))
            else:
                await one.pause()
            one.start()
        await asyncio.sleep(60)

    one.run(main)
    assert one.events.keys() == set(wanted)
    if not is_slow:
        sent_again = [at for times in one.events.values() for at in times[:-1]]
        assert all(any(0 <= moment - at <= 12 for moment in one.moments) for at in sent_again)


@in_virtual_time
async def test_an_event_says_what_is_known_of_its_run(one) -> None:
    one.start(statuses=["COMPLETED", "FAILED"])
    await asyncio.sleep(10)
    run = one.server.add_run("FAILED", task_identifier="process-order", tags=["big", "eu"])
    one.add_ends(1, task_identifier="another-task")
    await asyncio.sleep(10)
    [(_, payload)] = one.database.events
    times = [datetime.fromisoformat(payload.pop(name)) for name in ("created_at", "finished_at")]
    assert times == sorted(times)
    assert times[0].utcoffset() == timedelta(0)
    assert payload == {
        "run_id": run.id,
        "run_url": f"https://trigger.test/runs/{run.id}",
        "status": "FAILED",
        "task_identifier": "process-order",
        "tags": ["big", "eu"],
    }


@in_virtual_time
async def test_what_ends_after_the_first_start_is_sent_once_in_order(one) -> None:
    one.add_end("before")
    await asyncio.sleep(1)
    for name, after in (("c", 5.0), ("b", 3.0), ("a", 60.0)):
        one.add_end(name, after=after)
    one.start()
    await asyncio.sleep(80)
    assert list(one.events) == ["run_b", "run_c", "run_a"]
    assert all(len(times) == 1 for times in one.events.values())


@in_virtual_time
async def test_however_many_watchers_there_are_one_query_each_2_s_serves_all(one) -> None:
    one.start()
    tags = [["t", str(number)] for number in range(100)]
    jobs = [asyncio.ensure_future(one.hear(60, name=tag[1], tags=tag)) for tag in tags]
    await asyncio.sleep(10)
    before = len(one.network.sent("query"))
    for tag in tags:
        one.add_end(tag[1], after=1.0, tags=tag)
    await asyncio.sleep(20)
    assert len(one.network.sent("query")) - before <= 10
    assert await asyncio.gather(*jobs) == [[tag[1]] for tag in tags]


@in_virtual_time
async def test_who_is_far_behind_does_not_hold_up_the_others(one, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PAGE_SIZE", "_MOST_WAITING"):
        monkeypatch.setattr(reader, name, 100)
    one.start()
    await asyncio.sleep(10)
    one.kill()
    wanted = one.add_ends(1500, within=15)
    await asyncio.sleep(20)
    one.start()
    other = {"name": "other", "task_identifiers": "other"}
    quick = asyncio.ensure_future(one.hear(15, **other))
    await asyncio.sleep(5)
    one.add_end("x", task_identifier="other")
    assert await quick == ["x"]
    assert len(one.events) < 500
    await asyncio.sleep(90)
    assert one.events.keys() == set(wanted)
    assert all(len(times) == 1 for times in one.events.values())


@pytest.mark.parametrize("acknowledged_as", ["CANCELED", "COMPLETED"])
@in_virtual_time
async def test_a_canceled_run_is_sent_as_it_ends_for_good(acknowledged_as: str, one) -> None:
    one.start(statuses=["COMPLETED", "CANCELED"])
    await asyncio.sleep(10)
    is_late = acknowledged_as == "COMPLETED"
    run = one.server.add_run(
        "EXECUTING",
        task_identifier="process-order",
        acknowledge_after=20.0,
        completes_despite_cancel=is_late,
    )
    one.server.runs[run.id].cancel()
    await asyncio.sleep(60)
    assert [payload["status"] for _, payload in one.database.events] == [acknowledged_as]


@in_virtual_time
async def test_an_error_of_ours_ends_no_watcher(one, answer, caplog: pytest.LogCaptureFixture) -> None:
    one.start()
    await asyncio.sleep(10)
    rows = {"results": [{"run_id": "run_odd", "status": "Completed"}]}
    one.network.fault("query", answer(200, rows))
    one.add_end("a", after=5.0)
    await asyncio.sleep(30)
    assert list(one.events) == ["run_a"]
    assert ["could not be read" in line for line in caplog.messages] == [True]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, {"error": "connect ECONNREFUSED 10.0.0.1:8123"}, "ECONNREFUSED"),
        (404, {"error": "Not found"}, "asset watchers need a server with the query"),
    ],
)
@in_virtual_time
async def test_while_the_query_fails_this_is_logged_once_a_minute_and_nothing_is_lost(
    status: int, body: Any, reason: str, one, answer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", ends.__name__)
    one.start()
    await asyncio.sleep(30)
    one.network.fault("query", answer(status, body), times=1000)
    one.add_end("a", after=100.0)
    await asyncio.sleep(140)
    one.network.repair()
    await asyncio.sleep(30)
    assert list(one.events) == ["run_a"]
    *lines, last = (record.getMessage() for record in caplog.records if record.name == ends.__name__)
    text = "Connection 'trigger_dev_default': ends of runs cannot be read"
    assert [line.startswith(f"{text} for ") and reason in line for line in lines] == [True] * 3
    assert last.startswith(f"{text}: over after 1")


@pytest.mark.parametrize("begins", ["before", "after"])
@in_virtual_time
async def test_an_end_in_the_future_hides_no_other(begins: str, one) -> None:
    if begins == "before":
        one.start()
        await asyncio.sleep(10)
    run = one.add_end("wrong")
    one.server.runs[run.id].finished_at = run.created_at + timedelta(hours=1)
    await asyncio.sleep(10)
    if begins == "after":
        one.start()
    one.add_end("right", after=60.0)
    await asyncio.sleep(90)
    one.kill()
    one.start()
    one.add_end("later", after=10.0)
    await asyncio.sleep(30)
    wanted = ["run_right", "run_later"]
    assert list(one.events) == (wanted if begins == "after" else ["run_wrong", *wanted])
    assert all(len(times) == 1 for times in one.events.values())


@pytest.mark.parametrize("has_ended", [True, False])
@pytest.mark.parametrize("skew", [-3600.0, -30.0, 30.0, 3600.0])
@in_virtual_time
async def test_a_wrong_clock_hides_no_end_after_the_first_start(
    skew: float, has_ended: bool, one, clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ends, "time", SimpleNamespace(time=lambda: clock.time() + skew))
    if has_ended:
        one.add_end("before", tags=["x"])
        await asyncio.sleep(10)
    one.start()
    one.add_end("first", after=5.0)
    await asyncio.sleep(30)
    one.kill()
    one.add_end("second")
    await asyncio.sleep(5)
    one.start()
    await asyncio.sleep(20)
    assert {"run_first", "run_second"} == one.events.keys()


@pytest.mark.parametrize("text", ["it's", "C:\\new", "\\\\temp\\", "a\\'b", "''", "new\nline", "%_"])
@pytest.mark.parametrize("is_task", [True, False])
@in_virtual_time
async def test_any_text_finds_its_runs(text: str, is_task: bool, one) -> None:
    one.start(**({"task_identifiers": text} if is_task else {"task_identifiers": None, "tags": text}))
    await asyncio.sleep(10)
    one.add_end("other", tags=["x"])
    one.add_end("a", **({"task_identifier": text} if is_task else {"tags": [text]}))
    await asyncio.sleep(10)
    assert list(one.events) == ["run_a"]


@pytest.mark.parametrize("what", ["connection", "Get"])
@in_virtual_time
async def test_whatever_fails_at_first_is_tried_again_and_said_once_a_minute(
    what: str, one, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception would end the trigger, and Airflow start it again each second."""
    fetch = fetching.fetch_shielded

    async def fetch_later(conn_id: str) -> Any:
        if what == "connection" and one.clock.now < 1150:
            raise connection_not_found(conn_id)
        return await fetch(conn_id)

    if what == "Get":
        one.fail(what)
    monkeypatch.setattr(fetching, "fetch_shielded", fetch_later)
    one.start()
    await asyncio.sleep(150)
    one.database.failure = None
    await asyncio.sleep(20)
    wanted = one.add_ends(1)
    await asyncio.sleep(10)
    assert list(one.events) == wanted
    reason = "Connection 'trigger_dev_default' " if what == "connection" else "AirflowRuntimeError"
    text = "Watcher 'orders' does not work for "
    *failures, begins, over = one.log.lines
    assert [line.startswith(text) and reason in line for line in failures] == [True] * 3
    assert all("continues where it was, or begins then if it is new" in line for line in failures)
    assert begins.startswith("Watcher 'orders' begins at 20")
    assert over.startswith("Watcher 'orders' does not work: over after 15")


@pytest.mark.parametrize("since", ["start", "later"])
@in_virtual_time
async def test_while_its_position_cannot_be_stored_no_end_is_lost_and_the_log_says_what_a_restart_does(
    since: str, one
) -> None:
    if since == "start":
        one.fail("Put")
    one.start()
    await asyncio.sleep(10)
    one.fail("Put")
    wanted = one.add_ends(40, within=140)
    await asyncio.sleep(150)
    assert one.events.keys() == set(wanted)
    one.database.failure = None
    await asyncio.sleep(30)
    one.kill()
    wanted += one.add_ends(1)
    one.start()
    await asyncio.sleep(20)
    assert one.events.keys() == set(wanted)
    assert all(len(times) == 1 for times in one.events.values())
    begins, *_, restarts = (line for line in one.log.lines if "It follows runs of" in line)
    if since == "start":
        restart = "if the triggerer restarts first, the watcher begins then, and earlier ends may be lost"
        assert f"; this cannot be stored yet: {restart}" in begins
    else:
        restart = "if the triggerer restarts first, ends since 20"
        assert "stored" not in begins
    failures = [line for line in one.log.of("warning") if "its position cannot be stored for " in line]
    assert [restart in line and "AirflowRuntimeError" in line for line in failures] == [True] * 3
    assert [line for line in one.log.lines if "its position cannot be stored: over after 1" in line]
    assert restarts.startswith("Watcher 'orders' continues from 20")


@pytest.mark.parametrize("has_states", [False, pytest.param(True, marks=needs_states)])
@pytest.mark.parametrize(
    "changed", [{}, {"statuses": ["COMPLETED", "FAILED"]}, {"trigger_dev_conn_id": "the_same_in_other_words"}]
)
@in_virtual_time
async def test_a_restart_says_from_where_it_continues(changed: dict[str, Any], has_states: bool, one) -> None:
    one.has_states = has_states
    one.start()
    await asyncio.sleep(20)
    one.kill()
    one.add_ends(1)
    await asyncio.sleep(60)
    one.start(**changed)
    await asyncio.sleep(20)
    begin, restart = one.log.lines
    at = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\. It follows runs of process-order that end as COMPLETED"
    assert re.fullmatch(f"Watcher 'orders' begins at {at}", begin)
    continues = has_states or not changed  # before Airflow 3.3, other arguments are another watcher
    assert re.match(f"Watcher 'orders' {'continues from' if continues else 'begins at'} {at}", restart)
    assert len(one.events) == continues


@needs_states
@in_virtual_time
async def test_two_watchers_of_an_asset_with_one_name_are_an_error_in_the_log(one) -> None:
    one.has_states = True
    one.start()
    await asyncio.sleep(10)
    first, one.triggerer = one.triggerer, None
    one.start(tags="eu")
    one.add_ends(20, within=60)
    await asyncio.sleep(70)
    first.kill()
    [line] = {line for line in one.log.of("error")}
    assert line.startswith(
        "Watcher 'orders': another watcher of its asset has this name, and overwrites its "
    )


@in_virtual_time
async def test_all_watchers_together_send_25_events_a_second(one) -> None:
    """The triggerer sends no heartbeat while it stores events, and its triggers would be taken away."""
    one.start()
    others = [asyncio.ensure_future(one.hear(60, name=name, tags="eu")) for name in ("a", "b")]
    await asyncio.sleep(10)
    one.add_ends(400)
    begun = one.clock.now
    while one.clock.now < begun + 10:
        await asyncio.sleep(1)
    assert len(one.events) <= 10 * 25 / 3 + 50
    await asyncio.sleep(45)
    assert len(one.events) == len(await others[0]) == len(await others[1]) == 400


@in_virtual_time
async def test_it_ends_with_the_event_loop(one) -> None:
    """The process of a triggerer whose supervisor was killed would never end."""
    one.start()
    await asyncio.sleep(10)
    others = [TriggerRunEventTrigger(name=str(number), tags="eu").run() for number in range(10)]
    begins = [asyncio.ensure_future(anext(other)) for other in others]
    await asyncio.sleep(10)
    one.add_ends(1)
    await asyncio.gather(*begins)
    one.triggerer.kill()
    await asyncio.sleep(0)
    now = one.clock.now
    await asyncio.get_running_loop().shutdown_asyncgens()
    assert one.clock.now == now


@in_virtual_time
async def test_while_nothing_happens_it_stores_nothing(one) -> None:
    one.start()
    await asyncio.sleep(10)
    stored = dict(one.database.variables)
    await asyncio.sleep(600)
    assert one.database.variables == stored


@pytest.mark.parametrize("change", ["key", "revoked key", "mistyped key", "host", "unreachable"])
def test_it_follows_its_connection_and_begins_anew_on_another_host(
    change: str, world, server, network, wire, clock, answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, elsewhere = world(), TriggerDevServer(clock=clock.time, secret_key=server.secret_key)
    hosts = {"trigger.test": network, "there.test": Network(elsewhere, answer)}
    is_elsewhere = change in ("host", "unreachable")

    def reply(request: Any) -> Any:
        key = request.headers["Authorization"].removeprefix("Bearer ")
        if change == "unreachable" and "trigger.test" in request.url:
            return requests.ConnectionError()
        if clock.now > 1100 and change == "revoked key" and key == server.secret_key:
            key = "tr_prod_revoked"
        request.headers["Authorization"] = f"Bearer {server.secret_key if key == 'tr_prod_rotated' else key}"
        return hosts[urlsplit(request.url).hostname or ""](request)

    async def fetch(conn_id: str) -> Any:
        host, key = "trigger.test", server.secret_key
        if clock.now > 1100:
            is_wrong = change == "mistyped key" and clock.now < 1170
            host = "there.test" if is_elsewhere else host
            key = key if is_elsewhere else "tr_prod_mistyped" if is_wrong else "tr_prod_rotated"
        return Connection(conn_id=conn_id, conn_type="trigger_dev", host=host, password=key)

    async def call(_: Any, client: TriggerDevClient, call: Any) -> Any:
        await asyncio.sleep(0.05)
        return client.call(call, patience=0, sleep=clock.sleep)

    def end(name: str, *, server: Any = server) -> None:
        server.add_run("COMPLETED", run_id=f"run_{name}", task_identifier="process-order")

    async def main() -> None:
        end("before")
        end("there_before", server=elsewhere)
        one.start()
        asyncio.get_running_loop().call_later(60, partial(end, "there_meanwhile", server=elsewhere))
        for seconds in (50, 49, 3, 40, 40):
            await asyncio.sleep(seconds)
            end(f"at_{clock.now:.0f}")
        end("there_after", server=elsewhere)
        await asyncio.sleep(50)

    wire.script = reply
    monkeypatch.setattr(fetching, "fetch_shielded", fetch)
    monkeypatch.setattr(ends.Feed, "_call", call)
    one.run(main)
    of_old = set() if change == "unreachable" else {"run_at_1050", "run_at_1099"}
    of_new = {"run_there_after"} if is_elsewhere else {"run_at_1102", "run_at_1142", "run_at_1182"}
    assert of_old | of_new <= one.events.keys() <= of_old | of_new | {"run_at_1102"}
    assert all(len(times) == 1 for times in one.events.values())
    begins = (
        "begins at" if change == "unreachable" else "begins, as its connection leads to another environment"
    )
    assert bool([line for line in one.log.lines[-3:] if begins in line]) is is_elsewhere
