"""What a wait comes to where a run does not simply end, and what is logged meanwhile; in virtual time."""

from __future__ import annotations

import re
from typing import Any

import pytest

from airflow_provider_trigger.run.waited import WaitEnd

GET, CANCEL = "GET /api/v3/runs/", "/cancel"


def add(server, count: int = 1, status: str = "EXECUTING", **fields: Any) -> list[Any]:
    return [server.add_run(status, **fields) for _ in range(count)]


def shown(waits: list[Any]) -> list[tuple[str, str | None, bool]]:
    return [(waited.end.value, waited.run and waited.run.status, waited.is_canceled) for waited in waits]


@pytest.fixture
def said(log):
    """Return what is logged but for the first line, and the progress of cancels."""
    return lambda: [line for line in log.lines if not line.startswith("Waiting for ")]


def test_each_run_is_waited_for_once_and_what_became_of_it_is_in_their_order(server, wait, network) -> None:
    first, second = add(server, 2, then=[(20, "COMPLETED")])
    assert shown(wait(second, first, second)) == [("final", "COMPLETED", False)] * 2
    assert len(network.requests) == len(set(network.requests)) * 5


# The deadline


def test_at_the_deadline_runs_are_canceled_together_and_each_has_an_outcome_of_its_own(
    server, wait, network, answer, virtual_time, log
) -> None:
    alive, late, unseen, refused = (*add(server), *add(server, 2, then=[(59, "COMPLETED")]), *add(server))
    network.fault(f"{refused.id}{CANCEL}", answer(403, {"error": "No"}), times=100)
    network.before = lambda request: (
        network.fault(f"{GET}{unseen.id}", answer(400, {"error": "No"}))
        if request == f"{GET}{unseen.id}" and virtual_time.now > 1062 and network.sent(f"{unseen.id}{CANCEL}")
        else None
    )
    waits = wait(alive, late, unseen, refused, "run_x", deadline=virtual_time.time() + 60, poll_interval=50)
    assert shown(waits) == [
        ("timed_out", "CANCELED", True),
        ("final", "COMPLETED", False),
        ("final", "COMPLETED", False),
        ("timed_out", "EXECUTING", False),
        ("timed_out", None, False),
    ]
    assert waits[1].run.output == {"done": True} or not waits[1].run.has_contents
    assert "answered 403" in waits[3].error
    assert waits[4].error == "this key's environment has no such run"
    assert log.of("warning")[-5:] == [
        f"Canceling run {one}: it did not end in time"
        for one in (alive.id, late.id, unseen.id, refused.id, "run_x")
    ]
    assert not [request for request in network.sent(CANCEL) if request.count(alive.id) > 1]


@pytest.mark.parametrize("is_seen", [True, False])
def test_a_wait_that_cancels_nothing_checks_its_runs_once_more_at_the_deadline(
    server, wait, network, lost, virtual_time, is_seen: bool
) -> None:
    late, alive = add(server, then=[(59, "COMPLETED")]) + add(server)
    network.before = lambda _: network.fault(GET, lost) if virtual_time.now >= 1060 and not is_seen else None
    settings = {"deadline": virtual_time.time() + 60, "poll_interval": 50, "cancels": False}
    waits = wait(late, alive, **settings)
    ends = [("final", "COMPLETED", False), ("timed_out", "EXECUTING", False)]
    assert shown(waits) == (ends if is_seen else [ends[1]] * 2)
    assert waits[1].error.startswith("its last check failed: " if not is_seen else "")
    assert not network.sent(CANCEL)


# No version


def test_a_run_without_a_version_is_canceled_after_a_time_unless_a_check_shows_it_otherwise(
    server, wait, network, virtual_time
) -> None:
    [without], [late] = (
        add(server, 1, "PENDING_VERSION"),
        add(server, 1, "PENDING_VERSION", then=[(299, "EXECUTING"), (400, "COMPLETED")]),
    )
    waits = wait(without, late, pending_version_timeout=300, poll_interval=40)
    assert shown(waits) == [("no_version", "CANCELED", True), ("final", "COMPLETED", False)]
    assert len(network.sent(CANCEL)) == 1


def test_a_check_that_fails_then_puts_the_cancel_off(server, wait, network, lost, virtual_time) -> None:
    [run] = add(server, 1, "PENDING_VERSION")
    network.before = lambda _: network.fault(GET, lost) if 1295 < virtual_time.now < 1390 else None
    [waited] = wait(run, pending_version_timeout=300, poll_interval=40)
    assert waited.end is WaitEnd.NO_VERSION
    assert virtual_time.now > 1390


