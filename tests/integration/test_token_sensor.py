"""Wait for waitpoint tokens that somebody completes: poking, rescheduled, deferred."""

from __future__ import annotations

import pytest
import requests

from airflow_provider_trigger._compat import airflow_version

MODES = ["poke", "reschedule", "deferrable"]
if airflow_version().startswith("3.0."):  # its dag.test() fails a sensor that is to be rescheduled (measured)
    MODES.remove("reschedule")

SENSOR = """
from airflow_provider_trigger.sensors.waitpoint import WaitpointTokenSensor

def wait(mode, token_id, **options):
    return WaitpointTokenSensor(
        task_id="wait",
        token_id=token_id,
        mode="reschedule" if mode == "reschedule" else "poke",
        deferrable=mode == "deferrable",
        poke_interval=0.2,
        retries=1,
        **options,
    )
"""

pytestmark = pytest.mark.parametrize("mode", MODES)


def test_whoever_has_the_address_answers_a_task(mode, server, run_tasks, meanwhile, said):
    token = server.create_token()[0]

    def is_waited_for():
        return sum(request.path.endswith(token.id) for request in list(server.requests)) >= 2

    meanwhile(is_waited_for, lambda: requests.post(token.url, json={"approved": True, "n": [1]}, timeout=10))
    result = run_tasks(
        SENSOR
        + f"""
@task(show_return_value_in_logs=False)
def create(params):
    return params["token"]

@task
def use(answer):
    return answer["n"]

made = create()
use(wait({mode!r}, made).output)
""",
        {"token": {"id": token.id, "url": token.url}},
    )
    assert result.state == "success"
    assert result.xcoms["wait"] == {"approved": True, "n": [1]}
    assert result.xcoms["use"] == [1]
    assert said.lines(f"Waitpoint token {token.id}", "is COMPLETED")
    assert token.path[-64:] not in said.text


@pytest.mark.parametrize("kind", ["timed out", "unknown", "invalid"])
def test_what_can_no_longer_be_answered_fails_it_without_retries(mode, kind, server, run_tasks, said):
    token = server.create_token(environment="dev" if kind == "unknown" else "prod", timeout="1s")[0]
    given = {"timed out": token.id, "unknown": token.id, "invalid": "{{ none }}"}[kind]
    result = run_tasks(SENSOR + f"\nwait({mode!r}, {given!r}, timeout=60)\n")
    assert result.states == {"wait": ["failed"]}
    assert result.tries == {"wait": [1]}
    text = {
        "timed out": "has timed out at",
        "unknown": "was not shown by any check for 2 s",
        "invalid": "token_id",
    }
    assert said.lines("AirflowFailException: ", text[kind])
