"""A call for each of several runs, and the checks of a wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_trigger.api.endpoints.runs import cancel_run, retrieve_run
from airflow_provider_trigger.api.errors import NotFoundError, PermissionDeniedError, ResponseError
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.run import checks
from airflow_provider_trigger.run.checks import (
    CONCURRENCY,
    QUERY_ABOVE,
    RunChecks,
    are_few,
    call_all,
    call_each,
    check_visible,
    in_threads,
    query_many,
    wait_until_terminated,
)

QUERY, GET, SNAPSHOT = "POST /api/v1/query", "GET /api/v3/runs/", "GET /realtime/v1/runs/"


def add(server, count: int, status: str = "EXECUTING") -> list[Any]:
    return [server.add_run(status) for _ in range(count)]


def ids_of(runs: list[Any]) -> list[str]:
    return [run.id for run in runs]


def test_no_more_calls_are_made_at_a_time_than_allowed(
    server, client, network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "CONCURRENCY", 1)
    threads: list[str] = []

    def take_long(_: str) -> None:
        threads.append(threading.current_thread().name)
        time.sleep(0.005)  # in which another thread would begin

    network.before = take_long
    run_ids = [server.add_run("EXECUTING").id for _ in range(5)]
    assert list(call_each(client, retrieve_run, run_ids)) == run_ids
    assert threads == ["trigger-dev-call_0"] * 5


@pytest.mark.parametrize("fails", [False, True])
def test_an_error_is_raised_once_all_calls_are_made(fails: bool, server, client, network, answer) -> None:
    run_ids = [server.add_run("EXECUTING").id for _ in range(5)]
    if fails:
        network.fault(run_ids[0], answer(403, {"error": "No"}))
        with pytest.raises(PermissionDeniedError, match=run_ids[0]):
            call_all(client, retrieve_run, run_ids)
    else:
        runs = call_all(client, retrieve_run, run_ids)
        assert {one: run.id for one, run in runs.items()} == {one: one for one in run_ids}
    assert len(network.requests) == 5


class Interrupted(list[str]):
    """Run ids; a signal comes when the last one was read, while the first call is in flight."""

    def __init__(self, run_ids: list[str]) -> None:
        super().__init__(run_ids)
        self.in_flight = threading.Event()

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        self.in_flight.wait(60)
        raise KeyboardInterrupt


def test_what_ends_the_task_waits_for_no_call_in_flight_and_lets_none_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checks, "CONCURRENCY", 1)
    run_ids, release = Interrupted(["run_1", "run_2", "run_3"]), threading.Event()
    begun: list[threading.Thread] = []
    ended: list[str] = []

    def work(run_id: str) -> None:
        begun.append(threading.current_thread())
        run_ids.in_flight.set()
        release.wait(10)
        ended.append(run_id)

    with pytest.raises(KeyboardInterrupt):
        list(in_threads(work, run_ids))
    assert ended == []
    release.set()
    begun[0].join(60)
    assert ended == ["run_1"]


# Until the workers of canceled runs have stopped


@pytest.fixture
def stop(client, log, clock) -> Callable[..., dict[str, Run]]:
    """Wait until the workers of runs have stopped."""

    def act(run_ids: list[str]) -> dict[str, Run]:
        seen = check_visible(client, run_ids)
        return wait_until_terminated(client, seen, log=log, sleep=clock.sleep)

    return act


def test_all_canceled_runs_are_waited_for_and_shown(server, client, stop, log, clock, network) -> None:
    early, late, done = *add(server, 2), server.add_run("COMPLETED")
    client.call(cancel_run(early.id))
    clock.sleep(5)
    client.call(cancel_run(late.id))
    begun = clock.now
    seen = stop(ids_of([early, late, done]))
    assert {one: run.status for one, run in seen.items()} == {
        early.id: "CANCELED",
        late.id: "CANCELED",
        done.id: "COMPLETED",
    }
    assert all(run.is_terminated for run in seen.values())
    assert 10 <= clock.now - begun <= 12
    assert log.leveled == [("info", "2 canceled runs: waiting until their workers have stopped")]
    assert len(network.sent(f"{GET}{early.id}")) < len(network.sent(f"{GET}{late.id}"))


# Few runs or many


def test_up_to_a_limit_runs_are_few() -> None:
    run_ids = [f"run_{number}" for number in range(QUERY_ABOVE + 1)]
    assert (are_few(run_ids[:-1]), are_few(run_ids)) == (True, False)


def test_more_runs_than_a_query_can_name_are_in_several_queries(
    server, client, network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "QUERY_ABOVE", 0)
    monkeypatch.setattr(checks, "MAX_QUERIED_RUNS", 2)
    run_ids = ids_of(add(server, 5))
    shown = query_many(client, run_ids)
    assert shown is not None
    assert {one: run.id for one, run in shown.items()} == {one: one for one in run_ids}
    assert network.requests == [QUERY] * 3


# The checks of one wait


@pytest.fixture
def run_checks(log) -> RunChecks:
    return RunChecks(log)


@pytest.fixture
def check(run_checks: RunChecks, client) -> Callable[..., dict[str, str]]:
    """Check runs once; return the statuses that were seen, by run id."""

    def act(*runs: Any) -> dict[str, str]:
        seen = run_checks.make(client, ids_of(list(runs)))
        statuses = {run.id: run.status for run in seen}
        assert len(statuses) == len(seen)
        return statuses

    return act


def test_a_few_runs_are_checked_one_by_one_without_what_can_be_large(
    server, client, run_checks: RunChecks, network, log
) -> None:
    alive = server.add_run("EXECUTING")
    done = server.add_run("COMPLETED", payload={"pages": 1000})
    seen = {run.id: run for run in run_checks.make(client, [alive.id, done.id])}
    assert {one: run.status for one, run in seen.items()} == {alive.id: "EXECUTING", done.id: "COMPLETED"}
    assert "payload" not in seen[done.id].attributes
    assert sorted(network.requests) == sorted([f"{GET}{alive.id}", f"{GET}{done.id}"])
    assert log.lines == []


def test_a_run_whose_check_fails_is_warned_of_and_the_others_are_shown(
    server, check, network, log, answer, clock
) -> None:
    done, failing, alive = server.add_run("COMPLETED"), *add(server, 2)
    network.fault(failing.id, answer(503, {"error": "Down"}), times=1000)
    assert check(done, failing, alive) == {done.id: "COMPLETED", alive.id: "EXECUTING"}
    [(level, line)] = log.leveled
    assert level == "warning"
    assert line.startswith(f"Status check of run {failing.id} failed; still waiting: {GET}{failing.id} ans")
    assert "Down" in line
    assert network.sent(SNAPSHOT) == []


def test_a_check_that_fails_is_repeated_for_seconds_not_for_minutes(
    server, check, network, answer, clock
) -> None:
    [run] = add(server, 1)
    network.fault(GET, answer(503, {"error": "Down"}), times=1000)
    begun = clock.now
    assert check(run) == {}
    assert 3 < clock.now - begun < 30
    assert len(network.sent(GET)) > 2


@pytest.mark.parametrize("has_succeeded", [False, True])
def test_an_unknown_run_ends_the_wait(server, check, has_succeeded: bool) -> None:
    alive, gone = add(server, 2)
    if has_succeeded:
        check(alive)
    del server.runs[gone.id]
    with pytest.raises(NotFoundError, match=gone.id):
        check(alive, gone)


def test_what_cannot_pass_by_itself_ends_the_wait_before_a_check_has_succeeded(
    server, check, network, answer
) -> None:
    [run] = add(server, 1)
    network.fault(GET, answer(503, {"error": "Down"}), times=1000)
    assert check(run) == {}
    network.repair()
    network.fault(GET, answer(400, {"error": "No"}), times=1000)
    with pytest.raises(ResponseError, match="answered 400"):
        check(run)


def test_the_wait_survives_that_once_a_check_has_succeeded(server, check, network, log, answer) -> None:
    first, second = add(server, 2)
    network.fault(second.id, answer(400, {"error": "No"}), times=1000)
    assert set(check(first, second)) == {first.id}  # this very check has shown that the server is right
    network.fault(first.id, answer(400, {"error": "No"}), times=1000)
    for _ in range(3):
        assert check(first, second) == {}
    assert len(log.of("warning")) == 1 + 3 * 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_has_worked_may_be_rejected_once_but_not_two_times_in_a_row(
    server, check, network, log, answer, status: int
) -> None:
    alive, rejected, down = add(server, 3)
    rejection = answer(status, {"error": "Invalid API key"})
    for _ in range(2):
        network.fault(rejected.id, rejection, times=1000)
        network.fault(down.id, answer(503, {"error": "Down"}), times=1000)
        assert set(check(alive, rejected, down)) == {alive.id}
        network.repair()
        assert len(check(alive, rejected, down)) == 3
    network.fault(rejected.id, rejection, times=1000)
    network.fault(down.id, answer(400, {"error": "No"}), times=1000)
    assert set(check(alive, rejected, down)) == {alive.id}
    assert len(log.of("warning")) == 6
    assert set(check(alive, down)) == {alive.id}, "another error ends nothing"
    assert set(check(alive, rejected)) == {alive.id}, "it is the first rejection in a row again"
    with pytest.raises(ResponseError, match=f"answered {status}"):
        check(alive, rejected)


# Runs whose checks answer 500


@pytest.fixture
def broken(answer) -> Any:
    return answer(500, {"error": "Something went wrong"})


def test_a_run_whose_checks_answer_500_is_shown_by_its_realtime_feed(
    server, check, network, log, broken, answer
) -> None:
    alive, done = server.add_run("EXECUTING"), server.add_run("COMPLETED")
    network.fault(f"{GET}{done.id}", broken, times=1000)
    assert check(alive, done) == {alive.id: "EXECUTING", done.id: "COMPLETED"}
    assert network.sent(SNAPSHOT) == [f"{SNAPSHOT}{done.id}"]
    assert log.lines == []
    # So a check has succeeded.
    network.fault(SNAPSHOT, answer(503, {"error": "Off"}), times=1000)
    assert check(done) == {}


def test_without_a_realtime_feed_it_is_warned_of(server, check, network, log, broken, answer, clock) -> None:
    [run] = add(server, 1)
    network.fault(GET, broken, times=1000)
    network.fault(SNAPSHOT, answer(503, {"error": "Off"}), times=1000)
    assert check(run) == {}
    assert network.sent(SNAPSHOT) == [f"{SNAPSHOT}{run.id}"]
    [line] = log.of("warning")
    assert f"{GET}{run.id} answered 500" in line


# Many runs


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any number of runs be many."""
    monkeypatch.setattr(checks, "QUERY_ABOVE", 0)


