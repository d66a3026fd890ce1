from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from airflow_provider_trigger._compat import AirflowFailException

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


def test_each_run_has_its_true_outcome_in_one_call(runs, cancel):
    result = cancel(*runs.values(), "run_unknown", on_not_found="ignore")
    expected = []
    for name, run in runs.items():
        _, outcome, status, terminated = RUNS[name]
        expected.append(
            {
                "run_id": run.id,
                "outcome": outcome,
                "status": status,
                "task_identifier": f"task-{name}" if status else None,
                "terminated": terminated,
            }
        )
    expected.append(
        {
            "run_id": "run_unknown",
            "outcome": "not_found",
            "status": None,
            "task_identifier": None,
            "terminated": False,
        }
    )
    assert result.error is None
    assert result.results == expected


def test_nothing_else_is_touched(runs, server, cancel):
    others = [server.add_run(run.state.status, environment=run.environment) for run in runs.values()]
    before = [run.state for run in others]
    cancel(*runs.values(), "run_unknown", on_not_found="ignore")
    assert [run.state for run in others] == before
    known = [run.id for name, run in runs.items() if name != "another environment's"]
    unknown = [runs["another environment's"].id, "run_unknown"]
    assert Counter((request.method, request.path) for request in server.requests) == Counter(
        [("POST", f"/api/v2/runs/{run_id}/cancel") for run_id in known + unknown]
        + [("GET", f"/api/v3/runs/{run_id}") for run_id in known]
    )


def test_an_id_given_twice_is_canceled_once(server, cancel):
    first, second = server.add_run(), server.add_run()
    result = cancel(first, second, first)
    assert [one["run_id"] for one in result.results] == [first.id, second.id]
    assert len(server.requests) == 4


ODD_IDS = ["../runs", "run_a/cancel?x=", "run_a%2fb", "run_é", "http://127.0.0.2/run"]


@pytest.mark.parametrize("run_id", ODD_IDS)
def test_the_operator_rejects_what_cannot_be_a_run_id_and_sends_nothing_for_it(run_id, server, cancel):
    run, bystander = server.add_run(), server.add_run(run_id="run_a")
    result = cancel(run_id, run)
    assert type(result.error) is AirflowFailException
    assert "is not a valid run id" in str(result.error)
    assert result.outcomes == ["canceled"]
    assert {request.path.split("/")[4] for request in server.requests} == {run.id}
    assert bystander.status == "EXECUTING"


@pytest.mark.parametrize("on_not_found", ["fail", "ignore"])
def test_where_every_run_is_unknown_another_environment_is_suggested(on_not_found, server, cancel, said):
    run = server.add_run(environment="dev")
    result = cancel(run, "run_unknown", on_not_found=on_not_found)
    hint = "does the secret key of connection 'trigger_dev_default' belong to another environment?"
    if on_not_found == "fail":
        assert type(result.error) is AirflowFailException
        assert hint in str(result.error)
    else:
        assert result.error is None
        assert said.lines("warning" if "[warning" in said.text else "WARNING", hint)
