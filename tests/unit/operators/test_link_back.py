"""The way back from a run to its task: the URL of the task's log in Airflow, in the run's metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow_names import AIRFLOW_URL
from fake_airflow import TaskInstance, context_of
from run_operator import batch_in_worker, operator_in_worker

URL = "https://airflow.test/dags/a_dag/runs/manual_1/tasks/work?try_number=1"
MAKES: dict[str, Callable[..., Any]] = {
    "one": operator_in_worker,
    "batch": lambda **arguments: batch_in_worker(payloads=[1, 2], **arguments),
}
LARGEST = {"a": "x" * (256 * 1024 - len('{"a":""}'))}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AIRFLOW_URL, "https://airflow.test")


@pytest.fixture(params=MAKES)
def start(request, connection: str, server) -> Callable[..., tuple[list[dict[str, Any]], Any]]:
    """Start runs; return what was sent for each but metadata, and the metadata, which all have."""

    def act(**arguments: Any) -> tuple[list[dict[str, Any]], Any]:
        server.requests.clear()
        ti = TaskInstance(log_url=URL)
        MAKES[request.param](wait_for_completion=False, **arguments).execute(context_of(ti))
        body = json.loads(server.requests[0].body)
        items = body.get("items", [body])
        metadata = [item["options"].pop("metadata", None) for item in items]
        assert metadata == metadata[:1] * len(items)
        return items, metadata[0]

    return act


def test_a_run_has_the_url_and_differs_by_nothing_else_from_one_without(start) -> None:
    with_link, without = start(), start(link_back=False)
    assert (with_link[1], without[1]) == ({"airflow": URL}, None)
    assert with_link[0] == without[0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"rows": 3}, {"rows": 3, "airflow": URL}),
        ('{"rows": 3}', {"rows": 3, "airflow": URL}),
        ({"airflow": None}, {"airflow": None}),
        (LARGEST, LARGEST),
    ],
    ids=["dict", "text", "same name", "no room"],
)
def test_what_the_user_gives_stays_as_it_is(start, given: Any, expected: Any) -> None:
    assert start(metadata=given)[1] == expected


def test_without_the_url_of_airflow_there_is_no_link(start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(AIRFLOW_URL)
    assert start()[1] is None


def test_metadata_of_an_item_have_it_too(connection: str, server) -> None:
    items = [{"payload": 1, "options": {"metadata": {"airflow": "mine"}}}, {"payload": 2}]
    made = batch_in_worker(payloads=None, items=items, metadata={"rows": 3}, wait_for_completion=False)
    made.execute(context_of(TaskInstance(log_url=URL)))
    assert [one.metadata for one in server.runs.values()] == [
        {"airflow": "mine"},
        {"rows": 3, "airflow": URL},
    ]
