"""What ``relatedRuns`` says of children, of the root, and of a run's own end."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from airflow_provider_trigger.api.models import ChildRun, Run

PARENTS_END, LATER = "2026-11-25T20:24:06.499Z", "2026-11-25T20:24:06.612Z"


def run(related: Any = None, **attributes: Any) -> Run:
    answer = {"id": "run_1", "status": "EXECUTING", "relatedRuns": related} | attributes
    return Run.from_answer(answer)


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
