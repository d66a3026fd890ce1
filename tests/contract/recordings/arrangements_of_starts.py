"""What has to be on the server before a case is replayed that starts runs, and what its tasks do."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from shortened import as_sent

from airflow_provider_trigger.testing import UNSET

# One task of the recordings does what its payload or metadata says; no worker takes the other's runs.
OBEY, PARKED = "obey", "parked"
AT_ONCE: dict[str, Any] = {"start_after": 0, "after": 0}
ENDLESS: dict[str, Any] = {"start_after": 0, "after": None}


def seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def shown_by(replay: Any, words: str) -> dict[str, Any]:
    """Return what the exchange shows whose label begins with some words."""
    shown: dict[str, Any] = next(
        exchange.body for exchange in replay.exchanges if exchange.label.startswith(words)
    )
    return shown


def start(replay: Any, shown: dict[str, Any], *, options: Any = None, **behavior: Any) -> Any:
    """Trigger a run when and as the recordings show it; its task does as given."""
    sent = {name: shown[name] for name in ("tags", "ttl", "metadata", "idempotencyKey") if name in shown}
    if behavior:
        replay.server.on_task(shown["taskIdentifier"], times=1, **behavior)
    replay.now = seconds(shown["createdAt"])
    run, is_cached = replay.server.trigger(
        shown["taskIdentifier"],
        payload=as_sent(shown["payload"]) if "payload" in shown else UNSET,
        options=as_sent(sent) | (options or {}),
        environment="stg" if replay.file == "pending_version" else "prod",
    )
    assert not is_cached
    replay.ids[shown["id"]] = run.id
    return run


def arrange_triggers(replay: Any) -> None:
    replay.server.object_store = False
    for task in ("hello-task", PARKED):
        replay.server.on_task(task, start_after=None)


def arrange_regions(replay: Any) -> None:
    replay.server.unknown_region("nosuch")


# Idempotency keys


def failure(shown: dict[str, Any]) -> dict[str, Any]:
    """Return what a task does whose run failed: its payload was the worker's instruction."""
    instruction = as_sent(shown["payload"])
    error = instruction.get("error", {})
    if instruction["do"] == "crash" or error.get("type") == "INTERNAL_ERROR":
        code = instruction.get("code") or error.get("code") or "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"
        return AT_ONCE | {"crash": code}
    if "raw" in error:  # what was thrown is no Error
        return AT_ONCE | {"error": {"message": error["raw"]}}
    return AT_ONCE | {"error": thrown(error or {"name": "Error", "message": "as told", "stackTrace": ""})}


def thrown(error: dict[str, str]) -> dict[str, str]:
    return {name: error[name] for name in ("name", "message", "stackTrace")}


def arrange_idempotency(replay: Any) -> None:
    server = replay.server
    server.on_task(PARKED, start_after=None)
    for state in ("FAILED", "CRASHED", "TIMED_OUT", "SYSTEM_FAILURE", "EXPIRED"):
        shown = shown_by(replay, f"{state}: the first run")
        behavior = {} if state == "EXPIRED" else failure(shown)
        start(replay, shown, options={"idempotencyKey": f"state {state} 1795637774"}, **behavior)
    start(replay, shown_by(replay, "CANCELED (queued): the first")).cancel()
    acknowledged = shown_by(replay, "CANCELED (executing, acknowledged): the first")
    run = start(replay, acknowledged, **ENDLESS, acknowledge_after=0)
    replay.now += 1
    run.cancel()
    add_holders(replay)
    start(replay, shown_by(replay, "the run after its key"), options={"idempotencyKey": "reset 1795637774"})
    lifetime = {"idempotencyKey": "ttl 1795637774", "idempotencyKeyTTL": "2s"}
    server.trigger(PARKED, payload={}, options=lifetime)
    server.trigger(PARKED, payload={}, options={"idempotencyKey": "two 1795637774"})
    replay.now += 10
    server.on_task(OBEY, times=1, output={}, **AT_ONCE)
    server.on_task(OBEY, **ENDLESS)


