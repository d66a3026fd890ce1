"""The secret key of a whole Airflow is in no file, no row of its database and no answer of its API."""

from __future__ import annotations

import base64
import json
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
from dags.secret_cases import CASES, CRASHES, WAYS, pattern_of, run_of
from marker import KEY, QUOTED, Marked, spellings
from whole_airflow import traces
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.versions import HAS_DEADLINE_ALERTS, TABLES_OF_TASKS

from airflow_provider_trigger.testing import TriggerDevServer

DAG_ID, DAG_RUN = "secret_key", "everything"
DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"

ROUTES = ("task", "dag", "deadline") if HAS_DEADLINE_ALERTS else ("task", "dag")
WORKS = [run_of(way, "works", route) for way in WAYS for route in ROUTES]


def places(texts: Mapping[str, str], needles: Iterable[str]) -> list[str]:
    """Return the names of the texts in which one of the needles is."""
    needles = list(needles)
    return [name for name, text in texts.items() if any(needle in text for needle in needles)]


def untold(log: str, route: str, cases: Iterable[tuple[str, str]]) -> list[str]:
    """Return what a log should tell of these cases and does not."""
    patterns = [pattern_of(way, ending, route) for way, ending in cases]
    return [pattern for pattern in patterns if not re.search(pattern, log)]


def wait_until_told(log: Callable[[], str], route: str, cases: Iterable[tuple[str, str]]) -> None:
    """Wait until a log tells of all these cases."""
    what = lambda: f"a log that tells of {untold(log(), route, cases)}"  # noqa: E731
    wait_until(lambda: not untold(log(), route, cases), timeout=60, what=what)


@pytest.fixture(scope="module")
def left(airflow: WholeAirflow, marked: Marked, home: Path) -> dict[str, str]:
    """Let everything go wrong, and return all that there is to search afterwards."""
    for connection in marked.stored():
        airflow.api.call("POST", "/connections", json=connection)
    marked.lay_traps(works=WORKS)

    assert airflow.run_dag(DAG_ID, DAG_RUN) == "failed"

    wait_until_told(airflow.dag_processor_log, "dag", CASES)
    if HAS_DEADLINE_ALERTS:
        wait_until_told(airflow.triggerer_log, "deadline", [case for case in CASES if case[1] not in CRASHES])
    wait_until(
        lambda: all(marked.server.runs[run_id].status == "CANCELED" for run_id in WORKS),
        timeout=60,
        what=lambda: f"the end of {[marked.server.runs[run_id] for run_id in WORKS]}",
    )
    return {
        **traces.files(home),
        **traces.rows(airflow.environment[DATABASE]),
        **traces.answers(airflow.api, DAG_ID, DAG_RUN),
    }


def test_everything_has_gone_wrong(left: dict[str, str], airflow: WholeAirflow) -> None:
    states = airflow.api.states(DAG_ID, DAG_RUN)
    assert states == {
        f"{way}_{ending}": "success" if ending == "works" else "failed" for way, ending in CASES
    }
    for way, ending in CASES:
        log = airflow.task_log(DAG_ID, DAG_RUN, f"{way}_{ending}")
        assert untold(log, "task", [(way, ending)]) == untold(log, "callback", [(way, ending)]) == []


def test_the_key_is_nowhere(left: dict[str, str]) -> None:
    assert places(left, spellings(KEY)) == []


def test_the_key_of_all_other_tests_is_nowhere(left: dict[str, str], server: TriggerDevServer) -> None:
    """They have left their traces too, whatever ran before."""
    assert places(left, spellings(server.secret_key)) == []


def test_only_our_server_got_the_key_and_only_as_it_should(left: dict[str, str], marked: Marked) -> None:
    assert {request.headers["authorization"] for request in marked.server.requests} == {f"Bearer {KEY}"}
    assert places({request.path: str(request) for request in marked.server.requests}, [KEY]) == []
    assert marked.untrusted.requests == []


def test_the_search_covers_all_places(left: dict[str, str]) -> None:
    """What has to be where the key must not be is found there."""
    run_id, task = run_of("stored", "rejected", "task"), "taskInstances/stored_rejected"
    found = places(left, [run_id]) + places(left, ["stored_server"])
    for place in (
        f"file airflow/logs/dag_id={DAG_ID}/run_id={DAG_RUN}/task_id=stored_rejected/attempt=1.log",
        *(f"table {name}" for name in TABLES_OF_TASKS),
        "table log",
        "table connection",
        f"answer /dags/{DAG_ID}/dagRuns/{DAG_RUN}/{task}",
        f"answer /dags/{DAG_ID}/dagRuns/{DAG_RUN}/{task}/logs/1",
        f"answer /dags/{DAG_ID}/dagRuns/{DAG_RUN}/{task}/xcomEntries/return_value",
        "answer /connections/stored_server",
    ):
        assert place in found


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {KEY}",
        f"https://example.com/login?key={QUOTED}",
        json.dumps({"password": KEY}).replace("/", "\\/"),
        base64.b64encode(f"someone:{KEY}".encode()).decode(),
        base64.b64encode(f"me:{KEY}\n".encode()).decode(),
        base64.b64encode(KEY.encode()).decode(),
        pickle.dumps({"password": KEY}),
        f"cut off as it is too long: {KEY[:30]}",
    ],
    ids=["plain", "quoted", "json", "base64", "base64-shifted", "base64-alone", "pickled", "cut"],
)
def test_the_search_finds_the_key_however_it_is_written(text: str | bytes, tmp_path: Path) -> None:
    (tmp_path / "leak").write_bytes(text if isinstance(text, bytes) else text.encode())

    assert places(traces.files(tmp_path), spellings(KEY)) == ["file leak"]
