"""The log of a run in the log of its task, as Airflow runs it."""

from __future__ import annotations

import re
from typing import Any

WAYS = [False, True]  # deferrable


def test_the_lines_of_runs_are_in_the_log_once_and_in_order(server, run_tasks, said) -> None:
    def work(payload: Any, log: Any) -> None:
        for level, text in (("INFO", "opening"), ("DEBUG", "not shown"), ("WARN", "slow"), ("ERROR", "lost")):
            log(level, f"{payload} {text}")
        raise ValueError(payload)

    server.on_task("resize", start_after=0, after=0.05, output=work)
    result = run_tasks("""
        for deferrable in (False, True):
            RunTriggerTaskOperator(
                task_id=f"run_{deferrable}",
                task_identifier="resize",
                payload=f"run_{deferrable}",
                deferrable=deferrable,
                poll_interval=0.05,
            )
            RunTriggerTaskBatchOperator(
                task_id=f"batch_{deferrable}",
                task_identifier="resize",
                payloads=[f"item_{deferrable}_{number}" for number in range(5)],
                deferrable=deferrable,
                poll_interval=0.05,
            )
    """)
    assert result.state == "failed"
    items = [f"item_{way}_{number}" for way in WAYS for number in range(3)]
    for payload in [*(f"run_{way}" for way in WAYS), *items]:
        found = re.findall(rf"\dZ {payload} (\w+)", "\n".join(said.lines(f"Z {payload} ")))
        assert found == ["opening", "slow", "lost"], payload
    fetched = [one.path.split("/")[-2] for one in server.requests if one.path.endswith("/events")]
    assert len(fetched) == len(set(fetched)) == 2 + len(items)