def add_holders(replay: Any) -> None:
    """Add the runs that hold a key when it is used again, and that nothing shows."""
    for exchange in replay.exchanges:
        alive = re.match(r"(DELAYED|PENDING_VERSION|QUEUED): same key again", exchange.label)
        canceled = "EXPIRED run that was canceled" in exchange.label
        if alive or canceled:
            run = replay.server.add_run(
                alive[1] if alive else "EXPIRED",
                run_id=exchange.body["id"],
                task_identifier=exchange.target.split("/")[-2],
                payload={},
                idempotency_key=json.loads(exchange.request_body)["options"]["idempotencyKey"],
            )
            if canceled:
                run.cancel()


# Replays


def arrange_replays(replay: Any) -> None:
    replay.server.on_task("hello-task", start_after=None)
    replay.server.on_task(PARKED, start_after=None)
    replay.server.on_task(OBEY, **ENDLESS)
    if replay.file == "replay_reschedule_2":
        arrange_more_replays(replay)
        return
    made = {exchange.body["id"] for exchange in replay.exchanges if exchange.makes_a_run}
    for exchange in replay.exchanges:
        run_id = exchange.run_id
        unknown = run_id in made or exchange.recorded["status"] == 404
        if run_id and not unknown and run_id not in replay.server.runs:
            delayed, tagged = exchange.label == "reschedule delayed", exchange.label == "add tags"
            status = "COMPLETED" if "completed" in exchange.label else "DELAYED" if delayed else "QUEUED"
            run = replay.add(run_id, status)
            run.tags = ("a",) if tagged else ("r1",) if status == "COMPLETED" else ()
            run.payload = {"n": 1}


def arrange_more_replays(replay: Any) -> None:
    options = {"test": True, "lockToVersion": "20261125.1", "maxAttempts": 2, "priority": 1}
    start(replay, shown_by(replay, "the original"), options=options)
    for exchange in replay.exchanges:
        if match := re.match("replay of a run that is (.*)", exchange.label):
            executing = match[1] == "EXECUTING"
            replay.server.add_run(
                match[1],
                run_id=exchange.run_id,
                task_identifier=OBEY if executing else PARKED,
                payload={"do": "hold"} if executing else {"s": match[1]},
            )
        elif exchange.label in ("reschedule to 3h", "reschedule of a CANCELED run"):
            replay.add(exchange.run_id, "DELAYED" if "3h" in exchange.label else "CANCELED")


def before_replays(replay: Any, exchange: Any) -> None:
    if exchange.label == "reschedule once it is QUEUED":
        replay.now += 2


# Versions


def arrange_versions(replay: Any) -> None:
    later, expiring = shown_by(replay, "0.03 s after"), shown_by(replay, "unknown task with ttl")
    for shown in (later, expiring):
        replay.server.unknown_task(shown["taskIdentifier"])
    replay.server.unknown_queue("no-such-queue")
    replay.server.on_task(later["taskIdentifier"], start_after=0.28, after=0.15, output={})
    start(replay, expiring)
    start(replay, shown_by(replay, "known task, unknown queue"), options={"queue": {"name": "no-such-queue"}})
    replay.now = seconds(later["createdAt"])


def before_versions(replay: Any, exchange: Any) -> None:
    """Read a run as long after its trigger, or after a deployment, as it was recorded."""
    after = re.match(r"([\d.]+) s after (the trigger|a version)", exchange.label)
    deployed = seconds("2026-11-25T20:37:55.5Z")
    if "13 s later" in exchange.label or "unknown queue" in exchange.label:
        replay.now = seconds(exchange.body["createdAt"]) + 13
    elif after is None:
        return
    elif after[2] == "the trigger":
        replay.now = seconds(exchange.body["createdAt"]) + float(after[1])
    else:
        if after[1] == "0.1":
            replay.now = deployed
            replay.server.deploy(exchange.body["taskIdentifier"])
        replay.now = deployed + float(after[1]) + 0.01
