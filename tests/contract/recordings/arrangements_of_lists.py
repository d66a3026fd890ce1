"""What has to be on the server before the lists of runs are replayed, and what is added in between."""

from __future__ import annotations

import base64
import json
from typing import Any

from arrangements_of_starts import PARKED, seconds


def shown_in(exchange: Any) -> list[dict[str, Any]]:
    """Return the runs that a list shows; the last item may only say how many there were."""
    return [shown for shown in exchange.body["data"] if isinstance(shown, dict)]


def arrange_more_lists(replay: Any) -> None:
    replay.now = seconds("2026-11-25T20:20:00Z")
    for _ in range(101):
        replay.server.add_run("QUEUED", tags=["load5k"], task_identifier=PARKED, environment="stg")
    for _ in range(30):
        replay.server.add_run("QUEUED", tags=["x,y1795638326"], task_identifier=PARKED)
    [batch] = [exchange for exchange in replay.exchanges if "filter[batch]" in exchange.target]
    for _ in range(5):
        replay.server.add_run(
            "QUEUED", tags=["bl1795638382"], task_identifier=PARKED, batch_id=batch.target.partition("=")[2]
        )
    [old] = [exchange for exchange in replay.exchanges if "[period]=30d" in exchange.target]
    replay.add(shown_in(old)[0]["id"], "QUEUED")


def arrange_keys_of_runs(replay: Any) -> None:
    """Add the runs that the list shows, one of which was canceled."""
    canceled, *others = shown_in(replay.exchanges[0])
    for shown in reversed(others):
        replay.add(shown["id"], "DELAYED")
    replay.add(canceled["id"], "DELAYED").cancel()


def before_lists(replay: Any, exchange: Any) -> None:
    """Add what a list shows just before it is asked for, so that earlier ones did not show it."""
    if "replica held back, six" in exchange.label:
        hold_back(replay)
    replay.server.list_lag = (
        1.0 if "held back" in exchange.label or exchange.label == "the next page" else 0.0
    )
    if exchange.left_out is None:
        environment = "stg" if "load5k" in exchange.target else "prod"
        shown = [run for run in shown_in(exchange) if run["id"] not in replay.server.runs]
        for run in reversed(shown):
            replay.add(run["id"], run["status"], environment=environment)
            replay.now += 0.01


def hold_back(replay: Any) -> None:
    """Add the runs of two pages and more, and cancel six of them while the replica doesn't hear of it."""
    first, second = (
        exchange for exchange in replay.exchanges if "hold" in exchange.target and "QUEUED" in exchange.target
    )
    page = second.body["pagination"]
    ids = dict(cursor(value) for value in (first.body["pagination"]["next"], page["previous"], page["next"]))
    ids |= {round(seconds(run["createdAt"]) * 1000): run["id"] for run in shown_in(second)}
    times = {*ids, *(max(ids) + number for number in (30, 60, 90, 120))}  # the first page is full
    times |= {min(ids) - 30, (min(ids) + sorted(ids)[1]) // 2}  # so is the second, and a third follows
    runs = []
    for time in sorted(times):
        replay.now = time / 1000
        run = replay.server.add_run(
            "QUEUED", run_id=ids.get(time), tags=["hold1795638382"], task_identifier=PARKED
        )
        runs.append(run)
    replay.now += 5
    for run in runs[-6:]:
        run.cancel()


def cursor(value: str) -> tuple[int, str]:
    place = json.loads(base64.b64decode(value))
    return place["c"], f"run_{place['r']}"
