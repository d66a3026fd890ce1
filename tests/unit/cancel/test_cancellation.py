"""The public face; what it decides is in test_schedule.py and test_record.py."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_trigger.api.errors import AuthenticationError, TransportError
from airflow_provider_trigger.api.exchange import Exchange
from airflow_provider_trigger.api.masking import Masking
from airflow_provider_trigger.api.rate_limit import RateLimit
from airflow_provider_trigger.cancel import workers
from airflow_provider_trigger.cancel.cancellation import Cancellation
from airflow_provider_trigger.cancel.outcome import CancelResult
from airflow_provider_trigger.cancel.settings import CancelSettings


@pytest.fixture
def client(server):
    """A client whose requests the test's server answers, in real time."""
    lock = threading.Lock()

    def send(step: Any) -> Any:
        with lock:
            return server.send(step)

    exchange = Exchange(
        masking=Masking("tr_prod_marker_of_the_test"), rate_limit=RateLimit(), timeout=5.0, retry_for=5.0
    )
    return SimpleNamespace(exchange=exchange, send=send)


@pytest.fixture
def prepare(client):
    def build(*run_ids: str, **options: Any) -> Cancellation:
        behavior = {name: options.pop(name) for name in ("is_stopped", "action_for") if name in options}
        settings = CancelSettings(bulk_action_name="the name", **options)
        return Cancellation(client, run_ids, settings, **behavior)

    return build


def outcomes(results: list[CancelResult]) -> dict[str, str]:
    return {result.run_id: result.outcome.value for result in results}


def test_ids_may_come_from_an_iterator(client, server) -> None:
    run_ids = iter(server.add("run_1", "run_2"))
    work = Cancellation(client, run_ids, CancelSettings())
    assert len(work.run()) == 2


def test_no_ids_are_no_work(prepare, server) -> None:
    work = prepare()
    assert work.run() == []
    assert not server.log
    assert not work.stopped


def test_results_can_be_read_before_it_runs(prepare, server) -> None:
    work = prepare(*server.add("run_1"))
    assert outcomes(work.results) == {"run_1": "failed"}
    assert not server.log


def test_many_runs_are_canceled_in_bulk_under_the_given_name(prepare, server) -> None:
    results = prepare(*server.add(*[f"run_{number}" for number in range(301)])).run()
    assert set(outcomes(results).values()) == {"canceled"}
    assert server.requests[0].json["name"] == "the name"


def test_a_stop_from_outside_is_known_afterwards(prepare, server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_GRACE", 5.0)  # for an answer on a machine that stalls
    begun = threading.Event()

    def take_long(_: float) -> TransportError:
        begun.set()
        time.sleep(0.25)
        return TransportError("no answer")

    server.instead["cancel run_1"] = [take_long]
    work = prepare(*server.add("run_1", "run_2"), max_concurrency=1, is_stopped=begun.is_set)
    first, second = work.run()
    assert work.stopped
    assert (
        first.error == "cancel requested, but not acknowledged: canceling was stopped; last error: no answer"
    )
    assert second.error == "not sent: canceling was stopped"


def test_a_time_limit_is_no_stop(prepare, server) -> None:
    work = prepare(*server.add("run_1"), time_limit=0)
    [result] = work.run()
    assert result.error == "not sent: the time limit was reached"
    assert not work.stopped
    assert not server.log


def test_a_rejected_key_is_raised_and_the_results_can_still_be_read(prepare, server, response) -> None:
    server.instead["cancel run_1"] = [response(401, {"error": "Invalid API key"})] * 2
    work = prepare(*server.add("run_1", "run_2"), max_concurrency=1)
    with pytest.raises(AuthenticationError, match="Invalid API key"):
        work.run()
    assert outcomes(work.results) == {"run_1": "failed", "run_2": "failed"}
    assert not work.stopped


def test_the_results_say_what_to_do_about_an_error(prepare, server) -> None:
    lost = [TransportError("no answer", retryable=False)]
    server.instead |= {"cancel run_1": lost, "check run_1": [*lost]}
    work = prepare(*server.add("run_1"), action_for=lambda error: f"act on {error}")
    expected = "cancel failed: no answer; status check failed: no answer; act on no answer"
    assert [result.error for result in work.run()] == [expected]


def test_the_results_are_final_once_it_has_ended(prepare, server) -> None:
    shown: list[str] = []

    def act(error: Any) -> str:
        shown.append(str(error))
        return f"act {len(shown)}"

    lost = [TransportError("no answer", retryable=False)]
    server.instead |= {"cancel run_1": lost, "check run_1": [*lost]}
    work = prepare(*server.add("run_1"), action_for=act)
    [result] = work.run()
    assert str(result.error).endswith("; act 1")
    assert work.results == work.results == [result]
    assert shown == ["no answer"]


def test_what_to_do_is_said_before_the_end_too(prepare, server) -> None:
    lost = TransportError("no answer")
    work = prepare(*server.add("run_1"), action_for=lambda error: f"act on {error}")
    for _ in range(10):
        work.schedule._exchange.breaker.failed(lost, is_permanent=False, sent_at=0.0)
    expected = "not sent: canceling was stopped; last error: no answer; act on no answer"
    assert [result.error for result in work.results] == [expected]


def test_a_bug_is_not_swallowed(prepare, server) -> None:
    server.instead["cancel run_1"] = [lambda _: 1 / 0]
    with pytest.raises(ZeroDivisionError):
        prepare(*server.add("run_1")).run()


@pytest.mark.parametrize(
    ("count", "options", "threads"),
    [(100, {}, 32), (100, {"max_concurrency": 8}, 8), (3, {"max_concurrency": 8}, 3), (0, {}, 0)],
)
def test_there_are_no_more_threads_than_allowed_or_needed(
    prepare, monkeypatch: pytest.MonkeyPatch, count: int, options: dict[str, int], threads: int
) -> None:
    started: list[int] = []
    monkeypatch.setattr(workers, "run", lambda *_, count, **__: started.append(count))
    prepare(*[f"run_{number}" for number in range(count)], **options).run()
    assert started == [threads]


@pytest.mark.parametrize("include_descendants", [True, False])
def test_for_runs_that_are_found_later_there_are_as_many_threads_as_allowed(
    prepare, monkeypatch: pytest.MonkeyPatch, include_descendants: bool
) -> None:
    started: list[tuple[int, bool]] = []

    def note(schedule: Any, *_: Any, count: int, **__: Any) -> None:
        started.append((count, schedule.awaits_more))

    monkeypatch.setattr(workers, "run", note)
    further = None if include_descendants else iter([["run_2"]])
    prepare("run_1", max_concurrency=8, include_descendants=include_descendants).run(further)
    assert started == [(8, not include_descendants)]


def test_further_runs_are_canceled_too(prepare, server) -> None:
    server.add("run_1", "run_2", "run_3")
    work = prepare("run_1")
    results = work.run(iter([["run_2"], [], ["run_1", "run_3"]]))
    assert outcomes(results) == {"run_1": "canceled", "run_2": "canceled", "run_3": "canceled"}
    assert work.finished
