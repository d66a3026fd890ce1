"""What has to be on the server before cancels of parents are replayed."""

from __future__ import annotations

import re
from typing import Any

from arrangements_of_starts import seconds

from airflow_provider_trigger.testing.engine.tasks import TaskScript

BEFORE_THEIR_CANCEL = {"delayed": "DELAYED", "suspended": "WAITING", "exec.": "EXECUTING"}
REPLAYED = "run_cmwwko7ob0cz5sc7dg9qzyysg"


def arrange_children(replay: Any) -> None:
    """Add all trees as they were before the parents' cancels."""
    replay.server.on_task("parked", start_after=None)
    shown: dict[str, dict[str, Any]] = {}
    parents: dict[str, str] = {}
    counts: dict[str, int] = {}
    made = [exchange.body["id"] for exchange in replay.exchanges if exchange.makes_a_run]
    for exchange in replay.exchanges:
        related = exchange.body.get("relatedRuns")
        if related is None or exchange.body["id"] in made:
            continue
        run_id = exchange.body["id"]
        children = [child for child in related["children"] if isinstance(child, dict)]
        cut = re.search(r"<(\d+) in all>", str(related["children"]))
        counts[run_id] = int(cut[1]) if cut else len(children)
        if "parent" in related:
            parents[run_id] = related["parent"]["id"]
        for run in (exchange.body, *children):
            label = exchange.label.partition(": ")[2].split(" ")[0]
            status = run["status"]
            before = BEFORE_THEIR_CANCEL.get(label, "QUEUED") if status == "CANCELED" else status
            shown[run["id"]] = run | {"status": before} | shown.get(run["id"], {})
        parents.update((child["id"], run_id) for child in children)
    for run in sorted(shown.values(), key=lambda run: run["createdAt"]):
        _add(replay, run, parents.get(run["id"]))
    for run_id, count in counts.items():
        for _ in range(count - len(replay.server.runs[run_id].children)):
            replay.server.add_run("COMPLETED", parent=run_id)
    parent = replay.server.add_run()
    replay.server.add_run("QUEUED", run_id=REPLAYED, task_identifier="parked", payload={}, parent=parent)


def _add(replay: Any, run: dict[str, Any], parent: str | None) -> None:
    plan = run.get("payload", {})
    replay.now = seconds(run["createdAt"])
    in_spite = run["status"] == "COMPLETED" and "race" in plan
    added = replay.server.add_run(
        "EXECUTING" if in_spite else run["status"],
        run_id=run["id"],
        task_identifier=run["taskIdentifier"],
        payload=plan,
        tags=run["tags"],
        parent=parent,
        acknowledge_after=plan.get("ack"),
    )
    added.trigger_function = run["triggerFunction"]
    added.completes_despite_cancel = in_spite
    if run["status"] == "COMPLETED":
        added.script = TaskScript(output=run["output"])
        if not in_spite:
            added.output = run["output"]


def before_children(replay: Any, exchange: Any) -> None:
    """Let as much time pass after a parent's cancel as had passed when it was recorded."""
    if exchange.target.endswith("/cancel"):
        replay.canceled_at = replay.now
    elif match := re.search(r"([\d.]+) s after the parent's cancel", exchange.label):
        replay.now = replay.canceled_at + float(match[1])
    elif "in spite of its cancel" in exchange.label:
        replay.now = replay.canceled_at + 4
