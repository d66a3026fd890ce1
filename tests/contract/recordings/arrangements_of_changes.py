"""What happens before queues are used, and before tags and metadata of a run are changed."""

from __future__ import annotations

from typing import Any

TASKS = ("other", "parent", "resize-image", "slow-queue")


def arrange_queues(replay: Any) -> None:
    """The worker of the real server had these tasks, and one queue of its own."""
    for task_identifier in TASKS:
        replay.server.on_task(task_identifier)
    replay.server.on_task("work", output=lambda payload: {"echo": payload, "attempt": 1}, after=0.01)
    replay.server.add_queue("my-queue", limit=50)
    recorded = {queue["name"]: queue["id"] for queue in replay.exchanges[0].body["data"]}
    for queue in replay.server.queues_in(replay.server.environment):
        queue.id = recorded[queue.name]


def before_queues(replay: Any, exchange: Any) -> None:
    if exchange.label in ("run of a paused queue", "run after resume"):
        replay.now += 5


def arrange_changes(replay: Any) -> None:
    replay.add(replay.exchanges[0].run_id, "QUEUED")


def before_changes(replay: Any, exchange: Any) -> None:
    """Let the run go on, and its task change the metadata."""
    run = replay.server.runs[exchange.run_id]
    shown = exchange.body
    if shown.get("status", run.status) != run.status:
        run.status = shown["status"]
    if "output" in shown:
        run.output = shown["output"]
    if "status" in shown:
        run.metadata = shown["metadata"]