@pytest.mark.usefixtures("many")
def test_of_many_runs_those_that_failed_are_checked_first_and_those_that_completed_never(
    server, check, network
) -> None:
    runs = {status: add(server, 10, status) for status in ("EXECUTING", "COMPLETED", "FAILED")}
    seen = check(*runs["EXECUTING"], *runs["COMPLETED"], *runs["FAILED"])
    assert seen == {run.id: status for status, some in runs.items() for run in some}
    assert network.requests[0] == QUERY
    checked = {request.removeprefix(GET) for request in network.requests[1:]}
    assert len(network.requests) == 1 + CONCURRENCY
    assert checked > set(ids_of(runs["FAILED"]))
    assert checked < set(ids_of(runs["FAILED"] + runs["EXECUTING"]))


@pytest.mark.usefixtures("many")
def test_runs_that_a_query_lacks_are_checked_before_those_that_it_shows(
    server, check, network, clock
) -> None:
    server.query_lag = 60.0
    listed = add(server, 30)
    clock.sleep(100)
    new = add(server, CONCURRENCY)
    assert set(check(*listed, *new)) == set(ids_of(listed + new))
    assert {request.removeprefix(GET) for request in network.sent(GET)} == set(ids_of(new))


@pytest.mark.usefixtures("many")
def test_an_unknown_one_among_many_runs_ends_the_wait(server, check) -> None:
    runs = add(server, 40)
    del server.runs[runs[-1].id]
    with pytest.raises(NotFoundError, match=runs[-1].id):
        check(*runs)


