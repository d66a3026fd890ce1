"""The true outcome of each run, and the wait for its end."""

from __future__ import annotations

import random
from typing import Any

import pytest

# A run's state and what its worker does, then: the outcome, the status, and whether it is terminated.
RUNS: dict[str, tuple[dict[str, Any], str, str | None, bool]] = {
    "queued": (dict(status="QUEUED"), "canceled", "CANCELED", True),
    "pending a version": (dict(status="PENDING_VERSION"), "canceled", "CANCELED", True),
    "delayed": (dict(status="DELAYED"), "canceled", "CANCELED", True),
    "dequeued": (dict(status="DEQUEUED", acknowledge_after=None), "canceled", "CANCELED", False),
    "executing": (dict(status="EXECUTING", acknowledge_after=None), "canceled", "CANCELED", False),
    "acknowledged": (dict(status="EXECUTING", acknowledge_after=0), "canceled", "CANCELED", True),
    "suspended": (dict(status="WAITING"), "canceled", "CANCELED", False),
    "canceled before": (dict(status="CANCELED"), "canceled", "CANCELED", True),
    "canceled while it executed": (dict(status="CANCELED", started=True), "canceled", "CANCELED", True),
    "completed anyhow": (
        dict(status="EXECUTING", acknowledge_after=0, completes_despite_cancel=True),
        "already_completed",
        "COMPLETED",
        True,
    ),
    "completed": (dict(status="COMPLETED"), "already_completed", "COMPLETED", True),
    "failed": (dict(status="FAILED"), "already_completed", "FAILED", True),
    "crashed": (dict(status="CRASHED"), "already_completed", "CRASHED", True),
    "system failure": (dict(status="SYSTEM_FAILURE"), "already_completed", "SYSTEM_FAILURE", True),
    "expired": (dict(status="EXPIRED"), "canceled", "CANCELED", True),  # in a deployed environment
    "timed out": (dict(status="TIMED_OUT"), "already_completed", "TIMED_OUT", True),
    "another environment's": (dict(status="EXECUTING", environment="dev"), "not_found", None, False),
}


@pytest.fixture
def runs(server):
    """One run of each kind, by its name, in a random order."""
    kinds = random.sample(list(RUNS.items()), len(RUNS))
    return {name: server.add_run(**given, task_identifier=f"task-{name}") for name, (given, *_) in kinds}


def test_each_run_has_its_true_outcome_once_and_no_other_run_is_touched(runs, server, cancel):
    others = [server.add_run(run.state.status, environment=run.environment) for run in runs.values()]
    before = [run.state for run in others]
    result = cancel(*runs.values(), "run_unknown", *runs.values(), on_not_found="ignore")
    expected: list[dict[str, Any]] = []
    for name, run in [*runs.items(), ("run_unknown", None)]:
        _, outcome, status, terminated = RUNS.get(name, ({}, "not_found", None, False))
        expected.append(
            {
                "run_id": run.id if run else name,
                "outcome": outcome,
                "status": status,
                "task_identifier": f"task-{name}" if status else None,
                "terminated": terminated,
            }
        )
    assert (result.error, result.results) == (None, expected)
    assert [run.state for run in others] == before


@pytest.fixture
def wait_for(cancel):
    """Cancel runs and wait until they are terminated."""

    def run(*runs, **options):
        return cancel(*runs, wait_for_termination=True, poll_interval=0.05, **options)

    return run


def test_runs_that_a_worker_has_are_waited_for(server, wait_for):
    runs = [server.add_run(status, acknowledge_after=0.5) for status in ("EXECUTING", "DEQUEUED")]
    runs.append(server.add_run("QUEUED", acknowledge_after=0.5, then=[(0.3, "EXECUTING")]))
    server.delay_next(seconds=0.5, path=runs[-1].id, method="POST", after_handling=False)
    runs.append(server.add_run(acknowledge_after=0.3, completes_despite_cancel=True))
    result = wait_for(*runs)
    assert (result.error, result.outcomes) == (None, ["canceled"] * 3 + ["already_completed"])
    assert [one["terminated"] for one in result.results] == [run.terminated for run in runs] == [True] * 4


def test_the_time_limit_is_for_the_whole_wait(server, wait_for, said):
    runs = [server.add_run(acknowledge_after=None) for _ in range(8)]
    result = wait_for(*runs, termination_timeout=3, max_concurrency=1)
    assert (result.error, set(result.outcomes)) == (None, {"canceled"})
    assert not any(one["terminated"] for one in result.results)
    (warning,) = said.lines("Canceled, but not terminated within 3 s: ")
    assert "warning" in warning.lower()
    assert all(run.id in warning for run in runs)


def test_a_fault_while_waiting_takes_nothing_back(server, wait_for, meanwhile):
    run = server.add_run(acknowledge_after=3)

    def is_waiting():  # the checks before and after its cancel were answered
        return sum(one.method == "GET" and one.status == 200 for one in list(server.requests)) >= 2

    meanwhile(is_waiting, lambda: server.fail_next(3, 502, method="GET"))
    result = wait_for(run, termination_timeout=30)
    assert (result.error, result.of(run)["terminated"]) == (None, True)
    assert 502 in {request.status for request in server.requests}
