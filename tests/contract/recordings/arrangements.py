"""What has to be on the server before a case of the recordings is replayed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from arrangements_of_batches import (
    arrange_batches,
    arrange_more_batches,
    arrange_small_batches,
    before_batches,
)
from arrangements_of_changes import arrange_changes, arrange_queues, before_changes, before_queues
from arrangements_of_children import arrange_children, before_children
from arrangements_of_ends import arrange_failures, arrange_outputs, before_failures, before_outputs
from arrangements_of_events import arrange_events, before_events
from arrangements_of_lists import arrange_keys_of_runs, arrange_more_lists, before_lists
from arrangements_of_queries import arrange_ended_runs, arrange_feeds, arrange_no_feeds, arrange_queries
from arrangements_of_starts import (
    arrange_idempotency,
    arrange_regions,
    arrange_replays,
    arrange_triggers,
    arrange_versions,
    before_replays,
    before_versions,
)
from arrangements_of_tokens import arrange_tokens, before_tokens

FOREIGN = {"other project's run": "prod2", "same project DEV env run with prod key": "dev"}


def runs_in(exchange: Any, run_id: str) -> Iterator[dict[str, Any]]:
    """Yield what an exchange's body shows of a run."""
    body = exchange.recorded.get("body")
    if isinstance(body, dict):
        yield from (
            shown
            for shown in [body, *body.get("data", [])]
            if isinstance(shown, dict) and shown.get("id") == run_id and "status" in shown
        )


def arrange_states(replay: Any) -> None:
    _, environment, word = (
        replay.case.split("_", 2) if replay.case.count("_") > 1 else ("", "prod", "retrying")
    )
    words = {"retrying": "QUEUED", "suspended": "WAITING", "waiting": "EXECUTING"}
    if replay.case != "retrieve_unknown":
        status = words.get(word, word.upper())
        started = True if word == "retrying" else None
        replay.add(replay.exchanges[0].run_id, status, environment=environment, started=started)


def arrange_requests(replay: Any) -> None:
    if replay.case == "cancel_request_variants":
        for run_id in {exchange.run_id for exchange in replay.exchanges}:
            replay.add(run_id, "QUEUED")
        return
    replay.add("run_cmwvwxnrd004drk7d304xm8zg", "QUEUED")
    for exchange in replay.exchanges:
        foreign = next((FOREIGN[words] for words in FOREIGN if words in exchange.label), None)
        if foreign and exchange.run_id not in replay.server.runs:
            replay.add(exchange.run_id, "QUEUED", environment=foreign)


def arrange_settling(replay: Any) -> None:
    for exchange in replay.exchanges:
        if not exchange.target.endswith("/cancel"):
            continue
        shown = [shown for other in replay.exchanges for shown in runs_in(other, exchange.run_id)]
        completes = bool(shown) and shown[-1]["status"] == "COMPLETED"
        if "race" in exchange.label:
            # The worker was either done at that moment, or wasn't heard of again.
            run = replay.add(exchange.run_id, "EXECUTING", acknowledge_after=0 if completes else None)
        elif "child alone" not in exchange.label:
            wait = 20 if "parent" in exchange.label else 0.5
            run = replay.add(exchange.run_id, "EXECUTING", acknowledge_after=wait)
        else:
            continue
        run.completes_despite_cancel = completes
    if replay.case == "cancel_parent_child":
        replay.add("run_cmwvxdraq0069vu7dav0lz4y5", "EXECUTING")
        children = {"run_cmwvxdixe0061vu7dnymp00es": "run_cmwvxdilp005yvu7dlichzttw"}
        children["run_cmwvxdn980066vu7dncqwsfrc"] = "run_cmwvxdn1h0063vu7dh1lb8hol"
        children["run_cmwvxdrm0006cvu7dlojx7s3g"] = "run_cmwvxdraq0069vu7dav0lz4y5"
        for child, parent in children.items():
            replay.add(child, "QUEUED", parent=parent).trigger_function = (
                "trigger" if child.endswith("es") else "triggerAndWait"
            )


