"""Wait for runs that others have started: poking, rescheduled, deferred."""

from __future__ import annotations

import pytest

from airflow_provider_trigger._compat import airflow_version

MODES = ["poke", "reschedule", "deferrable"]
if airflow_version().startswith("3.0."):  # its dag.test() fails a sensor that is to be rescheduled (measured)
    MODES.remove("reschedule")

# A sensor in each mode; all of a test wait for the same runs.
SENSORS = """
modes = MODES

def wait(task_id, **options):
    return [
        TriggerRunSensor(
            task_id=f"{task_id}_{mode}",
            mode="reschedule" if mode == "reschedule" else "poke",
            deferrable=mode == "deferrable",
            poke_interval=0.2,
            poll_interval=0.2,
            **options,
        )
        for mode in modes
    ]
""".replace("MODES", repr(MODES))


def tries(result):
    return {task_id.rpartition("_")[2]: tries for task_id, tries in result.tries.items()}


@pytest.mark.parametrize("mode", MODES)
def test_it_waits_until_all_runs_have_completed(mode, server, run_tasks, meanwhile, said):
    runs = [server.add_run("EXECUTING") for _ in range(3)]

    def was_checked_often(run):
        return sum(request.path.endswith(run.id) for request in list(server.requests)) >= 3

    for run in runs:
        meanwhile(lambda run=run: was_checked_often(run), lambda run=run: setattr(run, "status", "COMPLETED"))
    sensors = SENSORS.replace(repr(MODES), repr([mode]))
    result = run_tasks(
        sensors + '\nwait("wait", run_ids="{{ params.run_ids | tojson }}")\n',
        {"run_ids": [run.id for run in runs]},
    )
    assert result.state == "success"
    assert result.xcoms == {f"wait_{mode}": [{"run_id": run.id, "status": "COMPLETED"} for run in runs]}
    assert said.lines("3 of 3 runs have not ended yet")
    assert [run.cancel_requests for run in runs] == [0, 0, 0]


def test_runs_that_tasks_have_started_and_ids_that_others_return(server, run_tasks):
    server.on_task("resize", output="run_of_the_output", after=0.3)
    run = server.add_run("COMPLETED")
    result = run_tasks(
        SENSORS
        + """
start = RunTriggerTaskOperator.partial(
    task_id="start", task_identifier="resize", wait_for_completion=False
).expand(payload=[1, 2])

@task
def other(params):
    return {"id": params["run_id"]}

[start, other()] >> wait("wait", xcom_task_ids=["start", "other"])[0]
[start, other()] >> wait("more", xcom_task_ids="start")[-1]
""",
        {"run_id": run.id},
    )
    started = result.pushed["start", "run_id"]
    assert [one["run_id"] for one in result.xcoms["wait_poke"]] == [*started, run.id]
    assert [one["run_id"] for one in result.xcoms["more_deferrable"]] == started


def test_a_run_that_fails_fails_it_at_once_without_retries(server, run_tasks, said):
    failing = server.add_run("EXECUTING", then=[(0.5, "FAILED")], task_identifier="resize")
    endless = server.add_run("EXECUTING")
    result = run_tasks(
        SENSORS + f'\nwait("wait", run_ids={[endless.id, failing.id]!r}, retries=1, timeout=60)\n'
    )
    assert result.state == "failed"
    assert tries(result) == {mode: [1] for mode in MODES}
    text = (
        f"Run {failing.id} of Trigger.dev task 'resize' ended with status FAILED after 1 attempt: Error: boom"
    )
    assert len(said.lines("TriggerRunNotRetriedError: ", text)) >= len(MODES)
    assert len(said.lines(f"Stack trace of run {failing.id}")) == len(MODES)
    assert endless.cancel_requests == 0


def test_failures_of_the_server_do_not_end_the_wait(server, run_tasks, connect, impatient_checks, said):
    connect(retry_for=1)
    run = server.add_run("EXECUTING", then=[(3, "COMPLETED")])
    server.fail_next(6, 503, path="/api/v3/runs/")
    server.malformed_next(3, path="/api/v3/runs/")
    result = run_tasks(SENSORS + f'\nwait("wait", run_ids="{run.id}", timeout=60)\n')
    assert (result.state, len(result.xcoms)) == ("success", len(MODES))
    assert not server.pending_faults


@pytest.mark.parametrize("soft_fail", [False, True])
def test_its_timeout_fails_or_skips_it_and_cancels_nothing(server, run_tasks, soft_fail):
    run = server.add_run("EXECUTING")
    # Where a task is deferred, Airflow itself enforces it, but not under dag.test().
    modes = [mode for mode in MODES if mode != "deferrable"]
    sensors = SENSORS.replace(repr(MODES), repr(modes))
    result = run_tasks(sensors + f'\nwait("wait", run_ids="{run.id}", timeout=1, soft_fail={soft_fail})\n')
    expected = ["skipped" if soft_fail else "failed"]
    assert result.states == {f"wait_{mode}": expected for mode in modes}
    assert run.cancel_requests == 0


@pytest.mark.parametrize("mode", MODES)
def test_it_returns_the_outputs_of_all_runs(mode, server, run_tasks):
    server.on_task("resize", output=lambda payload: {"n": payload}, after=0.3)
    server.on_task("large", output={"text": "x" * 200_000}, after=0.3)
    sensors = SENSORS.replace(repr(MODES), repr([mode]))
    result = run_tasks(
        sensors
        + """
start = RunTriggerTaskOperator.partial(
    task_id="start", task_identifier="resize", wait_for_completion=False
).expand(payload=[3, 1, 2])
large = RunTriggerTaskOperator(task_id="large", task_identifier="large", wait_for_completion=False)

[start, large] >> wait("all", xcom_task_ids=["start", "large"], return_outputs=True)[0]
start >> wait("small", xcom_task_ids="start", return_outputs=True, max_output_size=20)[0]
"""
    )
    assert result.state == "success"
    assert result.xcoms[f"all_{mode}"] == [{"n": 3}, {"n": 1}, {"n": 2}, {"text": "x" * 200_000}]
    started = result.pushed["start", "run_id"]
    assert result.xcoms[f"small_{mode}"] == [{"run_id": run_id, "output_size": 7} for run_id in started]
