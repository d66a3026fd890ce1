"""The example Dags with the server as the command line starts it: without a script for any task."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_trigger.testing import TriggerDevServer

EXAMPLES = Path(__file__).parents[2] / "example_dags"
# One has two Dags, one needs Airflow 3.3: test_example_dags.py has tests of them.
OTHERS = {"asset_event", "retry_policy"}
STARTING = sorted(
    {path.stem for path in EXAMPLES.glob("*.py") if "RunTriggerTask" in path.read_text()} - OTHERS
)

pytestmark = pytest.mark.usefixtures("connection")
RunDag = Callable[..., Any]


@pytest.mark.parametrize("name", STARTING)
def test_an_example_that_starts_runs_works(name: str, server: TriggerDevServer, run_dag: RunDag) -> None:
    result = run_dag(EXAMPLES / f"{name}.py")
    # One of them shows what a failure does.
    assert result.state == ("failed" if name == "cancel_on_failure" else "success")
    runs = list(server.runs.values())
    assert runs
    assert {run.status for run in runs} <= {"COMPLETED", "CANCELED"}


def test_there_are_such_examples() -> None:
    assert {"batch", "run_and_wait", "run_many_mapped", "sensor"} <= set(STARTING)


def test_the_example_of_a_replay_works_with_an_added_run(server: TriggerDevServer, run_dag: RunDag) -> None:
    run = server.add_run("COMPLETED")
    result = run_dag(EXAMPLES / "replay.py", {"run_id": run.id})
    assert result.state == "success"
    assert result.xcoms["replay"] == {"done": True}
