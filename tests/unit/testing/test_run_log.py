"""What the command line prints of runs, by a clock that the test sets."""

from __future__ import annotations

from fake_clock import Clock

from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.__main__ import RunLog
from airflow_provider_trigger.testing.engine.batches import BatchItem


def test_a_run_has_a_line_when_it_is_started_and_one_when_it_ends(
    server: TriggerDevServer, clock: Clock
) -> None:
    earlier = server.add_run("EXECUTING", task_identifier="old", acknowledge_after=0)
    log = RunLog(server)
    server.on_task("resize", start_after=0, after=3)
    server.on_task("broken", start_after=0, after=0, error="no such file")
    run, broken = server.trigger("resize")[0], server.trigger("broken")[0]
    assert list(log.lines()) == [
        f"{run.id}  started    resize",
        f"{broken.id}  started    broken",
        f"{broken.id}  FAILED     broken  0.0 s  no such file",
    ]
    assert list(log.lines()) == []
    clock.now += 2
    earlier.cancel()
    clock.now += 2
    assert list(log.lines()) == [
        f"{earlier.id}  CANCELED   old  2.0 s",
        f"{run.id}  COMPLETED  resize  3.0 s",
    ]
    assert list(log.lines()) == []


def test_a_canceled_run_that_completes_has_another_line(server: TriggerDevServer, clock: Clock) -> None:
    log = RunLog(server)
    run = server.add_run(task_identifier="resize", acknowledge_after=5, completes_despite_cancel=True)
    run.cancel()
    assert list(log.lines())[1:] == [f"{run.id}  CANCELED   resize  0.0 s"]
    clock.now += 6
    assert list(log.lines()) == [f"{run.id}  COMPLETED  resize  5.0 s"]


def test_the_runs_of_a_large_batch_have_lines_as_they_come(server: TriggerDevServer, clock: Clock) -> None:
    log = RunLog(server)
    items = [BatchItem(task_identifier="resize") for _ in range(30)]
    server.batches.create(items, environment=server.environment)
    assert list(log.lines()) == []
    clock.now += 0.0401
    assert [line.partition("  ")[2] for line in log.lines()] == ["started    resize"] * 2
