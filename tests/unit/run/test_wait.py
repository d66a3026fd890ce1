"""When a run is checked, what is logged, and when the wait stops: its steps, taken by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from fake_clock import Clock
from fake_log import Log

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.endpoints.runs import cancel_run, retrieve_run
from airflow_provider_trigger.api.errors import NotSentError, TriggerDevError
from airflow_provider_trigger.api.http import Call
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.run.steps import Cancel, Check
from airflow_provider_trigger.run.wait import wait_for_runs
from airflow_provider_trigger.run.wait_settings import WaitSettings
from airflow_provider_trigger.run.waited import Waited, WaitEnd

URL = "https://trigger.test/runs/run_1"
DATE = datetime(2026, 11, 1, 12, tzinfo=UTC)


@dataclass
class Wait:
    """Takes the steps of a wait: a pause moves the clock, a call goes to the server."""

    client: TriggerDevClient
    clock: Clock
    log: Log
    pauses: list[float] = field(default_factory=list)
    checked_at: list[float] = field(default_factory=list)

    def __call__(
        self, run: Any, *, until: Callable[[], bool] = lambda: False, **settings: Any
    ) -> Waited | None:
        """Wait; return None where the test ends it first."""
        run_id = getattr(run, "id", run)
        given: dict[str, Any] = {"run_url": URL, "patience": 60.0}
        made = WaitSettings(**given | settings)
        steps = wait_for_runs([run_id], made, log=self.log, now=self.clock.time)
        reply: Any = None
        while not until():
            try:
                step = steps.send(reply)
            except StopIteration as end:
                waited: Waited = end.value[run_id]
                return waited
            reply = None
            if isinstance(step, Cancel):
                self.client.call(cancel_run(run_id))
                run = self.client.call(retrieve_run(run_id))
                outcome = CancelOutcome.CANCELED if run.is_canceled else CancelOutcome.ALREADY_COMPLETED
                reply = {run_id: CancelResult(run_id=run_id, outcome=outcome, status=run.status)}
            else:
                assert isinstance(step, Check)
                if (seconds := min(step.at, step.until) - self.clock.time()) > 0:
                    self._pause(seconds)
                self.checked_at.append(self.clock.now)
                reply = {run_id: self._call(retrieve_run(run_id))}
        return None

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.sleep(seconds)

    def _call(self, call: Call[Any]) -> Any:
        try:
            return self.client.call(call, patience=0)
        except TriggerDevError as error:
            return error


@pytest.fixture
def wait(client, clock, log) -> Wait:
    return Wait(client, clock, log)


def after(seconds: float, clock: Clock) -> Callable[[], bool]:
    end = clock.now + seconds
    return lambda: clock.now >= end


# To the end


def test_a_run_is_waited_for_until_it_has_completed(server, wait: Wait, log) -> None:
    server.on_task("resize", start_after=3, after=5, output={"n": 1})
    run, _ = server.trigger("resize")
    waited = wait(run)
    assert waited is not None
    assert (waited.end, waited.error) == (WaitEnd.FINAL, "")
    assert waited.run is not None
    assert (waited.run.status, waited.run.output) == ("COMPLETED", {"n": 1})
    assert log.leveled == [
        ("info", f"Waiting for run {run.id} {URL}"),
        ("info", f"Run {run.id} is QUEUED"),
        ("info", f"Run {run.id} is EXECUTING, attempt 1"),
        ("info", f"Run {run.id} is COMPLETED, attempt 1 (0.12 s of compute time)"),
    ]


@pytest.mark.parametrize(
    "status", ["FAILED", "CRASHED", "TIMED_OUT", "SYSTEM_FAILURE", "EXPIRED", "CANCELED"]
)
def test_every_final_status_ends_the_wait_at_once(server, wait: Wait, status: str) -> None:
    waited = wait(server.add_run(status))
    assert waited is not None
    assert waited.run is not None
    assert (waited.end, waited.run.status, wait.pauses) == (WaitEnd.FINAL, status, [])


def test_each_attempt_is_logged(server, wait: Wait, log) -> None:
    server.on_task("flaky", start_after=1, after=10, failures=2, retry_after=10)
    run, _ = server.trigger("flaky")
    wait(run)
    assert [line for line in log.lines if "attempt" in line] == [
        f"Run {run.id} is EXECUTING, attempt 1",
        f"Run {run.id} is EXECUTING, attempt 2",
        f"Run {run.id} is EXECUTING, attempt 3",
        f"Run {run.id} is COMPLETED, attempt 3 (0.12 s of compute time)",
    ]


def test_what_a_run_has_used_is_logged_at_its_end_only(clock, log) -> None:
    steps = wait_for_runs(["run_1"], WaitSettings(), log=log, now=clock.time)
    next(steps)
    steps.send({"run_1": Run.from_answer({"id": "run_1", "status": "EXECUTING", "durationMs": 1000})})
    with pytest.raises(StopIteration):
        steps.send({"run_1": Run.from_answer({"id": "run_1", "status": "FAILED", "durationMs": 2500})})
    assert log.lines[1:] == ["Run run_1 is EXECUTING", "Run run_1 is FAILED (2.5 s of compute time)"]


def test_a_run_that_goes_on_is_named_every_few_minutes(server, wait: Wait, clock, log) -> None:
    run = server.add_run("EXECUTING")
    wait(run, poll_interval=100, until=after(3601, clock))
    assert [line for line in log.lines if "still" in line] == [
        f"Run {run.id} is still EXECUTING after {minutes} minutes" for minutes in range(5, 61, 5)
    ]


def test_an_id_that_cannot_be_one_is_an_error_of_its_own(wait: Wait) -> None:
    with pytest.raises(NotSentError):
        wait("..")


# The pace


def test_the_pause_is_a_tenth_of_the_runs_age_between_2_and_30_s(server, wait: Wait, clock) -> None:
    server.on_task("endless", after=None)
    run, _ = server.trigger("endless")
    born = clock.now
    wait(run, until=after(1000, clock))
    ages = [at - born for at in wait.checked_at]
    assert wait.pauses == pytest.approx([min(30, max(2, age / 10)) for age in ages[: len(wait.pauses)]])
    assert (wait.pauses[0], wait.pauses[-1]) == (2, 30)


@pytest.mark.parametrize(("skew", "pause"), [(-8, 12), (8, 12), (-7200, 2), (7200, 2)])
def test_the_age_goes_by_the_servers_clock_unless_that_is_wrong(
    server, wait: Wait, clock, skew: float, pause: float
) -> None:
    server.clock = lambda: clock.time() + skew
    run = server.add_run("EXECUTING")
    run.clock = server.clock
    clock.sleep(120)
    wait(run, until=after(pause, clock))
    assert wait.pauses == [pytest.approx(pause)]


def test_the_last_pause_ends_at_the_deadline(server, wait: Wait, clock) -> None:
    run = server.add_run("EXECUTING")
    begun = clock.now
    wait(run, poll_interval=40, deadline=clock.time() + 100, cancels=False)
    assert wait.pauses == [40, 40, pytest.approx(20)]
    assert clock.now - begun == pytest.approx(100)


@pytest.mark.parametrize("limit", ["deadline", "pending_version_timeout"])
def test_the_last_pause_may_be_short(server, wait: Wait, clock, limit: str) -> None:
    run = server.add_run("PENDING_VERSION")
    limits: dict[str, Any] = {"deadline": clock.time() + 100.25, "pending_version_timeout": 100.25}
    wait(run, poll_interval=50, cancels=False, **{limit: limits[limit]})
    assert wait.pauses == [50, 50, 0.25]


# Trouble


def test_an_outage_is_survived_with_one_line_at_its_begin_and_one_at_its_end(
    server, network, wait: Wait, clock, log, answer, lost
) -> None:
    server.on_task("slow", after=400, output="done")
    run, _ = server.trigger("slow")
    for reply in (lost, answer(503, "down"), answer(200, b"<html>"), answer(429, {"error": "too many"})):
        network.fault("GET", reply, times=20)
    begun = clock.now

    def end_it(_: str) -> None:
        if clock.now - begun > 240:
            network.repair()

    network.before = end_it
    waited = wait(run, patience=10)
    assert waited is not None
    assert waited.run is not None
    assert (waited.end, waited.run.output) == (WaitEnd.FINAL, "done")
    [begin] = log.of("warning")
    assert begin.startswith(f"Status check of run {run.id} failed; still waiting: GET /api/v3/runs/{run.id} ")
    [end] = [line for line in log.lines if "again" in line]
    assert end.startswith(f"Run {run.id} can be checked again after 2")
    assert end.endswith(" s")


def test_two_outages_have_two_lines_each(server, network, wait: Wait, clock, log, lost) -> None:
    run = server.add_run("EXECUTING", then=[(60, "COMPLETED")])
    network.fault("GET", lost, times=2)
    network.before = lambda _: network.fault("GET", lost) if clock.now == 1020 else None
    wait(run, poll_interval=5)
    assert len(log.of("warning")) == 2
    assert len([line for line in log.lines if "again" in line]) == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_rejects_the_checks_ends_the_wait_after_the_patience(
    server, network, wait: Wait, clock, log, answer, status: int
) -> None:
    run = server.add_run("EXECUTING")
    wait(run, until=after(4, clock), poll_interval=5)
    network.fault("GET", answer(status, {"error": "Not found"}), times=1000)
    begun = clock.now
    waited = wait(run, patience=60, poll_interval=5)
    assert waited is not None
    assert waited.end is WaitEnd.REJECTED
    if status == 401:  # it is repeated once each time, for a key that has worked
        assert 60 <= clock.now - begun <= 75
    else:
        assert clock.now - begun == 60
    assert f"answered {status}: Not found" in waited.error
    assert len(log.of("warning")) == 1
    assert not network.sent("/cancel")


def test_a_page_that_says_403_ends_the_wait_too(server, network, wait: Wait, clock, answer) -> None:
    """A proxy rejects the worker, for example."""
    run = server.add_run("EXECUTING")
    wait(run, until=after(4, clock), poll_interval=5)
    network.fault("GET", answer(403, b"<html>"), times=1000)
    begun = clock.now
    waited = wait(run, patience=60, poll_interval=5)
    assert waited is not None
    assert waited.end is WaitEnd.REJECTED
    assert clock.now - begun == 60


def test_a_rejection_that_passes_does_not_end_it(server, network, wait: Wait, clock, answer, lost) -> None:
    run = server.add_run("EXECUTING", then=[(300, "COMPLETED")])
    for _ in range(3):  # 50 s of rejections each time, and something else in between
        network.fault("GET", answer(401, {"error": "No"}), times=10)
        network.fault("GET", lost)
    waited = wait(run, patience=60, poll_interval=5)
    assert waited is not None
    assert waited.end is WaitEnd.FINAL


def test_short_rejections_with_a_good_check_in_between_do_not_add_up(
    server, network, wait: Wait, clock, answer
) -> None:
    run = server.add_run("EXECUTING", then=[(300, "COMPLETED")])
    begun = clock.now

    def reject(_: str) -> None:
        network.repair()
        if 20 <= clock.now - begun < 40 or 100 <= clock.now - begun < 120:  # 80 s apart
            network.fault("GET", answer(403, {"error": "No"}), times=10)

    network.before = reject
    waited = wait(run, patience=60, poll_interval=5)
    assert waited is not None
    assert (waited.end, clock.now - begun) == (WaitEnd.FINAL, pytest.approx(300, abs=5))


def test_a_page_in_place_of_the_server_does_not_end_it(server, network, wait: Wait, answer) -> None:
    run = server.add_run("EXECUTING", then=[(400, "COMPLETED")])
    network.fault("GET", answer(404, b"<html>Maintenance</html>"), times=50)
    waited = wait(run, patience=60, poll_interval=5)
    assert waited is not None
    assert waited.end is WaitEnd.FINAL


def test_what_was_seen_last_is_kept_where_the_server_rejects_the_checks(
    server, network, wait: Wait, answer
) -> None:
    run = server.add_run("EXECUTING")
    network.before = lambda _: (
        len(network.requests) > 1 and network.fault("GET", answer(404, {"error": "Not found"}))
    )
    waited = wait(run, patience=20)
    assert waited is not None
    assert waited.run is not None
    assert (waited.end, waited.run.status) == (WaitEnd.REJECTED, "EXECUTING")


def test_a_run_that_never_was_is_rejected_without_one(wait: Wait) -> None:
    waited = wait("run_x", patience=0)
    assert waited is not None
    assert (waited.end, waited.run) == (WaitEnd.REJECTED, None)
    assert 30 <= sum(wait.pauses) < 35


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wait_that_repeats_nothing_survives_rejections_for_half_a_minute(
    server, network, wait: Wait, clock, answer, status: int
) -> None:
    run = server.add_run("EXECUTING", then=[(20, "COMPLETED")])
    network.before = lambda _: network.repair() if clock.now >= 1025 else None
    network.fault("GET", answer(status, {"error": "Not found"}), times=1000)
    waited = wait(run, patience=0)
    assert waited is not None
    assert waited.end is WaitEnd.FINAL


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wait_that_repeats_nothing_ends_after_half_a_minute_of_rejections(
    server, network, wait: Wait, clock, answer, status: int
) -> None:
    run = server.add_run("EXECUTING")
    network.fault("GET", answer(status, {"error": "Not found"}), times=1000)
    waited = wait(run, patience=0)
    assert waited is not None
    assert waited.end is WaitEnd.REJECTED
    assert 1030 <= clock.now < 1035


# The deadline


def test_a_run_that_takes_too_long_is_canceled(server, wait: Wait, clock, log) -> None:
    run = server.add_run("EXECUTING")
    waited = wait(run, deadline=clock.time() + 60)
    assert waited is not None
    assert waited.run is not None
    assert (waited.end, waited.run.status) == (WaitEnd.TIMED_OUT, "CANCELED")
    assert (waited.is_canceled, waited.error) == (True, "")
    assert run.status == "CANCELED"
    assert log.of("warning") == [f"Canceling run {run.id}: it did not end in time"]


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
def test_of_a_cancel_that_comes_too_late_the_result_counts(
    server, network, wait: Wait, clock, status: str
) -> None:
    run = server.add_run("EXECUTING")

    def end_first(request: str) -> None:
        if request.endswith("/cancel"):
            run.status = status

    network.before = end_first
    waited = wait(run, deadline=clock.time() + 60)
    assert waited is not None
    assert waited.run is not None
    assert (waited.end, waited.run.status) == (WaitEnd.FINAL, status)


def test_a_run_whose_last_check_shows_the_end_is_not_canceled(server, wait: Wait, clock) -> None:
    run = server.add_run("EXECUTING", then=[(60, "COMPLETED")])
    waited = wait(run, deadline=clock.time() + 60)
    assert waited is not None
    assert waited.end is WaitEnd.FINAL
    assert run.cancel_requests == 0


# No version


def test_a_run_without_a_version_is_canceled_after_a_while(server, wait: Wait, clock, log) -> None:
    server.unknown_task("resize")
    server.on_task("resize", start_after=3)
    run, _ = server.trigger("resize")
    begun = clock.now
    waited = wait(run, pending_version_timeout=300)
    assert waited is not None
    assert waited.run is not None
    assert (waited.end, waited.run.status) == (WaitEnd.NO_VERSION, "CANCELED")
    assert clock.now - begun == pytest.approx(303, abs=1)
    assert log.of("warning") == [
        f"Run {run.id} is PENDING_VERSION: no deployed version in this environment has the Trigger.dev task "
        "'resize' (or its queue). Deploy it, or check task_identifier, queue and the environment of the "
        "secret key. After 300 s (pending_version_timeout) the run is canceled",
        f"Canceling run {run.id}: no deployed version has its task or its queue",
    ]


@pytest.mark.parametrize(
    ("settings", "words", "end"),
    [
        ({"pending_version_timeout": None}, "the environment of the secret key", "key"),
        (
            {"cancels": False, "pending_version_timeout": 60},
            "Deploy it, or check",
            ". After 60 s (pending_version_timeout) the wait ends",
        ),
        ({"is_development": True}, "Start `npx trigger.dev@latest dev` in the task's project", "is canceled"),
    ],
)
def test_a_run_that_waits_for_a_version_is_a_warning_at_once_that_says_what_to_do(
    server, wait: Wait, clock, log, settings: dict[str, Any], words: str, end: str
) -> None:
    server.unknown_task("resize")
    server.on_task("resize", start_after=0)
    run, _ = server.trigger("resize")
    wait(run, until=after(5, clock), **settings)
    [warning] = log.of("warning")
    assert warning.startswith(f"Run {run.id} is PENDING_VERSION: no ")
    assert "has the Trigger.dev task 'resize' (or its queue)" in warning
    assert words in warning
    assert warning.endswith(end)


def test_a_run_that_waits_for_a_version_again_is_a_warning_again(server, wait: Wait, clock, log) -> None:
    run = server.add_run("PENDING_VERSION", then=[(10, "QUEUED"), (20, "PENDING_VERSION")])
    wait(run, until=after(60, clock))
    assert len(log.of("warning")) == 2


def test_the_time_before_the_wait_counts(server, wait: Wait, clock) -> None:
    run = server.add_run("PENDING_VERSION")
    clock.sleep(250)
    begun = clock.now
    waited = wait(run, pending_version_timeout=300)
    assert waited is not None
    assert waited.end is WaitEnd.NO_VERSION
    assert clock.now - begun == pytest.approx(50, abs=1)


@pytest.mark.parametrize(
    ("updated_at", "seen_at", "waited"),
    [
        (DATE, DATE, 0),
        (DATE, DATE + timedelta(seconds=50), 50),
        # A time in the answer may be later than its date, which has no fractions of a second.
        (DATE + timedelta(seconds=0.75), DATE, 0),
        # Without a time of the server, the first check counts.
        (DATE, None, 0),
        (None, DATE, 0),
        (None, None, 0),
    ],
)
def test_how_long_a_run_has_waited_for_a_version_goes_by_the_servers_clock(
    clock, log, updated_at: datetime | None, seen_at: datetime | None, waited: float
) -> None:
    shown = {"id": "run_1", "status": "PENDING_VERSION", "updatedAt": updated_at and updated_at.isoformat()}
    settings = WaitSettings(poll_interval=1000, pending_version_timeout=300)
    steps = wait_for_runs(["run_1"], settings, log=log, now=clock.time)
    next(steps)
    step = steps.send({"run_1": Run.from_answer(shown, seen_at=seen_at)})
    assert isinstance(step, Check)
    assert step.until == clock.time() + 300 - waited


def test_a_version_that_is_deployed_in_time_is_enough(server, wait: Wait, clock) -> None:
    server.unknown_task("resize")
    server.on_task("resize", after=1000)
    run, _ = server.trigger("resize")
    wait(run, until=after(200, clock))
    server.deploy("resize")
    waited = wait(run)
    assert waited is not None
    assert waited.end is WaitEnd.FINAL


@pytest.mark.parametrize("timeout", [None, 5000])
def test_it_may_wait_longer_or_for_ever(server, wait: Wait, clock, timeout: float | None) -> None:
    run = server.add_run("PENDING_VERSION")
    assert wait(run, pending_version_timeout=timeout, until=after(4000, clock)) is None


def test_a_run_is_not_canceled_while_its_version_cannot_be_seen(
    server, network, wait: Wait, clock, lost
) -> None:
    run = server.add_run("PENDING_VERSION", then=[(290, "EXECUTING"), (600, "COMPLETED")])

    def break_off(_: str) -> None:
        if clock.now >= 1280:
            network.before = lambda _: network.repair() if clock.now >= 1400 else None
            network.fault("/runs/", lost, times=1000)

    network.before = break_off
    waited = wait(run)
    assert waited is not None
    assert (waited.end, run.status, run.cancel_requests) == (WaitEnd.FINAL, "COMPLETED", 0)
    assert all(one <= two for one, two in pairwise(wait.checked_at))


# The default settings


def test_the_defaults() -> None:
    made = WaitSettings()
    assert (made.poll_interval, made.deadline, made.pending_version_timeout) == (None, None, 300)
    assert (made.patience, made.cancels, made.is_development) == (120, True, False)
