"""Wait for runs that others have started, and for waitpoint tokens: poking, rescheduled, deferred."""

from __future__ import annotations

import requests
from airflow import __version__

MODES = ["poke", "reschedule", "deferrable"]
if __version__.startswith("3.0."):  # its dag.test() fails a sensor that is to be rescheduled (measured)
    MODES.remove("reschedule")

SENSORS = """
from airflow_provider_trigger.sensors.waitpoint import WaitpointTokenSensor

def sensor(mode, name, kind=TriggerRunSensor, **options):
    return kind(
        task_id=f"{name}_{mode}",
        mode="reschedule" if mode == "reschedule" else "poke",
        deferrable=mode == "deferrable",
        poke_interval=0.2,
        retries=1,
        allow_nested_operators=False,
        **options,
    )
"""
WAITS = """
start = RunTriggerTaskOperator.partial(
    task_id="start", task_identifier="resize", wait_for_completion=False
).expand(payload=[3, 1, 2])
large = RunTriggerTaskOperator(task_id="large", task_identifier="large", wait_for_completion=False)

@task
def other(params):
    return {"id": params["other"]}

@task(show_return_value_in_logs=False)
def create(mode, params):
    return params["tokens"][mode]

others = other()
for mode in MODES:
    sensor(mode, "wait", run_ids="{{ params.waited." + mode + " | tojson }}")
    [start, others] >> sensor(mode, "mixed", xcom_task_ids=["start", "other"])
    [start, large] >> sensor(mode, "all", xcom_task_ids=["start", "large"], return_outputs=True)
    start >> sensor(mode, "small", xcom_task_ids="start", return_outputs=True, max_output_size=20)
    sensor(mode, "token", WaitpointTokenSensor, token_id=create.override(task_id=f"create_{mode}")(mode))
"""


def test_they_return_what_runs_and_tokens_give_in_every_mode(server, run_tasks, meanwhile, said):
    server.on_task("resize", output=lambda payload: {"n": payload}, after=0.3)
    server.on_task("large", output={"text": "x" * 200_000}, after=0.3)
    waited = {mode: [server.add_run("EXECUTING") for _ in range(2)] for mode in MODES}
    tokens = {mode: server.create_token()[0] for mode in MODES}
    other, answer = server.add_run("COMPLETED"), {"approved": True, "n": [1]}

    def is_checked(what, times):
        return sum(request.path.endswith(what) for request in list(server.requests)) >= times

    for run in [run for runs in waited.values() for run in runs]:
        meanwhile(lambda run=run: is_checked(run.id, 3), lambda run=run: setattr(run, "status", "COMPLETED"))
    for token in tokens.values():
        meanwhile(
            lambda token=token: is_checked(token.id, 2),
            lambda token=token: requests.post(token.url, json=answer, timeout=10),
        )
    result = run_tasks(
        SENSORS + WAITS.replace("MODES", str(MODES)),
        {
            "waited": {mode: [run.id for run in runs] for mode, runs in waited.items()},
            "tokens": {mode: {"id": token.id, "url": token.url} for mode, token in tokens.items()},
            "other": other.id,
        },
    )
    assert result.state == "success"
    started = result.pushed["start", "run_id"]
    for mode in MODES:
        assert result.xcoms[f"wait_{mode}"] == [
            {"run_id": run.id, "status": "COMPLETED"} for run in waited[mode]
        ]
        assert [one["run_id"] for one in result.xcoms[f"mixed_{mode}"]] == [*started, other.id]
        outputs = [{"n": 3}, {"n": 1}, {"n": 2}, {"text": "x" * 200_000}]
        assert result.xcoms[f"all_{mode}"] == outputs
        assert result.xcoms[f"small_{mode}"] == [{"run_id": run_id, "output_size": 7} for run_id in started]
        assert result.xcoms[f"token_{mode}"] == answer
        assert tokens[mode].path[-64:] not in said.text
    assert said.lines("2 of 2 runs have not ended yet")
    assert not any(run.cancel_requests for run in server.runs.values())
