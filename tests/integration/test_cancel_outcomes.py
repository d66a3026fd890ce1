from __future__ import annotations

import random
from collections import Counter

import pytest

from airflow_provider_trigger._compat import AirflowFailException
from airflow_provider_trigger.reporting import MAX_LINES

# How a run stands and what its worker does, then: the outcome, the status, and whether it can still change.
RUNS = {
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
    "expired": (dict(status="EXPIRED"), "already_completed", "EXPIRED", True),
    "timed out": (dict(status="TIMED_OUT"), "already_completed", "TIMED_OUT", True),
    "another environment's": (dict(status="EXECUTING", environment="dev"), "not_found", None, False),
}


@pytest.fixture
def runs(server):
    """One run of each kind, by its name, in an order that is none."""
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


def test_a_run_of_another_environment_goes_on(server, cancel):
    run = server.add_run(environment="dev")
    assert cancel(run).outcomes == ["not_found"]
    assert run.status == "EXECUTING"


def test_an_id_given_twice_is_canceled_once(server, cancel):
    first, second = server.add_run(), server.add_run()
    result = cancel(first, second, first)
    assert [one["run_id"] for one in result.results] == [first.id, second.id]
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "run_id", ["../runs", "run_a/cancel?x=", "run_a%2fb", "run_é", "http://127.0.0.2/run"]
)
def test_an_id_stays_one_segment_of_the_path(run_id, server, cancel):
    bystander = server.add_run(run_id="run_a")
    run = server.add_run(run_id=run_id)
    assert cancel(run).outcomes == ["canceled"]
    assert bystander.status == "EXECUTING"


def test_each_run_has_its_line_with_a_link(server, cancel, said):
    run, done = server.add_run("QUEUED", task_identifier="send-mail"), server.add_run("COMPLETED")
    cancel(run, done, "run_unknown", on_not_found="ignore")
    assert said.lines(f"{run.id} (send-mail): canceled, CANCELED {server.url}/runs/{run.id}")
    assert said.lines(f"{done.id} (hello-task): already completed, COMPLETED {server.url}/runs/{done.id}")
    assert said.lines(f"run_unknown (task unknown): not found, status unknown {server.url}/runs/run_unknown")
    assert said.lines("3 Trigger.dev runs: 1 canceled, 1 already completed, 1 not found")


def test_links_lead_to_the_dashboard(server, connect, cancel, said):
    run = server.add_run()
    connect(dashboard_url="https://dashboard.example.com/")
    cancel(run)
    assert said.lines(f"canceled, CANCELED https://dashboard.example.com/runs/{run.id}")


def test_a_hundred_runs_have_their_lines(server, cancel, said):
    runs = [server.add_run() for _ in range(MAX_LINES)]
    cancel(*runs)
    assert all(said.lines(run.id, "canceled, CANCELED") for run in runs)


def test_of_more_runs_only_those_that_need_a_look_have_theirs(server, cancel, said):
    runs = [server.add_run() for _ in range(MAX_LINES)]
    cancel(*runs, "run_unknown", on_not_found="ignore")
    assert not said.lines("canceled, CANCELED")
    assert said.lines("run_unknown", "not found, status unknown")
    assert said.lines("101 Trigger.dev runs: 100 canceled, 1 not found")


def test_long_work_tells_how_far_it_is(server, cancel, said, monkeypatch):
    from airflow_provider_trigger.cancel import workers

    monkeypatch.setattr(workers, "_PROGRESS_EVERY", 0.1)
    server.latency = 0.1
    cancel(*[server.add_run() for _ in range(30)], max_concurrency=4)
    assert said.lines("Asked to cancel", "of 30")
    assert said.lines("Looked at", "of 30")


def test_an_unknown_run_fails_without_retries(server, cancel):
    run = server.add_run()
    result = cancel("run_unknown", run)
    assert type(result.error) is AirflowFailException
    assert "not found: run_unknown" in str(result.error)
    assert "another environment" not in str(result.error)
    assert result.outcomes == ["not_found", "canceled"]


@pytest.mark.parametrize("on_not_found", ["fail", "ignore"])
def test_where_every_run_is_unknown_the_environment_is_doubted(on_not_found, server, cancel, said):
    run = server.add_run(environment="dev")
    result = cancel(run, "run_unknown", on_not_found=on_not_found)
    assert (result.error is None) is (on_not_found == "ignore")
    assert said.lines(
        "warning" if "[warning" in said.text else "WARNING", "'trigger_dev_default'", "another environment?"
    )


def test_a_run_that_was_canceled_twice_is_canceled(server, cancel):
    run = server.add_run()
    assert cancel(run).outcomes == cancel(run).outcomes == ["canceled"]


def test_all_runs_are_asked_to_stop_before_the_first_is_looked_at(server, cancel):
    cancel(*[server.add_run() for _ in range(50)])
    assert [request.method for request in server.requests] == ["POST"] * 50 + ["GET"] * 50
