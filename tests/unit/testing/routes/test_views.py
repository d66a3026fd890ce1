"""What a run shows in JSON, where the contract tests have no recording."""

from __future__ import annotations

from fake_clock import Clock

from airflow_provider_trigger.testing import ServerRun, TriggerDevServer
from airflow_provider_trigger.testing.routes.views import list_item, show_run


def expired_then_canceled(clock: Clock, environment: str) -> ServerRun:
    run = TriggerDevServer(clock=clock.time).add_run("EXPIRED", environment=environment)
    clock.now += 5
    run.cancel()
    return run


def test_an_expired_run_that_was_canceled_shows_when_it_expired(clock: Clock) -> None:
    run = expired_then_canceled(clock, "prod")
    for shown in (show_run(run, modern=True), list_item(run, run.state, modern=True)):
        assert shown["status"] == "CANCELED"
        assert shown["finishedAt"] == shown["expiredAt"] == shown["createdAt"] != shown["updatedAt"]
        assert shown["ttl"] == "1s"
        assert "startedAt" not in shown
        assert shown["isCancelled"]
        assert shown["isCompleted"]
    shown = show_run(run, modern=True)
    assert (shown["error"], shown["attemptCount"]) == ({"message": "Canceled by user"}, 0)


def test_in_a_development_environment_it_stays_expired(clock: Clock) -> None:
    shown = show_run(expired_then_canceled(clock, "dev"), modern=True)
    assert shown["status"] == "EXPIRED"
    assert shown["finishedAt"] == shown["expiredAt"] == shown["createdAt"] == shown["updatedAt"]
    assert not shown["isCancelled"]


def test_the_attempt_shows(clock: Clock) -> None:
    run = TriggerDevServer(clock=clock.time).add_run("EXECUTING", then=[(1, "QUEUED"), (2, "EXECUTING")])
    shown = []
    for _ in range(3):
        shown.append((run.status, show_run(run, modern=True)["attemptCount"]))
        clock.now += 1
    assert shown == [("EXECUTING", 1), ("QUEUED", 1), ("EXECUTING", 2)]
