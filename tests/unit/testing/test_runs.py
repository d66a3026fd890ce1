"""A run's life by a clock that the test sets, and what lists, its log, its page and its outputs show."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from fake_clock import START, Clock
from hypothesis import given
from hypothesis import strategies as st
from in_process import routed

from airflow_provider_trigger.testing import UNSET, ServerRun, TriggerDevServer
from airflow_provider_trigger.testing.engine.packets import output_packet
from airflow_provider_trigger.testing.engine.states import ALIVE


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(START + seconds, UTC)


@pytest.mark.parametrize("acknowledge_after", [None, 61])
@pytest.mark.parametrize("completes", [True, False])
def test_a_cancel_is_enforced_if_no_worker_acknowledges_it(
    server: TriggerDevServer, clock: Clock, acknowledge_after: float | None, completes: bool
) -> None:
    run = server.add_run(acknowledge_after=acknowledge_after, completes_despite_cancel=completes)
    run.cancel()
    clock.now += 59
    assert not run.terminated
    clock.now += 2
    assert (run.status, run.finished_at, run.terminated) == ("CANCELED", at(60), True)


def duration(server: TriggerDevServer, run: ServerRun) -> int:
    return int(json.loads(bytes(routed(server, "GET", f"/api/v3/runs/{run.id}").body))["durationMs"])


@pytest.mark.parametrize(
    ("steps", "shown"),
    [
        ([(30, "COMPLETED")], 30_000),
        ([(10, "WAITING"), (50, "EXECUTING"), (55, "FAILED")], 15_000),
        ([(10, "QUEUED"), (50, "EXECUTING"), (70, "COMPLETED")], 30_000),
        ([(10, "QUEUED")], 10_000),
        ([(10, "WAITING")], 0),
    ],
)
def test_a_run_shows_how_long_it_has_executed_without_its_waits(
    server: TriggerDevServer, clock: Clock, steps: list[tuple[float, str]], shown: int
) -> None:
    run = server.add_run("EXECUTING", then=steps)
    clock.now += 100
    assert duration(server, run) == shown


def test_a_canceled_run_has_executed_until_its_worker_acknowledged_it(
    server: TriggerDevServer, clock: Clock
) -> None:
    run = server.add_run("EXECUTING", acknowledge_after=5)
    clock.now += 20
    run.cancel()
    clock.now += 60
    assert (run.status, duration(server, run)) == ("CANCELED", 25_000)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1/runs/run_a", "/nothing"])
def test_a_path_that_the_server_does_not_have_is_not_found(
    server: TriggerDevServer, method: str, path: str
) -> None:
    answer = routed(server, method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("status", "started", "steps", "attempts"),
    [
        ("QUEUED", None, ["EXECUTING"], [0, 1]),
        ("QUEUED", None, ["DEQUEUED", "EXECUTING", "FAILED"], [0, 0, 1, 1]),
        # The second attempt comes soon (it stays EXECUTING until then), or late (it is QUEUED until then).
        ("EXECUTING", None, ["EXECUTING", "COMPLETED"], [1, 2, 2]),
        ("EXECUTING", None, ["QUEUED", "EXECUTING", "FAILED"], [1, 1, 2, 2]),
        ("QUEUED", True, ["DEQUEUED", "EXECUTING", "WAITING", "EXECUTING"], [1, 1, 2, 2, 2]),
        ("WAITING", None, ["EXECUTING", "QUEUED", "EXECUTING"], [1, 1, 1, 2]),
    ],
)
def test_attempts_are_counted_from_their_start(
    server: TriggerDevServer,
    clock: Clock,
    status: str,
    started: bool | None,
    steps: list[str],
    attempts: list[int],
) -> None:
    run = server.add_run(status, started=started, then=list(enumerate(steps, start=1)))
    counted = [run.attempt_count]
    for _ in steps:
        clock.now += 1
        counted.append(run.attempt_count)
    assert counted == attempts


@given(
    status=st.sampled_from(ALIVE),
    acknowledge_after=st.one_of(st.none(), st.floats(0, 100)),
    completes=st.booleans(),
    reads=st.lists(st.floats(0, 40), max_size=8),
)
def test_reading_changes_nothing(
    status: str, acknowledge_after: float | None, completes: bool, reads: list[float]
) -> None:
    """However often it is read, a run ends as one that was not read."""
    ends = []
    for steps in (reads, [sum(reads)]):
        clock = Clock()
        begun = clock.now
        server = TriggerDevServer(clock=clock.time)
        parent = server.add_run(
            status, acknowledge_after=acknowledge_after, completes_despite_cancel=completes
        )
        child = server.add_run("QUEUED", parent=parent)
        parent.cancel()
        for step in steps:
            clock.now += step
            assert child.status in ("QUEUED", "CANCELED")
        clock.now = begun + sum(reads)
        ends.append((parent.state, child.state))
    assert ends[0] == ends[1]


def shown(server: TriggerDevServer, run: ServerRun) -> list[dict[str, Any]]:
    answer = routed(server, "GET", f"/api/v1/runs/{run.id}/events")
    assert answer.status_code == 200
    return list(json.loads(bytes(answer.body))["events"])


def messages(server: TriggerDevServer, run: ServerRun) -> list[str]:
    return [event["message"] for event in shown(server, run)]


def test_it_lags_behind_and_has_nothing_from_after_the_end(server: TriggerDevServer, clock: Clock) -> None:
    server.log_lag = 2.0
    run = server.add_run("EXECUTING", task_identifier="resize", then=[(2, "COMPLETED")])
    seen = []
    for second in range(5):
        run.log("INFO", str(second))
        seen.append(messages(server, run))
        clock.now += 1
    assert seen[1:] == [[], ["resize", "0"], ["resize", "0", "1"], ["resize", "0", "1", "2"]]
    assert messages(server, run) == seen[-1]


def test_a_function_logs_in_its_attempt_whenever_it_is_called(server: TriggerDevServer, clock: Clock) -> None:
    def resize(payload: Any, log: Any) -> Any:
        log("WARN", f"{payload} is large")
        log("TRACE", "fetch", failed=True)
        raise ValueError("too large")

    server.on_task("resize", start_after=0, after=1, output=resize, failures=0)
    run, _ = server.trigger("resize", payload="a.png")
    clock.now += 60
    assert run.status == "FAILED"
    keys = ("message", "level", "isError", "attemptNumber")
    assert [[event[key] for key in keys] for event in shown(server, run)[1:]] == [
        ["a.png is large", "WARN", False, 1],
        ["fetch", "TRACE", True, 1],
    ]


def test_the_page_of_a_run_shows_its_whole_lines_which_have_a_known_level(server: TriggerDevServer) -> None:
    run = server.add_run("EXECUTING")
    run.log("INFO", "x" * 300)
    with pytest.raises(ValueError, match="one of TRACE, DEBUG, INFO, WARN, ERROR, not 'info'"):
        run.log("info", "a")
    assert f"INFO {'x' * 300}" in bytes(routed(server, "GET", f"/runs/{run.id}").body).decode()


@pytest.mark.parametrize(
    ("output", "by_url", "name", "text"),
    [
        (UNSET, True, None, None),
        ("x" * 131_072, None, None, None),
        ("x" * 131_073, None, "attempt_1/output.txt", "x" * 131_073),
        ("é" * 65_537, None, "attempt_1/output.txt", "é" * 65_537),
        ("x" * 131_073, False, None, None),
        ("x", True, "attempt_1/output.txt", "x"),
        ([1, None], True, "attempt_1/output.json", '{"json":[1,null]}'),
        (None, True, "attempt_1/output.json", '{"json":null}'),
        ({"a": "x" * 131_060}, None, "attempt_1/output.json", '{"json":{"a":"' + "x" * 131_060 + '"}}'),
    ],
)
def test_outputs(output, by_url: bool | None, name: str | None, text: str | None) -> None:
    server = TriggerDevServer()
    server.on_task("resize", output=output, output_by_url=by_url, start_after=0, after=0)
    run, _ = server.trigger("resize")
    packet = output_packet(run.state)
    assert (packet and packet.name, packet and packet.text) == (name, text)


def test_it_shows_the_run(server: TriggerDevServer, clock: Clock) -> None:
    server.on_task("resize-image", start_after=0, after=3, output={"bytes": 4200})
    run, _ = server.trigger("resize-image", payload={"file": "cat.png"}, options={"tags": ["nightly"]})
    alive = bytes(routed(server, "GET", f"/runs/{run.id}").body).decode()
    clock.now += 5
    answer = routed(server, "GET", f"/runs/{run.id}")
    page = bytes(answer.body).decode()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for text in (
        run.id,
        "COMPLETED",
        "resize-image",
        "nightly",
        "2026-11-25T09:46:40.000Z",
        "2026-11-25T09:46:43.000Z",
        "&quot;file&quot;: &quot;cat.png&quot;",
        "&quot;bytes&quot;: 4200",
    ):
        assert text in page
    assert ("EXECUTING" in alive, 'http-equiv="refresh"' in alive, 'http-equiv="refresh"' in page) == (
        True,
        True,
        False,
    )
    assert server.secret_key not in page


def test_all_that_comes_from_a_client_is_escaped(server: TriggerDevServer, clock: Clock) -> None:
    code = "<script>alert(1)</script>"
    server.on_task(code, start_after=0, after=0, error=code)
    run, _ = server.trigger(code, payload={code: code}, options={"tags": [code], "metadata": {code: 1}})
    clock.now += 1
    page = bytes(routed(server, "GET", f"/runs/{run.id}").body).decode()
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 6
    unknown = routed(server, "GET", f"/runs/{code.replace('/', '%2F')}")
    assert (unknown.status_code, b"<script" in unknown.body) == (404, False)
