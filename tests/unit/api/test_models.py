"""What is read of a run, and what its status means: to those who wait for it, and to those who cancel it."""

from __future__ import annotations

import dataclasses
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_trigger.api.models import ChildRun, Run

# Of each status: whether the run has ended, whether no worker has it, and whether it lacks a version.
STATUSES = {
    **dict.fromkeys(("QUEUED", "DELAYED", "WAITING", "FROZEN"), (False, True, False)),
    **dict.fromkeys(("PENDING_VERSION", "WAITING_FOR_DEPLOY"), (False, True, True)),
    **dict.fromkeys(("DEQUEUED", "EXECUTING", "REATTEMPTING"), (False, False, False)),
    **dict.fromkeys(("COMPLETED", "CANCELED", "FAILED", "CRASHED", "SYSTEM_FAILURE"), (True, False, False)),
    **dict.fromkeys(("EXPIRED", "TIMED_OUT", "INTERRUPTED"), (True, False, False)),
}


def run(status: str = "CANCELED", *, seen_at: datetime | None = None, **attributes: Any) -> Run:
    return Run.from_answer({"id": "run_1", "status": status} | attributes, seen_at=seen_at)


# Statuses


@pytest.mark.parametrize("status", STATUSES)
def test_what_each_status_means(status: str) -> None:
    shown = run(status)
    assert (shown.is_final, shown.is_without_worker, shown.waits_for_version) == STATUSES[status]
    assert shown.is_terminated is shown.is_final
    assert shown.is_canceled is (status == "CANCELED")
    assert shown.is_success is (status == "COMPLETED")


def test_an_unknown_word_counts_as_alive_and_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    strange = run("HIBERNATING")
    assert (strange.status, strange.is_final, strange.is_without_worker) == ("HIBERNATING", False, False)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "unknown run status 'HIBERNATING'" in caplog.text
    for status in ("HIBERNATING", "DREAMING", "HIBERNATING", *STATUSES):
        run(status)
    assert len(caplog.records) == 2


# Termination

STARTED: dict[str, Any] = {"startedAt": "2026-11-25T09:00:00Z"}
CHILD: dict[str, Any] = {"depth": 1, "finishedAt": "2026-11-25T09:00:01Z"}


@pytest.mark.parametrize(
    ("status", "attributes", "is_terminated"),
    [
        ("COMPLETED", STARTED, True),
        # No worker ever had it.
        ("CANCELED", {}, True),
        # A worker has it, or had it: it may still complete.
        ("CANCELED", STARTED, False),
        ("CANCELED", STARTED | {"finishedAt": "2026-11-25T09:00:01Z"}, True),
        ("CANCELED", {"finishedAt": "2026-11-25T09:00:01Z"}, True),
        # What a child shows is its own end, or that of its parent.
        ("CANCELED", STARTED | CHILD | {"updatedAt": "2026-11-25T09:00:01.005Z"}, True),
        ("CANCELED", STARTED | CHILD | {"updatedAt": "2026-11-25T09:00:01.051Z"}, False),
        ("CANCELED", STARTED | CHILD, False),
        # It is not CANCELED, so nothing else counts.
        ("EXECUTING", {"finishedAt": "2026-11-25T09:00:01Z"}, False),
    ],
)
def test_when_a_run_cannot_change(status: str, attributes: dict[str, Any], is_terminated: bool) -> None:
    assert run(status, **attributes).is_terminated is is_terminated


@pytest.mark.parametrize(("seconds", "is_terminated"), [(60, False), (75, False), (75.001, True), (76, True)])
def test_a_canceled_run_is_terminated_once_the_engine_forced_it(seconds: float, is_terminated: bool) -> None:
    canceled_at = datetime(2026, 11, 25, 9, tzinfo=UTC)
    seen_at = canceled_at + timedelta(seconds=seconds)
    seen = run(startedAt="2026-11-25T08:00:00Z", updatedAt=canceled_at.isoformat(), seen_at=seen_at)
    assert seen.is_terminated is is_terminated


# Reading. The recordings show what is read of whole answers.


T0932 = datetime(2026, 11, 25, 9, 32, 29, 682000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "name", "values"),
    [
        (
            "updatedAt",
            "updated_at",
            [("2026-11-25T10:32:29.682+01:00", T0932), ("2026-11-25T09:32:29.682", T0932)]
            + [(it, None) for it in ("", "yesterday", 1795599159334, ["2026-11-25"], "2026-13-01")],
        ),
        ("attemptCount", "attempt_count", [(2, 2), ("2", 0), ([2], 0)]),
        ("taskIdentifier", "task_identifier", [(None, ""), (7, "7"), ("t" * 9999, "t" * 256)]),
        ("output", "output", [(it, it) for it in (None, False, "", {"a": [1]})]),
        ("idempotencyKey", "idempotency_key", [("", None), (7, None), (["x"], None)]),
        ("batchId", "batch_id", [("batch_1", "batch_1"), ("", None)]),
        ("tags", "tags", [(None, []), ("a", []), (["a", 1, None], ["a"])]),
    ],
)
def test_what_is_read_of_a_field(field: str, name: str, values: list[tuple[Any, object]]) -> None:
    for value, read in values:
        assert getattr(run(**{field: value}), name) == read
    assert run(output=None).has_output


# Children


def test_what_is_shown_of_children() -> None:
    children = [{"id": "run_2", "status": "QUEUED"}, {"id": "run_3", "status": "COMPLETED"} | STARTED]
    odd = [None, "x", {}, {"id": "run_2"}, {"id": 2, "status": "QUEUED"}, {"status": "QUEUED"}]
    shown = run(relatedRuns={"children": children + odd})
    assert shown.children == [ChildRun("run_2", "QUEUED"), ChildRun("run_3", "COMPLETED")]
    assert shown.without_contents().children == []


# Without contents


def test_a_run_without_contents_is_small_and_the_same_in_all_else() -> None:
    small = {
        "createdAt": "2026-11-25T09:00:00Z",
        "version": "20261125.1",
        "attemptCount": 2,
        "durationMs": 1500,
        "costInCents": 0.5,
        "baseCostInCents": 0.1,
        "error": {"name": "TypeError", "message": "no"},
    }
    large = {name: "x" * 110_000 for name in ("payload", "output", "metadata", "tags", "relatedRuns", "new")}
    seen_at = datetime(2026, 11, 25, tzinfo=UTC)
    whole = run("FAILED", seen_at=seen_at, taskIdentifier="t", **STARTED, **small, **large)
    kept = whole.without_contents()
    assert len(json.dumps(kept.attributes)) < 1000
    assert kept.attributes == small
    assert kept == dataclasses.replace(whole, attributes=small)
    assert (kept.created_at, kept.error) == (whole.created_at, whole.error)
    assert not kept.has_output
