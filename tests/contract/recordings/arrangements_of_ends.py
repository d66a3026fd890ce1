"""What has to be on the server before a case is replayed that shows how runs ended."""

from __future__ import annotations

import json
import re
from typing import Any

from arrangements_of_starts import AT_ONCE, PARKED, failure, seconds, start, thrown
from shortened import as_sent

from airflow_provider_trigger.testing import UNSET


def arrange_outputs(replay: Any) -> None:
    replay.server.on_task(PARKED, start_after=None)
    for exchange in replay.exchanges:
        shown, known = exchange.body, replay.ids
        if "taskIdentifier" not in shown or shown["id"] in known:
            continue
        plan = shown.get("metadata", {}).get("plan")
        run = start(replay, shown, **({} if plan is None else AT_ONCE | returned(plan, shown)))
        if "payloadPresignedUrl" in shown:
            run.payload = "p" * int(re.sub(r"\D", "", exchange.label.replace("2 MB", "2000000")))
        if exchange.label == "output empty string":  # not as the SDK sends it
            run.output = ""


def returned(plan: dict[str, Any], shown: dict[str, Any]) -> dict[str, Any]:
    """Return what a task returns, and where its worker puts it."""
    if "offload" in plan:
        return {"output": ["x" * plan["big"]], "output_by_url": True}
    kind, text = plan.get("outputType", "application/json"), plan.get("output")
    if "big" in plan:
        output: Any = "x" * (plan["big"] - len('""'))
    elif text is None:
        output = UNSET
    elif "json" in kind and text != "12345678901234567890":
        output = json.loads(text)
        output = output["json"] if "super" in kind else output
    else:  # JavaScript rounds the number
        output = shown["output"] if "json" in kind else text
    return {"output": output, "output_by_url": False}


def before_outputs(replay: Any, exchange: Any) -> None:
    replay.server.object_store = not re.search("no object store|without an object", exchange.label)


def arrange_failures(replay: Any) -> None:
    replay.server.on_task(PARKED, start_after=None)
    started = {
        exchange.body["id"]: seconds(exchange.body["startedAt"]) - seconds(exchange.body["createdAt"])
        for exchange in replay.exchanges
        if "startedAt" in exchange.body
    }
    for exchange in replay.exchanges:
        shown = exchange.body
        if shown["id"] in replay.ids:
            continue
        if shown["taskIdentifier"] == PARKED:
            start(replay, shown)
        elif "plan" not in shown["payload"]:
            start(replay, shown, **failure(shown))
        else:
            plan = as_sent(shown["payload"])["plan"]["attempts"]
            most = 1 if "maxAttempts=1" in exchange.label else len(plan)
            behavior = attempts(plan) | {"start_after": started[shown["id"]]}
            start(replay, shown, options={"maxAttempts": most}, **behavior)


def attempts(plan: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what a task does that tries several times."""
    first, last = plan[0], plan[-1]
    if first["do"] == "crash":
        return {"after": first["after"], "crash": first["code"]}
    failed = [attempt["error"] for attempt in plan if attempt["do"] == "fail"]
    # A requeued run had to wait for its worker again.
    wait = first["delay"] + (0.8 if first["delay"] > 30 else 0)
    behavior = {"after": first["after"], "retry_after": wait, "error": thrown(failed[-1])}
    if last["do"] == "complete":
        behavior |= {"failures": len(failed), "output": json.loads(last.get("output", "{}"))}
    return behavior


def before_failures(replay: Any, exchange: Any) -> None:
    """Read a run as long after its trigger as it was recorded, else once it has ended."""
    after = re.search(r": after ([\d.]+) s", exchange.label)
    replay.now = seconds(exchange.body["createdAt"]) + (float(after[1]) if after else 10)
    if exchange.label == "EXPIRED, then canceled":
        replay.server.runs[replay.ids[exchange.run_id]].cancel()
