from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "example_dags"

pytestmark = pytest.mark.usefixtures("connection")


@pytest.mark.parametrize("name", ["cancel_at_the_end", "cancel_in_teardown", "cancel_mapped_runs"])
def test_operator_cancels_what_is_alive(name, server, run_dag):
    alive, ended = server.add_run(status="EXECUTING"), server.add_run(status="COMPLETED")
    other = server.add_run(status="EXECUTING")
    result = run_dag(EXAMPLES / f"{name}.py", {"run_ids": [alive.id, ended.id]})
    assert result.state == "success"
    assert server.runs[alive.id].status == "CANCELED"
    assert server.runs[ended.id].status == "COMPLETED"
    assert server.runs[other.id].status == "EXECUTING"


@pytest.mark.parametrize("name", ["cancel_on_task_failure", "cancel_on_dag_failure"])
def test_callback_cancels_what_is_alive(name, server, run_dag):
    alive, other = server.add_run(status="EXECUTING"), server.add_run(status="EXECUTING")
    result = run_dag(EXAMPLES / f"{name}.py", {"run_ids": [alive.id]})
    assert result.state == "failed"
    assert server.runs[alive.id].status == "CANCELED"
    assert server.runs[other.id].status == "EXECUTING"
