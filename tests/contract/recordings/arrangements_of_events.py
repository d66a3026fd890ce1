"""What runs have logged before their events are listed."""

from __future__ import annotations

from typing import Any

TASK = "work"


def arrange_events(replay: Any) -> None:
    """The first run logs nothing, the second one while it executes; the last one is over when it is seen."""
    replay.server.on_task(TASK, start_after=0.2, after=0.1, times=1)
    replay.server.on_task(TASK, start_after=0, after=4)


def before_events(replay: Any, exchange: Any) -> None:
    """Let a run log what is listed next for the first time."""
    shown = exchange.body.get("events", []) if isinstance(exchange.body, dict) else []
    run_id = replay.ids.get(exchange.run_id, exchange.run_id)
    if len(shown) < 2:
        return
    if run_id not in replay.server.runs:
        replay.server.add_run("EXECUTING", run_id=run_id, task_identifier=TASK)
    run = replay.server.runs[run_id]
    if run.log_lines:
        return
    # The worker of the second run named no attempt.
    run.attempt_count = shown[1]["attemptNumber"] or 0
    for event in shown[1:]:
        text = event["message"]
        # The longest one was recorded as it was cut.
        run.log(event["level"], text * 20 if text.startswith("xxx") else text)
    if "eight log lines" in exchange.label:
        run.status = "COMPLETED"
