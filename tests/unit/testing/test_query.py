"""The query of the local server, where the contract tests have no recording."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from fake_clock import Clock
from in_process import routed

from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.testing import TriggerDevServer


def post(server: TriggerDevServer, body: Any, **options: Any) -> Response:
    answer = routed(server, "POST", "/api/v1/query", body, **options)
    return Response(status=answer.status_code, headers=dict(answer.headers), body=bytes(answer.body))


def select(server: TriggerDevServer, condition: str, *, columns: str = "run_id", **more: Any) -> Any:
    body = {"query": f"SELECT {columns} FROM runs WHERE {condition}", "scope": "environment"}
    answered = post(server, body | more)
    assert answered.status == 200, answered.body
    return [next(iter(row.values())) if len(row) == 1 else row for row in answered.json()["results"]]


def test_it_can_lose_the_end_of_a_run_for_ever(server: TriggerDevServer, clock: Clock) -> None:
    runs = [server.add_run("EXECUTING", run_id=f"run_{number}") for number in (1, 2)]
    server.lose_in_query("run_1")
    clock.now += 1
    for run in runs:
        run.cancel()
    clock.now += 3600
    assert select(server, "run_id IN ('run_1', 'run_2')", columns="status") == ["Executing", "Canceled"]
    assert server.runs["run_1"].status == "CANCELED"


def test_it_looks_back_seven_days_unless_a_period_says_more(server: TriggerDevServer, clock: Clock) -> None:
    server.add_run("EXECUTING", run_id="run_1")
    clock.now += 8 * 86400
    assert select(server, "run_id IN ('run_1')") == []
    assert select(server, "run_id IN ('run_1')", period="30d") == ["run_1"]


@pytest.fixture
def ended(server: TriggerDevServer, clock: Clock) -> TriggerDevServer:
    """A server whose runs a to d have ended at known times; e is alive, f was canceled before it started."""
    noon = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()
    noon += clock.now - clock.time()
    parent = None
    for run_id, status, task, tags, seconds in (
        ("c", "COMPLETED", "resize", ["big", "red"], 11),
        ("b", "FAILED", "resize", ["big"], 11),
        ("a", "COMPLETED", "resize", [], 10.1234567),
        ("d", "COMPLETED", "it's", ["red"], 30.5),
        ("e", "EXECUTING", "train", ["red"], 31),
        ("f", "CANCELED", "train", ["a\nb"], 32),
    ):
        clock.now = noon + seconds
        parent = server.add_run(status, run_id=run_id, task_identifier=task, tags=tags, parent=parent)
    return server


# By a condition, the runs that it selects.
CONDITIONS = {
    "NOT is_finished": "e",
    "task_identifier = 'it''s' or task_identifier = 'train'": "def",
    "task_identifier NOT IN ('resize', 'train')": "d",
    "status IN ('Failed', 'Canceled')": "bf",
    "has(tags, 'red') AND has(tags,'big')": "c",
    # As the real server's code reads it: no tag of a backslash and this letter can be written.
    "has(tags, 'a\\nb')": "f",
    "has(tags, 'a\\\\nb')": "",
    "depth >= 3 AND depth<5": "de",
    "root_run_id = 'c' AND parent_run_id != 'a'": "abef",
    # AND before OR, NOT before AND.
    "run_id = 'a' OR run_id = 'b' AND is_finished": "ab",
    "NOT run_id = 'a' AND is_finished": "bcdf",
    # A comparison with NULL is never true, nor is its opposite.
    "completed_at IS NULL AND is_finished": "f",
    "NOT completed_at = '2026-11-28 12:00:11'": "ad",
    "NOT (completed_at > '2026-11-28 12:00:11' OR is_finished)": "",
    # Three ways to write a time, each to the millisecond.
    "completed_at IN ('2026-11-28 12:00:11', '2026-11-28T12:00:30.500Z')": "bcd",
    "completed_at >= toDateTime64('2026-11-28 12:00:10.123', 3)": "abcd",
    "(completed_at, run_id) > ('2026-11-28 12:00:11.000', 'b')": "cd",
    "NOT (completed_at, run_id) <= ('2026-11-28 12:00:11', 'b')": "cd",
    " (\n( is_finished )\t) and\nrun_id='a'": "a",
}


@pytest.mark.parametrize(("condition", "selected"), CONDITIONS.items())
def test_a_condition_selects(ended: TriggerDevServer, condition: str, selected: str) -> None:
    assert "".join(sorted(select(ended, condition))) == "".join(sorted(selected))


@pytest.mark.parametrize(
    ("clauses", "selected"),
    [
        ("ORDER BY completed_at, run_id", "abcdef"),
        ("ORDER BY completed_at ASC, run_id DESC", "acbdfe"),
        ("ORDER BY completed_at DESC, run_id LIMIT 3", "dbc"),
        ("WHERE is_finished ORDER BY depth LIMIT 2", "cb"),
        ("order by run_id limit 0", ""),
        ("LIMIT 20000", "cbadef"),
    ],
)
def test_rows_are_ordered_and_limited(ended: TriggerDevServer, clauses: str, selected: str) -> None:
    answered = post(ended, {"query": f"SELECT run_id FROM runs {clauses}"})
    assert "".join(row["run_id"] for row in answered.json()["results"]) == selected


UNKNOWN = "Syntax error at line 1:0: the local server does not know "


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("count() FROM runs", UNKNOWN),
        ("run_id FROM runs LIMIT 1 OFFSET 2", UNKNOWN),
        (
            "run_id FROM runs WHERE run_id LIKE 'a'",
            UNKNOWN,
        ),
        ("run_id FROM runs WHERE nope = 'a'", 'Unknown column "nope". Available columns: '),
        ("run_id FROM runs WHERE status = 'TIMED_OUT'", 'Invalid value "TIMED_OUT". Allowed values: '),
        ("run_id FROM runs WHERE completed_at > 'now'", "Cannot parse time 'now'"),
    ],
)
def test_what_it_does_not_know_is_rejected(server: TriggerDevServer, query: str, said: str) -> None:
    answered = post(server, {"query": f"SELECT {query}"})
    assert answered.status == 400
    assert answered.json()["error"].startswith(said)