def arrange_lists(replay: Any) -> None:
    """Add every run that a list shows and no exchange makes, and an older one if a page was full."""
    replay.server.on_task("hello-task", start_after=None)
    made = [exchange.body["id"] for exchange in replay.exchanges if exchange.makes_a_run]
    shown = {run["id"]: run for exchange in replay.exchanges for run in body_list(exchange)}
    shown = {run_id: run for run_id, run in shown.items() if run_id not in made}
    full = any(len(body_list(exchange)) == 25 for exchange in replay.exchanges)
    if full:
        replay.add("run_older", "QUEUED")
    for run in sorted(shown.values(), key=lambda run: run["createdAt"]):
        asked = any(exchange.run_id == run["id"] for exchange in replay.exchanges)
        status = "QUEUED" if asked else run["status"]
        replay.add(run["id"], status, started=True if "startedAt" in run else None)


def body_list(exchange: Any) -> list[dict[str, Any]]:
    return exchange.body.get("data", []) if isinstance(exchange.body, dict) else []


def arrange_keys(replay: Any) -> None:
    arrange_lists(replay)
    arrange_feeds(replay)
    replay.server.bulk_lag = 3600.0  # the run was still queued after the bulk cancel


def arrange_limits(replay: Any) -> None:
    replay.server.on_task("hello-task", start_after=None)


def arrange_bulk(replay: Any) -> None:
    members = json.loads(replay.exchanges[0].request_body)["runIds"]
    for run_id, status in zip(members, [*3 * ["QUEUED"], "COMPLETED", "EXECUTING", "CANCELED"], strict=False):
        replay.add(run_id, status)
    for run_id in ("run_b1", "run_b2"):
        replay.add(run_id, "QUEUED").tags = ("bulkB",)
    replay.now = datetime.fromisoformat(replay.exchanges[1].body["createdAt"]).timestamp()
    replay.server.bulk_lag = 1.0


def before_others(replay: Any, exchange: Any) -> None:
    """Let the list lag behind where it did, and the query's database be down where it was."""
    lagging = "replication lag" in exchange.label or exchange.label == "5 list"
    replay.server.list_lag = 1.0 if lagging else 0.0
    replay.server.query_database = "ClickHouse down" not in exchange.label


# What has to be there at first, and what happens before each exchange.
ARRANGEMENTS = {
    "auth_errors": (arrange_keys, before_others),
    "batch": (arrange_small_batches, before_others),
    "batch_v2": (arrange_batches, before_others),
    "batches": (arrange_more_batches, before_batches),
    "bulk_actions": (arrange_bulk, before_others),
    "bulk_down": (arrange_queries, before_others),
    "cancel_by_state": (arrange_states, before_others),
    "cancel_requests": (arrange_requests, before_others),
    "cancel_settling": (arrange_settling, before_others),
    "children": (arrange_children, before_children),
    "ended_since": (arrange_ended_runs, before_others),
    "failed_runs": (arrange_failures, before_failures),
    "finished_at": (arrange_ended_runs, before_others),
    "idempotency": (arrange_idempotency, before_others),
    "list_keys": (arrange_keys_of_runs, before_others),
    "list_more": (arrange_more_lists, before_lists),
    "list_runs": (arrange_lists, before_others),
    "metadata_tags": (arrange_changes, before_changes),
    "outputs": (arrange_outputs, before_outputs),
    "pending_version": (arrange_versions, before_versions),
    "query": (arrange_queries, before_others),
    "query_2": (arrange_queries, before_others),
    "queues": (arrange_queues, before_queues),
    "rate_limit": (arrange_limits, before_others),
    "region": (arrange_regions, before_others),
    "realtime": (arrange_feeds, before_others),
    "realtime_native": (arrange_feeds, before_others),
    "realtime_off": (arrange_no_feeds, before_others),
    "replay_reschedule": (arrange_replays, before_replays),
    "replay_reschedule_2": (arrange_replays, before_replays),
    "retrieve_by_state": (arrange_states, before_others),
    "run_events": (arrange_events, before_events),
    "traceparent": (arrange_triggers, before_others),
    "trigger": (arrange_triggers, before_others),
    "waitpoint_tokens": (arrange_tokens, before_tokens),
}
