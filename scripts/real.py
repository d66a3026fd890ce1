"""
Compare a real Trigger.dev server's answers with the recordings: ``make real URL=… KEY=… TASK=…``.

It makes each call that the provider makes, with four runs of its own, which it cancels. The exit code is 1
where an answer differs in what the provider reads.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from airflow_provider_trigger.api import runs as api
from airflow_provider_trigger.api.errors import NotFoundError, TriggerDevError
from airflow_provider_trigger.api.http import Call, Request, Response
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.run.request import to_api

RECORDINGS = Path(__file__).parents[1] / "tests" / "contract" / "recordings"


# A pattern of the request, what the provider reads of the answer, and whether it works without the call.
CALLS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("real_calls.json").read_text())
ANY_JSON = ("payload", "output", "metadata", "error")
DIFFERENCE = "DIFFERENCE"


class Shape:
    """The types of each field of JSON objects, and the fields that all objects of a path have."""

    def __init__(self, values: Iterable[Any]) -> None:
        self.types: dict[str, set[str]] = defaultdict(set)
        self.always: dict[str, set[str]] = {}
        for value in values:
            self._add(value, "")

    def _add(self, value: Any, path: str) -> None:
        is_time = isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:", value)
        self.types[path].add("time" if is_time else type(value).__name__.replace("float", "int"))
        if isinstance(value, dict) and path not in ANY_JSON:
            fields = {f"{path}.{name}".lstrip("."): item for name, item in value.items()}
            self.always[path] = self.always.get(path, set(fields)) & set(fields)
            for name, item in fields.items():
                self._add(item, name)
        for item in value if isinstance(value, list) else ():
            if not str(item).startswith("…<"):  # such as "…<200 in all>", for the rest of a recorded list
                self._add(item, f"{path}[]")

    def differences(self, recorded: Shape) -> Iterator[tuple[str, str]]:
        """Yield each path that differs from the recorded shape, and how."""
        for path in self.always.keys() & recorded.always.keys():
            for name in recorded.always[path] - self.always[path] - set(ANY_JSON):
                yield name, f"{name} is missing"
        for path in self.types.keys() & recorded.types.keys() - set(ANY_JSON):
            if new := self.types[path] - recorded.types[path]:
                yield path, f"{path} is {'/'.join(sorted(new))}, not {'/'.join(sorted(recorded.types[path]))}"


def recorded_bodies(pattern: str) -> Iterator[Any]:
    """Yield what a server answered when it was recorded."""
    for file in RECORDINGS.glob("*.jsonl"):
        for line in map(json.loads, file.read_text(encoding="utf-8").splitlines()):
            if re.fullmatch(pattern, line.get("request", "")) and line["status"] < 300:
                yield line["body"]


class RecordingHook(TriggerDevHook):
    """Keeps each request with what came of it, and the error that each request has led to."""

    def __init__(self, conn_id: str) -> None:
        super().__init__(conn_id)
        self.exchanges: list[tuple[str, Any]] = []
        self.errors: dict[str, str] = {}

    def get_client(self, **options: Any) -> Any:
        """Return a new client, whose exchanges are kept."""
        client = super().get_client(**options)
        send = client.transport.send

        def send_and_keep(request: Request, timeout: float) -> Any:
            reply = send(request, timeout)
            self.exchanges.append((str(request), reply))
            return reply

        client.transport.send = send_and_keep  # type: ignore[method-assign]
        return client

    def attempt(self, call: Callable[[], Any] | Call[Any], *, tries: int = 1) -> Any:
        """Make a call, each second again until it shows something; return None after an error."""
        try:
            for number in range(tries):
                time.sleep(min(number, 1))
                with self.client() as client:
                    if found := client.call(call) if isinstance(call, Call) else call():
                        return found
        except TriggerDevError as error:
            self.errors[self.exchanges[-1][0]] = str(error)

    def compare(self, request: str, reads: str, is_optional: bool = False) -> tuple[str, str]:
        """Return the status of a kind of call, and what is to be said of its answers."""
        replies = [reply for sent, reply in self.exchanges if re.fullmatch(request, sent)]
        answers = [reply for reply in replies if isinstance(reply, Response)]
        errors = [error for sent, error in self.errors.items() if re.fullmatch(request, sent)]
        good = [answer.json() for answer in answers if answer.status < 300]
        status = str(answers[-1].status) if answers else "-"
        if status in ("401", "403"):
            return status, "the key may not"
        if status == "404" and is_optional:
            return status, "this server lacks it, and the provider works without"
        if not (good or errors):
            return status, "not tried"
        shape, recorded = Shape(good), Shape(recorded_bodies(request))
        found = sorted(shape.differences(recorded))
        if breaking := [text for path, text in found if path in ("", *reads.split())] or errors:
            return status, f"{DIFFERENCE}: {'; '.join(breaking)}"
        new = [path for path in shape.types if path not in recorded.types]
        more = [path for path in new if not path.startswith(tuple(f"{other}." for other in new))]
        said = [f"not read: {text}" for _, text in found] + ["more fields: " + ", ".join(more)] * bool(more)
        return status, "; ".join(said) or "same shape"


def make_calls(hook: RecordingHook, task: str, tag: str, runs: list[str]) -> None:
    """Make each call that the provider makes, and add the runs that it starts."""
    options: dict[str, Any] = {"tags": [tag], "delay": "1h"}
    for more in ({}, {"idempotency_key": tag}, {"idempotency_key": tag}):
        runs += filter(None, [hook.attempt(partial(hook.trigger_task, task, options=options | more))])
    hook.attempt(api.reset_idempotency_key(tag, task_identifier=task))
    if batch := hook.attempt(api.trigger_batch([api.batch_item(task, options=to_api(options))])):
        hook.attempt(api.retrieve_batch(batch))
    hook.attempt(lambda: list(hook.list_runs(tags=tag)), tries=10)
    ended = hook.attempt(lambda: list(hook.list_runs(task_identifiers=task, statuses="COMPLETED", limit=1)))
    for run in ended or ():  # of others: it is only read
        hook.attempt(partial(hook.get_run, run.id))
        hook.attempt(api.list_events(run.id))
    if token := hook.attempt(partial(hook.create_waitpoint_token, timeout="1m", tags=tag)):
        hook.attempt(partial(hook.complete_waitpoint_token, token.id, {"from": tag}))
    if not runs:
        return
    hook.attempt(partial(hook.get_run, runs[0]))
    hook.attempt(api.query_runs(runs[:1]), tries=10)
    hook.attempt(partial(hook.reschedule_run, runs[0], "2h"))
    if action := hook.attempt(api.cancel_runs_in_bulk(runs[:1], name=tag)):
        hook.attempt(partial(hook.request, "GET", f"/api/v1/bulk-actions/{action}"))
    runs += filter(None, [hook.attempt(partial(hook.replay_run, runs[0]))])  # it starts at once
    hook.attempt(partial(hook.cancel_runs, list(runs)))
    hook.attempt(api.list_events(runs[0]))


def cancel_all(hook: RecordingHook, tag: str, runs: list[str]) -> None:
    """Cancel all runs that were started, also those whose ids were lost, and say so."""
    try:
        results = hook.cancel_runs(runs, tags=tag)
    except TriggerDevError as error:
        print(f"Could not search for further runs of the tag {tag}: {error}")
        results = hook.cancel_runs(runs) if runs else []
    left = [str(result) for result in results if result.outcome not in ("canceled", "already_completed")]
    print(f"Canceled {len(results) - len(left)} of {len(results)} runs of the tag {tag}", *left, sep="\n")


def main() -> int:
    """Make the calls, cancel the runs, print the table, and return the exit code."""
    task, key = os.environ.get("TASK"), os.environ.get("KEY")
    if not task or not key:
        raise SystemExit("error: KEY and TASK must be set, and URL for a server of your own")
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    connection: dict[str, Any] = {"conn_type": "trigger_dev", "host": os.environ.get("URL"), "password": key}
    connection |= {"extra": {"timeout": 10, "retry_for": 10}}
    os.environ["AIRFLOW_CONN_MAKE_REAL"] = json.dumps(connection)
    hook, tag, runs = RecordingHook("make_real"), f"make-real-{uuid.uuid4().hex[:8]}", list[str]()
    try:
        hook.get_client().call(api.cancel_run(api.UNKNOWN_RUN_ID))
    except NotFoundError:
        print(f"{hook.settings.base_url}: starting 4 runs of {task!r}, tag {tag}", flush=True)
    except TriggerDevError as error:
        raise SystemExit(f"error: no run is started, as none could be canceled: {error}") from None
    try:
        make_calls(hook, task, tag, runs)
    finally:
        cancel_all(hook, tag, runs)
    rows = {name: hook.compare(**call) for name, call in CALLS.items()}
    for name, (status, text) in rows.items():
        print(f"{name:<24}{status:<8}{text}")
    differences = sum(text.startswith(DIFFERENCE) for _, text in rows.values())
    compared = sum(status.startswith("2") for status, _ in rows.values())
    print(f"{differences} differences in what the provider reads; {compared} of {len(rows)} calls compared")
    return 1 if differences or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