@pytest.mark.usefixtures("many")
def test_each_of_many_runs_has_its_turn_so_that_an_end_that_queries_have_lost_is_found(server, check) -> None:
    runs = add(server, 3 * CONCURRENCY)
    lost = runs[-1]
    server.lose_in_query(lost.id)
    lost.status = "COMPLETED"
    # It is not among the runs that are checked with a chance of 2 in 3 each time.
    assert any(check(*runs)[lost.id] == "COMPLETED" for _ in range(100))


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("queried", "checked", "seen"),
    [("FAILED", "EXECUTING", "FAILED"), ("QUEUED", "EXECUTING", "EXECUTING"), ("QUEUED", "FAILED", "FAILED")],
)
def test_a_check_is_newer_than_a_query_but_does_not_undo_an_end(
    server, check, network, answer, queried: str, checked: str, seen: str
) -> None:
    run = server.add_run(queried)
    network.fault(GET, answer(200, {"id": run.id, "status": checked}))
    assert check(run) == {run.id: seen}


@pytest.mark.usefixtures("many")
def test_what_a_query_shows_counts_as_a_check_that_has_succeeded(server, check, network, log, answer) -> None:
    [run] = add(server, 1)
    network.fault(GET, answer(400, {"error": "No"}), times=1000)
    assert check(run) == {run.id: "EXECUTING"}
    assert len(log.of("warning")) == 1


@pytest.mark.usefixtures("many")
def test_where_the_query_fails_each_of_many_runs_is_checked(server, check, network, answer) -> None:
    network.fault(QUERY, answer(400, {"error": "No"}), times=1000)
    runs = add(server, 2 * CONCURRENCY)
    assert check(*runs) == {run.id: "EXECUTING" for run in runs}
    assert len(network.sent(GET)) == len(runs)
