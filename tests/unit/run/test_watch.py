"""A wait in this thread, in virtual time: what its checks meet, and how it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, pairwise
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import NotSentError, OversizeError
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.run.stop import StoppedError
from airflow_provider_trigger.run.wait import Watched
from airflow_provider_trigger.run.waited import WaitEnd, WaitSettings
from airflow_provider_trigger.run.watch import wait_for_runs

GET, LIST, QUERY = "GET /api/v3/runs/", "GET /api/v1/runs", "POST /api/v1/query"


@pytest.fixture
def fail_between(network, virtual_time) -> Callable[..., None]:
    """Let checks fail in some spans of time, in seconds from the begin of the test, with replies in turn."""

    def act(*spans: tuple[float, float], replies: list[Any], part: str = "GET") -> None:
        in_turn = cycle(replies)

        def before(_: str) -> None:
            network.repair()
            if any(start <= virtual_time.now - 1000 < end for start, end in spans):
                network.fault(part, next(in_turn))

        network.before = before

    return act


@pytest.fixture
def broken(answer):
    return answer(500, {"error": "Something went wrong"})


@pytest.mark.parametrize("run_ids", [[".."], ["..", "run_1"]])
def test_an_id_that_cannot_be_sent_is_an_error(wait, run_ids: list[str]) -> None:
    with pytest.raises(NotSentError):
        wait(*run_ids)


# Checks that fail


def test_an_outage_is_one_line_at_its_begin_one_a_minute_and_one_at_its_end(
    server, fail_between, wait, log, answer, lost
) -> None:
    run = server.add_run("EXECUTING", then=[(2000, "COMPLETED")])
    replies = [lost, answer(503, "down"), answer(200, b"<html>"), answer(429, {"error": "too many"})]
    fail_between((20, 660), (800, 900), replies=replies)
    [waited] = wait(run, patience=10, poll_interval=20)
    assert (waited.end, waited.error) == (WaitEnd.FINAL, "")
    failed, still = f"Status check of run {run.id} failed", f"Status checks of run {run.id} have failed for"
    minutes = [f"{still} {seconds} s" for seconds in range(60, 620, 60)]
    assert [line.split(";")[0] for line in log.of("warning")] == [failed, *minutes, failed, f"{still} 60 s"]
    assert [line for line in log.of("info") if "again" in line] == [
        f"Run {run.id} can be checked again after {seconds} s" for seconds in (640, 100)
    ]


def test_a_run_that_never_was_is_rejected_without_one(wait, virtual_time) -> None:
    [waited] = wait("run_x", patience=0)
    assert (waited.end, waited.run, virtual_time.now) == (WaitEnd.REJECTED, None, 1030)


# A run whose checks are answered, but never with the run


@pytest.mark.parametrize(("patience", "after"), [(60, 60), (0, 30)])
@pytest.mark.parametrize("reply", ["500", "400", "503", "page", "too deep", "too large", "in turn"])
@pytest.mark.parametrize("was_seen", [False, True])
def test_it_is_not_waited_for_any_more_whatever_the_answer_is(
    server, network, wait, virtual_time, answer, reply: str, patience: float, after: float, was_seen: bool
) -> None:
    replies = {
        "500": answer(500, {"error": "Something went wrong"}),
        "400": answer(400, {"error": "No"}),
        "503": answer(503, {"error": "Busy"}),
        "page": answer(200, b"<html>"),
        "too deep": answer(200, b"[" * 100_000),
        "too large": OversizeError("GET /api/v3/runs/run_1", limit=16 * 1024 * 1024, size=None),
    }
    in_turn = cycle([replies["500"], answer(404, {"error": "Not found"})])
    run = server.add_run("EXECUTING")
    network.before = lambda request: (
        network.fault(f"{GET}{run.id}", next(in_turn) if reply == "in turn" else replies[reply])
        if len(network.requests) > was_seen
        else None
    )
    [waited] = wait(run, patience=patience)
    status = waited.run and waited.run.status
    assert (waited.end, status) == (WaitEnd.REJECTED, "EXECUTING" if was_seen else None)
    assert "answered" in waited.error
    assert virtual_time.now - 1000 == pytest.approx(after + 5 * was_seen, abs=12)


def test_an_outage_that_ends_between_the_requests_ends_no_wait(server, wait, network, broken) -> None:
    run = server.add_run("COMPLETED")
    network.before = lambda _: network.repair() if LIST in network.requests else network.fault(GET, broken)
    [waited] = wait(run)
    assert (waited.end, waited.run and waited.run.status) == (WaitEnd.FINAL, "COMPLETED")


# When they are checked


@pytest.mark.parametrize(("poll_interval", "pauses"), [(7.0, {7.0}), (None, {2.0, 2.5})])
def test_few_runs_are_checked_by_themselves_at_their_interval_or_after_a_tenth_of_their_age(
    server, network, wait, virtual_time, poll_interval: float | None, pauses: set[float]
) -> None:
    checked: list[float] = []
    network.before = lambda request: checked.append(virtual_time.now)
    wait(server.add_run("EXECUTING", then=[(27, "COMPLETED")]), poll_interval=poll_interval)
    assert {round(later - earlier, 1) for earlier, later in pairwise(checked)} == pauses
    assert all(GET in request for request in network.requests)


# Stopping


def test_a_stop_ends_a_pause(client, server, virtual_time, log) -> None:
    run = server.add_run("EXECUTING")
    with pytest.raises(StoppedError):
        wait_for_runs(
            [run.id],
            WaitSettings(poll_interval=60),
            client,
            log=log,
            is_stopped=lambda: virtual_time.now >= 1010,
        )
    assert virtual_time.now < 1011


# Many runs


def add(server, count: int, after: float) -> list[Any]:
    return [server.add_run("EXECUTING", then=[(after, "COMPLETED")]) for _ in range(count)]


def test_an_id_that_may_not_stand_in_a_query_is_checked_by_itself(wait, server, network) -> None:
    *_, other = wait(*add(server, 25, 10), "run_1' OR '1'='1", poll_interval=None)
    assert other.end is WaitEnd.REJECTED
    assert network.sent(f"{GET}run_1%27")


# What is known of a run


def seen(status: str = "EXECUTING", attempt: int = 1, **shown: Any) -> Run:
    return Run.from_answer({"id": "run_1", "status": status, "attemptCount": attempt} | shown)


@pytest.mark.parametrize(
    ("queried_at", "run", "expected"),
    [
        (101.0, seen("WAITING"), False),  # the query lags behind
        (104.0, seen("WAITING"), True),
        (104.0, seen("QUEUED", attempt=0), False),  # an attempt that is past
        (101.0, seen("COMPLETED"), True),
    ],
)
def test_a_query_that_may_be_behind_a_check_does_not_overwrite_it_unless_it_shows_an_end(
    queried_at: float, run: Run, expected: bool
) -> None:
    one = Watched("run_1", added_at=0.0, born_at=0.0)
    one.saw(seen(), sent_at=100.0, now=100.1)
    one.checked_at = 100.0
    assert one.may_learn_from(run, queried_at, now=queried_at) is expected
