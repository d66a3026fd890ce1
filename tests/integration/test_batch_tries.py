"""Which runs a batch gets on its next try, where its list has changed, and after a clear."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from run_operator import batch
from waiting import LONG, until

from airflow_provider_trigger.run import checks

WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["waits", "defers"])


def statuses(server):
    return [run.status for run in server.runs.values()]


@WAYS
def test_a_retry_starts_only_what_has_failed(deferrable, server, run_try, said):
    server.on_task("resize", output="first", times=2)
    server.on_task("resize", error="boom", times=1)
    server.on_task("resize", output="second")
    first = run_try(batch(payloads=[1, 2, 3], deferrable=deferrable))
    assert "1 of 3 runs did not complete" in str(first.error)
    again = run_try(batch(payloads=[1, 2, 3], deferrable=deferrable), try_number=2)
    assert (again.error, sorted(again.output)) == (None, ["first", "first", "second"])
    assert sorted(statuses(server)) == ["COMPLETED"] * 3 + ["FAILED"]
    kept = set(first.pushed["run_id"]) & set(again.pushed["run_id"])
    assert len(kept) == 2
    assert said.lines("Runs of 3 items: 2 completed before and reused, 0 found alive and taken up, 1 started")


@pytest.mark.parametrize("query_above", [0, 100], ids=["query", "checks"])
def test_a_retry_takes_up_runs_that_are_alive(query_above, server, run_try, monkeypatch):
    monkeypatch.setattr(checks, "QUERY_ABOVE", query_above)
    server.on_task("resize", output="once", start_after=0, after=0.5)
    first = run_try(batch(payloads=[1, 2, 3], wait_for_completion=False))
    again = run_try(batch(payloads=[1, 2, 3]), try_number=2)
    assert (again.output, again.pushed["run_id"]) == (["once"] * 3, first.output)
    assert not any(run.cancel_requests for run in server.runs.values())


@WAYS
def test_a_retry_after_a_cancel_by_hand_starts_once_the_workers_have_stopped(
    deferrable, server, run_try, said
):
    server.on_task("resize", after=None, acknowledge_after=2, times=2)
    server.on_task("resize", output="second", start_after=0)
    first = run_try(batch(payloads=[1, 2], wait_for_completion=False))
    until(lambda: statuses(server) == ["EXECUTING"] * 2, "the runs execute")
    for run_id in first.output:
        server.runs[run_id].cancel()
    again = run_try(batch(payloads=[1, 2], deferrable=deferrable), try_number=2)
    assert (again.error, again.output) == (None, ["second"] * 2)
    assert statuses(server) == ["CANCELED"] * 2 + ["COMPLETED"] * 2
    old, new = list(server.runs.values())[:2], list(server.runs.values())[2:]
    assert max(run.finished_at for run in old) <= min(run.started_at for run in new)
    assert said.lines("2 canceled runs: waiting until their workers have stopped")


@WAYS
def test_a_list_in_another_order_gets_no_other_items_outputs(deferrable, server, run_try, said):
    server.on_task("resize", after=None, times=3)
    server.on_task("resize", output=lambda payload: payload * 2)
    first = run_try(batch(payloads=[1, 2, 3], wait_for_completion=False))
    again = run_try(batch(payloads=[3, 2, 1], deferrable=deferrable, timeout=3), try_number=2)
    # The second item is the same: it was taken up, and never ends.
    assert "1 of 3 runs did not complete: item 1: " in str(again.error)
    assert [server.runs[one].payload for one in again.pushed["run_id"]] == [3, 2, 1]
    assert again.pushed["run_id"][1] == first.output[1]
    assert statuses(server)[:3] == ["CANCELED"] * 3
    assert [result["status"] for result in again.pushed["results"]] == ["COMPLETED", "CANCELED", "COMPLETED"]
    assert said.lines("Canceling 2 runs of an earlier try, for items or a Trigger.dev task that ")


def test_runs_of_items_that_are_gone_are_canceled_although_the_list_is_empty(server, run_try):
    server.on_task("resize", after=None)
    run_try(batch(payloads=[1, 2], wait_for_completion=False))
    again = run_try(batch(payloads=[]), try_number=2)
    assert (again.error, again.output, statuses(server)) == (None, [], ["CANCELED"] * 2)


def test_clearing_a_task_whose_runs_are_alive_cancels_them_first(server, run_try):
    server.on_task("resize", after=None, acknowledge_after=0.5, times=2)
    server.on_task("resize", output="second", start_after=0)
    run_try(batch(payloads=[1, 2], wait_for_completion=False), max_tries=0)
    until(lambda: statuses(server) == ["EXECUTING"] * 2, "the runs execute")
    again = run_try(batch(payloads=[1, 2]), try_number=2, max_tries=1)
    assert again.output == ["second"] * 2
    assert statuses(server) == ["CANCELED"] * 2 + ["COMPLETED"] * 2
    old, new = list(server.runs.values())[:2], list(server.runs.values())[2:]
    assert max(run.finished_at for run in old) <= min(run.started_at for run in new)


def test_clearing_a_task_that_has_ended_starts_all_again(server, run_try):
    server.on_task("resize", output="first", times=2)
    server.on_task("resize", output="second")
    run_try(batch(payloads=[1, 2]), max_tries=0)
    again = run_try(batch(payloads=[1, 2]), try_number=2, max_tries=1)
    assert (again.output, len(server.runs)) == (["second"] * 2, 4)


@pytest.mark.parametrize("clears_dag_run", [False, True], ids=["task", "dag_run"])
@WAYS
def test_a_clear_starts_only_what_has_not_completed_where_it_reuses(
    deferrable, clears_dag_run, server, run_try, said
):
    def made(**options):
        return batch(payloads=[1, 2, 3], reuse_completed=True, deferrable=deferrable, **options)

    server.on_task("resize", error="boom", times=1)
    server.on_task("resize", output=lambda payload: payload * 2)
    first = run_try(made(), max_tries=0)
    assert "1 of 3 runs did not complete" in str(first.error)
    started = {"started_at": datetime.now(UTC).isoformat()} if clears_dag_run else {}
    again = run_try(made(tags=["again"]), try_number=2, max_tries=1, **started)
    assert (again.error, again.output, len(server.runs)) == (None, [2, 4, 6], 4)
    kept = set(first.pushed["run_id"]) & set(again.pushed["run_id"])
    assert len(kept) == 2
    assert said.lines("Runs of 3 items: 2 completed before and reused, 0 found alive and taken up, 1 started")


def test_a_retry_with_other_retries_takes_up_runs_that_are_alive(server, run_try):
    server.on_task("resize", output="first", start_after=0, after=0.5)
    first = run_try(batch(payloads=[1, 2], retries=2, wait_for_completion=False))
    again = run_try(batch(payloads=[1, 2], retries=1), try_number=2)
    assert (again.output, again.pushed["run_id"]) == (["first"] * 2, first.output)
    assert not any(run.cancel_requests for run in server.runs.values())


@pytest.mark.parametrize("max_tries", [0, 1], ids=["retried", "cleared"])
def test_without_a_cancel_on_kill_the_next_try_takes_up_runs_that_are_alive(max_tries, server, run_try):
    server.on_task("resize", output="first", after=1)
    first = run_try(batch(payloads=[1, 2], wait_for_completion=False), max_tries=0)
    made = batch(payloads=[1, 2], cancel_on_kill=False)
    again = run_try(made, try_number=2, max_tries=max_tries)
    assert (again.output, again.pushed["run_id"]) == (["first"] * 2, first.output)


def test_by_hand_without_a_task_instance_each_execution_has_runs(server, connect):
    connect(retry_for=30)
    server.on_task("resize", output=1)
    server.disconnect_next(2, path="/tasks/batch", after_handling=True)
    for _ in range(2):
        assert batch(payloads=[1, 2]).execute({}) == [1, 1]
    assert len(server.runs) == 4


def test_a_list_that_cannot_be_searched_is_a_warning(server, connect, run_try, said):
    connect(retry_for=0.1)
    server.on_task("resize", output="first", start_after=0, after=0.2)
    run_try(batch(payloads=[1], wait_for_completion=False))
    server.fail_next(None, 500, path="/api/v1/runs?")
    again = run_try(batch(payloads=[1], timeout=LONG), try_number=2)
    assert again.output == ["first"]
    assert said.lines("the list of runs could not be searched")


def test_runs_that_are_canceled_again_and_again_are_an_error(server, run_try, meanwhile, monkeypatch):
    server.on_task("resize", after=None)
    first = run_try(batch(payloads=[1], wait_for_completion=False))
    server.runs[first.output[0]].cancel()
    # The keys are never released, as it seems.
    server.fail_next(None, 404, body={"error": "No runs found with idempotency key: k"}, path="/reset")
    again = run_try(batch(payloads=[1]), try_number=2)
    assert "5 times in a row runs were canceled right after their start" in str(again.error)