@pytest.mark.parametrize(
    ("settings", "end"),
    [
        ({"pending_version_timeout": 60}, ". After 60 s (pending_version_timeout) the run is canceled"),
        (
            {"cancels": False, "pending_version_timeout": 60},
            ". After 60 s (pending_version_timeout) the wait ends",
        ),
        ({"pending_version_timeout": None}, "and the environment of the secret key"),
    ],
)
def test_it_is_a_warning_each_time_that_says_what_to_do(server, wait, log, settings, end: str) -> None:
    then = [(20, "QUEUED"), (40, "PENDING_VERSION"), (60, "QUEUED"), (80, "COMPLETED")]
    [run] = add(server, 1, "PENDING_VERSION", then=then)
    assert shown(wait(run, **settings)) == [("final", "COMPLETED", False)]
    for warning in (warnings := log.of("warning")):
        assert warning.startswith(f"Run {run.id} is PENDING_VERSION: no deployed version in this environment")
        assert warning.endswith(end)
    assert len(warnings) == 2


def test_of_many_that_wait_for_a_version_one_is_named(server, wait, log) -> None:
    wait(*add(server, 12, "PENDING_VERSION", then=[(30, "COMPLETED")]))
    [line] = log.of("warning")
    assert ", as are 11 others: no deployed version " in line


# One run that ends the wait for all


@pytest.mark.parametrize("cancels_others", [True, False])
def test_a_run_that_ends_otherwise_ends_the_wait_and_the_others_if_that_is_wanted(
    server, wait, log, cancels_others: bool
) -> None:
    failed, done, alive = (
        *add(server, then=[(21, "FAILED")]),
        *add(server, then=[(3, "COMPLETED")]),
        *add(server),
    )
    waits = wait(
        failed, done, alive, success_statuses=["COMPLETED"], cancels_others=cancels_others, cancels=False
    )
    ends = [("final", "FAILED", False), ("final", "COMPLETED", False), ("not_needed", "CANCELED", True)]
    assert shown(waits) == ends[: 2 + cancels_others]
    assert (alive.status == "CANCELED") is cancels_others
    line = f"Canceling run {alive.id}: another run has failed"
    assert log.of("warning") == [line] * cancels_others


@pytest.mark.parametrize(("count", "lines"), [(11, 10), (12, 1)])
def test_up_to_10_cancels_are_each_named_and_more_are_one_line(server, wait, log, count, lines) -> None:
    runs = [*add(server, then=[(1, "FAILED")]), *add(server, count - 1)]
    wait(*runs, success_statuses=["COMPLETED"], cancels_others=True)
    warnings = log.of("warning")
    assert len(warnings) == lines
    assert lines > 1 or warnings == ["Canceling 11 runs: another run has failed"]


# What is logged


@pytest.mark.parametrize(
    ("statuses", "named"), [(None, "FAILED"), (["COMPLETED"], "FAILED"), (["FAILED"], "COMPLETED")]
)
def test_of_more_than_10_runs_an_end_that_does_not_count_as_success_is_named(
    server, wait, said, statuses, named: str
) -> None:
    other = {"FAILED": "COMPLETED", "COMPLETED": "FAILED"}[named]
    runs = [*add(server, 15, then=[(10, other)]), *add(server, then=[(20, named)])]
    wait(*runs, success_statuses=statuses)
    assert [line.partition(",")[0] for line in said()] == [f"Run {runs[-1].id} is {named}"]


def test_up_to_10_runs_are_each_named(server, wait, said) -> None:
    runs = add(server, 10, then=[(10, "COMPLETED")])
    wait(*runs)
    assert [line.partition(",")[0] for line in said()] == [f"Run {one.id} is COMPLETED" for one in runs]


def test_a_failing_check_is_said_and_who_is_no_longer_waited_for_is_not_said_to_be_checked_again(
    server, wait, network, answer, log
) -> None:
    runs = add(server, 3, then=[(100, "COMPLETED")])
    for one in runs[:2]:
        network.fault(f"{GET}{one.id}", answer(404, {"error": "No"}), times=3 if one is runs[1] else 1000)
    assert [one for one, _, _ in shown(wait(*runs, patience=30))] == ["rejected", "final", "final"]
    assert re.match(r"Status checks of [12] of 3 runs failed \(.*\); still waiting: ", log.of("warning")[0])
    assert [line for line in log.of("info") if "again" in line] == ["1 run can be checked again after 30 s"]


@pytest.mark.parametrize(
    ("count", "line"),
    [
        (1, "Run {} is still EXECUTING after 5 minutes"),
        (2, "2 of 2 runs have not ended yet"),
        (11, "11 of 11 runs have not ended yet"),
    ],
)
def test_of_runs_that_go_on_there_is_one_line_each_five_minutes(
    server, wait, said, count: int, line: str
) -> None:
    runs = add(server, count, then=[(390, "COMPLETED")])
    wait(*runs, poll_interval=30)
    assert [one for one in said() if "still" in one or "yet" in one] == [line.format(runs[0].id)]


def test_the_progress_of_a_batch_is_logged_every_30_s(server, wait, said) -> None:
    wait(*add(server, 2, then=[(40, "COMPLETED")]), *add(server, then=[(75, "FAILED")]), logs_progress=True)
    assert [line for line in said() if "have ended" in line] == [
        "0 of 3 runs have ended: 3 EXECUTING",
        "2 of 3 runs have ended: 2 COMPLETED, 1 EXECUTING",
        "3 of 3 runs have ended: 2 COMPLETED, 1 FAILED",
    ]
