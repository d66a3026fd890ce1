"""What has to be on the server before queries and the starts of realtime feeds are replayed."""

from __future__ import annotations

import json
import re
from typing import Any

from arrangements_of_starts import seconds


def status_of(row: dict[str, Any]) -> str:
    """Return the status that a list, or a query in its own words, shows."""
    return str(row["status"]).upper().replace(" ", "_")


def arrange_queries(replay: Any) -> None:
    """Add the runs that a query shows, with the tag and the parent that it shows them by."""
    runs: dict[str, dict[str, Any]] = {}
    for exchange in replay.exchanges:
        if exchange.left_out is not None or not isinstance(exchange.body.get("results"), list):
            continue
        tag = re.search(r"has\(tags, '(.*)'\)", exchange.request_body)
        for row in exchange.body["results"]:
            run = runs.setdefault(row["run_id"], {"status": "Queued", "parent_run_id": None})
            run |= row | ({"tags": [tag[1]]} if tag else {})
    for run_id, run in runs.items():
        parent = run["parent_run_id"]
        if parent is not None and parent not in replay.server.runs:
            replay.server.add_run(run_id=parent)
        status, tags = status_of(run), run.get("tags", ())
        replay.server.add_run(status, run_id=run_id, parent=parent, tags=tags)


def arrange_ended_runs(replay: Any) -> None:
    """Add the runs that queries and lists show as ended, but for those that an exchange makes."""
    runs: dict[str, dict[str, Any]] = {}
    for exchange in replay.exchanges:
        if exchange.left_out is None and exchange.recorded["status"] == 200:
            for row in exchange.body.get("results", []):
                runs.setdefault(row["run_id"], {}).update(row)
            for item in exchange.body.get("data", []):
                runs.setdefault(item["id"], {}).update(item)
    for exchange in replay.exchanges:
        if exchange.makes_a_run:
            del runs[exchange.body["id"]]
    for run_id, run in runs.items():
        ended_at = seconds(run.get("finishedAt") or run["completed_at"] + "Z")
        replay.now = seconds(run["createdAt"]) if "createdAt" in run else ended_at
        replay.server.add_run(
            "EXECUTING",
            run_id=run_id,
            environment="stg",
            task_identifier="work",
            tags=run.get("tags", ()),
            then=[(ended_at - replay.now, status_of(run))],
        )
    replay.now += 10


def arrange_feeds(replay: Any, *, environment: str = "prod") -> None:
    """Add the runs that the starts of feeds show."""
    for exchange in replay.exchanges:
        for message in exchange.body if isinstance(exchange.body, list) else []:
            shown = message.get("value")
            if shown is None or shown["friendlyId"] in replay.server.runs:
                continue
            replay.now = seconds(shown["createdAt"] + "Z")
            replay.server.add_run(
                {"COMPLETED_SUCCESSFULLY": "COMPLETED", "PENDING": "QUEUED"}.get(
                    word := shown["status"], word
                ),
                run_id=shown["friendlyId"],
                environment=environment,
                task_identifier=shown["taskIdentifier"],
                tags=json.loads(f"[{(shown['runTags'] or '{}')[1:-1]}]"),
                started=shown["startedAt"] is not None,
            )


def arrange_no_feeds(replay: Any) -> None:
    """Turn the realtime API off; only a run that is unknown is answered with 404."""
    replay.server.realtime = False
    for exchange in replay.exchanges:
        if exchange.recorded["status"] == 503 and exchange.run_id not in replay.server.runs:
            replay.server.add_run(run_id=exchange.run_id)
        if batch := re.search(r"batch_\w+", exchange.target):
            made = replay.server.batches.open(1, environment=replay.server.environment)
            replay.ids[batch[0]] = made.id
