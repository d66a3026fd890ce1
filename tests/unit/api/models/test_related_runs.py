"""What ``relatedRuns`` says of children, of the root, and of a run's own end."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from airflow_provider_trigger.api.models.related_runs import ChildRun
from airflow_provider_trigger.api.models.runs import Run

PARENTS_END, LATER = "2026-11-25T20:24:06.499Z", "2026-11-25T20:24:06.612Z"


def run(related: Any = None, **attributes: Any) -> Run:
    answer = {"id": "run_1", "status": "EXECUTING", "relatedRuns": related} | attributes
    return Run.from_answer(answer)


def child(parent: dict[str, Any] | None, finished: str, updated: str, **attributes: Any) -> Run:
    times = {"startedAt": "2026-11-25T20:24:01.741Z", "finishedAt": finished, "updatedAt": updated}
    return run({"parent": parent, "children": []}, **{"status": "CANCELED"} | times | attributes)


def test_children_are_shown_with_their_parent_and_the_root_by_its_id() -> None:
    started = "2026-11-25T20:24:01.741Z"
    children = [
        {"id": "run_2", "status": "QUEUED"},
        {"id": "run_3", "status": "COMPLETED", "startedAt": started},
    ]
    shown = run({"children": children, "root": {"id": "run_0", "status": "EXECUTING"}})
    assert shown.children == [
        ChildRun("run_2", "QUEUED", "run_1", is_current=True),
        ChildRun("run_3", "COMPLETED", "run_1", is_current=True, started_at=datetime.fromisoformat(started)),
    ]
    assert shown.root_id == "run_0"
    assert shown.without_contents().children == []


@pytest.mark.parametrize(
    ("status", "is_current", "expected"),
    [("WAITING", True, True), ("WAITING", False, False), ("QUEUED", True, False), ("CANCELED", True, False)],
)
def test_only_an_answer_that_is_current_shows_a_suspended_run(
    status: str, is_current: bool, expected: bool
) -> None:
    assert ChildRun("run_2", status, "run_1", is_current=is_current).is_suspended is expected


ODD: list[Any] = [None, [], "x", {}, {"children": None}, {"children": "x"}, {"root": None}, {"root": []}]
ODD += [{"children": [None, "x", {}, {"id": "run_2"}, {"id": 2, "status": "QUEUED"}, {"status": "QUEUED"}]}]
ODD += [{"root": {"id": 3}}, {"root": {}}]


@pytest.mark.parametrize("related", ODD)
def test_whatever_else_is_sent_shows_none(related: Any) -> None:
    assert run(related).children == []
    assert run(related).root_id is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("QUEUED", True),
        ("CANCELED", True),
        ("A_NEW_WORD", True),
        ("COMPLETED", False),
    ],
)
def test_which_children_may_need_a_cancel(status: str, expected: bool) -> None:
    assert ChildRun("run_2", status, "run_1").may_need_cancel is expected


EXECUTED = {"id": "run_0", "status": "CANCELED", "finishedAt": PARENTS_END, "updatedAt": PARENTS_END}
SUSPENDED = {"id": "run_0", "status": "CANCELED", "updatedAt": "2026-11-25T20:24:15.490Z"}


@pytest.mark.parametrize(
    ("parent", "finished", "updated", "is_terminated"),
    [
        # As recorded: the parent ended, the child's own worker acknowledged.
        (EXECUTED, PARENTS_END, LATER, False),
        (EXECUTED, PARENTS_END, "2026-11-25T20:24:06.520Z", False),
        # Both acknowledged in the same millisecond.
        (EXECUTED, PARENTS_END, "2026-11-25T20:24:06.502Z", True),
        (EXECUTED, "2026-11-25T20:24:08.700Z", "2026-11-25T20:24:08.703Z", True),
        (EXECUTED, "2026-11-25T20:24:08.700Z", "2026-11-25T20:24:08.800Z", True),
        (SUSPENDED, "2026-11-25T20:24:15.507Z", "2026-11-25T20:24:15.611Z", False),
        (SUSPENDED, "2026-11-25T20:24:18.073Z", "2026-11-25T20:24:18.077Z", True),
        (SUSPENDED, "2026-11-25T20:24:18.073Z", "2026-11-25T20:24:18.177Z", True),
        # The child's own worker acknowledged just after its parent was canceled.
        (SUSPENDED, "2026-11-25T20:24:15.507Z", "2026-11-25T20:24:15.510Z", True),
        (SUSPENDED, "2026-11-25T20:24:15.480Z", "2026-11-25T20:24:15.611Z", True),
        (SUSPENDED | {"status": "EXECUTING"}, "2026-11-25T20:24:15.507Z", "2026-11-25T20:24:15.611Z", True),
        (None, PARENTS_END, "2026-11-25T20:24:06.612Z", True),
        ({}, PARENTS_END, "2026-11-25T20:24:06.612Z", True),
    ],
)
def test_the_end_of_its_parent_is_not_that_of_a_child(
    parent: Any, finished: str, updated: str, is_terminated: bool
) -> None:
    assert child(parent, finished, updated).is_terminated is is_terminated


def test_only_a_canceled_child_that_started_and_shows_its_last_change_is_doubtful() -> None:
    for attributes in ({"startedAt": None}, {"status": "COMPLETED"}):
        assert child(EXECUTED, PARENTS_END, LATER, **attributes).is_terminated
    assert child(SUSPENDED, "2026-11-25T20:24:15.507Z", "").is_terminated
