"""The cancel of many runs in a few seconds, by threads that exist already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from patient_clock import PatientClock
from waiting import until

from airflow_provider_trigger.api.deadline import NEVER, Deadline
from airflow_provider_trigger.api.errors import NotSentError, TransportError
from airflow_provider_trigger.run.batch.cancel import BatchCancel, cancel_batch, wait_until
from airflow_provider_trigger.run.threads import Threads

CANCEL, BULK = "/cancel", "POST /api/v1/bulk-actions"


@pytest.fixture
def cancel(client, clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., BatchCancel]]:
    monkeypatch.setattr("airflow_provider_trigger.run.batch.cancel.time", PatientClock(clock))
    threads = Threads(2, name="of-a-test")

    def act(runs: list[Any], deadline: Deadline = NEVER) -> BatchCancel:
        return cancel_batch([run.id for run in runs], client, threads, deadline=deadline)

    yield act
    threads.close()


def add(server, count: int) -> list[Any]:
    return [server.add_run("EXECUTING") for _ in range(count)]


def test_a_few_are_canceled_one_by_one_and_checked(cancel, server, network) -> None:
    runs = add(server, 20)
    done = cancel(runs)
    assert {run.status for run in runs} == {"CANCELED"}
    assert (done.bulk_ids, done.errors, done.accepted) == ([], {}, {run.id for run in runs})
    assert {run_id: run.status for run_id, run in done.checked.items()} == dict.fromkeys(
        done.accepted, "CANCELED"
    )
    assert network.sent(BULK) == []


def test_many_are_canceled_in_bulk_first_and_not_checked(cancel, server, network) -> None:
    runs = add(server, 21)
    done = cancel(runs)
    assert {run.status for run in runs} == {"CANCELED"}
    assert len(done.bulk_ids) == len(network.sent(BULK)) == 1
    assert network.requests[0] == BULK
    assert (done.checked, len(done.accepted), network.sent("GET")) == ({}, 21, [])


def test_the_newest_are_canceled_first_as_a_bulk_action_misses_these(server, client, network) -> None:
    runs, threads = add(server, 21), Threads(1, name="of-a-test")
    shuffled = [run.id for run in (*runs[7:], *runs[:7])]
    cancel_batch(shuffled, client, threads, deadline=NEVER)
    threads.close()
    assert network.sent(CANCEL) == [f"POST /api/v2/runs/{run.id}/cancel" for run in reversed(runs)]


def test_a_bulk_action_takes_500(cancel, server, network) -> None:
    assert len(cancel(add(server, 501)).bulk_ids) == 2


@pytest.mark.parametrize("status", [404, 503])
def test_without_bulk_actions_each_is_canceled_all_the_same(
    status: int, cancel, server, network, answer
) -> None:
    runs = add(server, 21)
    network.fault(BULK, answer(status, {"error": "No"}), times=1000)
    done = cancel(runs)
    assert network.sent(BULK)
    assert (done.bulk_ids, len(done.accepted), done.errors) == ([], 21, {})


def test_a_bulk_action_without_an_answer_leaves_time_to_cancel_each(
    cancel, server, client, clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply_to, begun = client.send, clock.now

    def hang(step: Any) -> Any:
        if "bulk-actions" not in step.request.path:
            return reply_to(step)
        clock.sleep(step.timeout)
        return TransportError("no answer")

    monkeypatch.setattr(client, "send", hang)
    done = cancel(add(server, 21), Deadline(begun + 6))
    assert (done.bulk_ids, len(done.accepted)) == ([], 21)
    assert 0 < clock.now - begun <= 2


def test_what_fails_is_named(cancel, server, network, answer) -> None:
    runs = add(server, 2)
    network.fault(f"/runs/{runs[0].id}/cancel", answer(400, {"error": "No"}), times=1000)
    network.fault(f"GET /api/v3/runs/{runs[1].id}", answer(500, {}), times=1000)
    done = cancel(runs)
    assert "400" in str(done.errors[runs[0].id])
    assert done.accepted == {runs[1].id}
    assert "500" in str(done.checked[runs[1].id])


def test_a_cancel_that_fails_again_and_again_ends_at_the_deadline(
    cancel, server, network, answer, clock
) -> None:
    [run] = add(server, 1)
    network.fault(CANCEL, answer(503, {}), times=1000)
    done = cancel([run], Deadline(clock.now + 6))
    assert "503" in str(done.errors[run.id])
    assert clock.now <= 1006


def test_what_became_of_a_run_is_asked_once(cancel, server, network, answer) -> None:
    network.fault("GET", answer(503, {}), times=1000)
    assert len(cancel(add(server, 1)).accepted) == len(network.sent("GET")) == 1


def test_after_the_deadline_it_is_not_asked(cancel, server, network, clock) -> None:
    [run] = add(server, 1)
    network.before = lambda request: clock.sleep(7)
    done = cancel([run], Deadline(clock.now + 6))
    until(lambda: done.accepted, "the cancel is taken in")
    assert isinstance(done.checked[run.id], NotSentError)
    assert (run.status, network.sent("GET")) == ("CANCELED", [])


def test_after_the_deadline_nothing_is_sent(cancel, server, network, clock) -> None:
    done = cancel(add(server, 3), Deadline(clock.now))
    assert (done.accepted, done.errors, network.requests) == (set(), {}, [])


def test_a_condition_is_waited_for_until_the_deadline(clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_trigger.run.batch.cancel.time", clock)
    assert wait_until(lambda: True, Deadline(0))
    assert clock.slept == []
    assert wait_until(lambda: clock.now > 1001, Deadline(1005))
    assert not wait_until(lambda: False, Deadline(1002))
    assert clock.now == 1002
