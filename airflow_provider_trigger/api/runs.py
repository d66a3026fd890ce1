"""Calls on runs, without I/O: what to send, and how to read what comes back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from airflow_provider_trigger.api.answers import json_object, read_id, read_text, server_message
from airflow_provider_trigger.api.errors import OutdatedAnswerError, UnexpectedAnswerError
from airflow_provider_trigger.api.http import Call, Request, Response, segment
from airflow_provider_trigger.api.models import ListedRun, Run, RunPage
from airflow_provider_trigger.api.statuses import todays_word

MAX_BULK_SIZE = 500
"""The most ids that the server takes in one bulk action (measured)."""

MAX_PAGE_SIZE = 100
"""The most runs that the server lists at once."""

# The number of pages in a row that may be empty: the server filters what it has found again (measured).
_MOST_IDLE_PAGES = 1000

UNKNOWN_RUN_ID = "run_of_the_connection_test"
"""An id that no run has: real ones have 25 letters and digits after ``run_``."""


def trigger_task(
    task_identifier: str,
    *,
    payload: Any = None,
    options: Mapping[str, Any],
    trace: Mapping[str, str] | None = None,  # headers, which the server keeps as the run's external trace
) -> Call[tuple[str, bool]]:
    """Start a run; return its id, and whether it existed already, in whatever status."""
    # Measured: the run of a task that no deployed version has becomes PENDING_VERSION; what the server does
    # not understand in the options it mostly ignores; a run that exists keeps its payload and options.
    path = f"/api/v1/tasks/{segment(task_identifier, what='the id of a task')}/trigger"
    body = _body(payload, options)
    has_key = bool(options.get("idempotencyKey"))  # an empty key is no key (measured)
    request = Request(method="POST", path=path, json=body, headers=trace or {}, repeatable=has_key)

    def read(response: Response) -> tuple[str, bool]:
        answer = json_object(request, response)
        return read_id(request, answer, what="a run"), answer.get("isCached") is True

    return Call(request=request, read=read)


def _body(payload: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    # With null, a run would have that (measured).
    return {"options": dict(options)} | ({} if payload is None else {"payload": payload})


def reset_idempotency_key(key: str, *, task_identifier: str) -> Call[None]:
    """Take an idempotency key off its run, which continues (measured)."""
    path = f"/api/v1/idempotencyKeys/{segment(key, what='an idempotency key')}/reset"
    request = Request(method="POST", path=path, json={"taskIdentifier": task_identifier}, repeatable=True)

    def read(response: Response) -> None:
        said = str(response.json_object().get("error"))
        if response.status == 404 and said.startswith("No runs found with idempotency key"):
            return  # the answer to an earlier reset was lost (measured)
        if json_object(request, response).get("id") != key:
            raise UnexpectedAnswerError(f"{request} answered {response.status} without the idempotency key")

    return Call(request=request, read=read)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """A batch, as ``GET /api/v2/batches/{id}`` shows it."""

    id: str
    status: str  # COMPLETED means that its runs have ended in any status, or existed before (measured)
    run_count: int
    run_ids: tuple[str, ...]  # in the order of its items; fewer while the server creates them (measured)


MAX_ITEMS_AT_ONCE = 20
"""The server answers a batch once this many runs are created, and always creates the others (measured)."""

MAX_BATCH_SIZE = 500 * 1000
"""The items of one request, in bytes of JSON; over 512 KB the server needs an object store (measured)."""


def batch_item(task_identifier: str, *, payload: Any = None, options: Mapping[str, Any]) -> Any:
    """Return an item of a batch, as JSON."""
    return {"task": task_identifier} | _body(payload, options)


def trigger_batch(items: Sequence[Mapping[str, Any]], *, trace: Mapping[str, str] | None = None) -> Call[str]:
    """Start a run for each item, as :func:`trigger_task` does; return the batch's id. Older servers: 404."""
    # Measured: an item that cannot be triggered becomes a run that has failed, SYSTEM_FAILURE; a repeated
    # request makes another batch, of the same runs if each item has a key.
    path, body = "/api/v2/tasks/batch", {"items": list(items)}
    has_keys = all(item.get("options", {}).get("idempotencyKey") for item in items)
    request = Request(method="POST", path=path, json=body, headers=trace or {}, repeatable=has_keys)

    def read(response: Response) -> str:
        return read_id(request, json_object(request, response), what="a batch")

    return Call(request=request, read=read)


def retrieve_batch(batch_id: str) -> Call[Batch]:
    """Return a batch, also with runs that existed before and that its items got by their keys (measured)."""
    path = f"/api/v2/batches/{segment(batch_id, what='the id of a batch')}"
    request = Request(method="GET", path=path, repeatable=True)

    def read(response: Response) -> Batch:
        match json_object(request, response):
            case {"id": str(shown), "status": str(status), "runCount": int(count), "runs": list(runs)}:
                if shown == batch_id and all(map(read_text, runs)):
                    return Batch(id=batch_id, status=status, run_count=count, run_ids=tuple(runs))
        raise UnexpectedAnswerError(f"{request} answered something that is not this batch")

    return Call(request=request, read=read)


def cancel_run(run_id: str) -> Call[None]:
    """Request the cancel of a run; it succeeds for every run that exists, alive or not (measured)."""
    path = f"/api/v2/runs/{segment(run_id)}/cancel"
    request = Request(method="POST", path=path, repeatable=True, run_id=run_id)

    def read(response: Response) -> None:
        if response.status in (400, 409) and "already" in server_message(response).lower():
            return  # another version answers like this for a run that has ended
        if json_object(request, response).get("id") != run_id:
            raise UnexpectedAnswerError(f"{request} answered {response.status} without the run's id")

    return Call(request=request, read=read)


def cancel_runs_in_bulk(run_ids: Sequence[str] = (), *, tag: str | None = None, name: str) -> Call[str]:
    """Request the cancel of many runs, or those of a tag of the last 7 days; return the bulk action's id."""
    # Unknown ids are dropped silently, and so are runs younger than about 2 s (measured). A tag has no
    # comma. Older servers do not know it. Not repeatable, as it only comes before cancels of single runs.
    selection = {"filter": {"tag": tag}} if tag else {"runIds": list(run_ids)}
    body = {"action": "cancel", **selection, "name": name}
    request = Request(method="POST", path="/api/v1/bulk-actions", json=body, repeatable=False)

    def read(response: Response) -> str:
        return read_id(request, json_object(request, response), what="a bulk action")

    return Call(request=request, read=read)


def retrieve_run(run_id: str) -> Call[Run]:
    """Check a run: ``GET /api/v3/runs/{runId}``."""
    request = Request(method="GET", path=f"/api/v3/runs/{segment(run_id)}", repeatable=True, run_id=run_id)
    return Call(request=request, read=lambda response: _read_run(request, response, run_id))


def check_run(run_id: str) -> Call[Run]:
    """Check a run as :func:`retrieve_run` does, without large contents: for waits for thousands of runs."""
    call = retrieve_run(run_id)
    return Call(request=call.request, read=lambda response: call.read(response).without_contents())


def ended_run(call: Call[Run]) -> Call[Run]:
    """Return the same call for a run that has ended: an answer that shows it as alive fails."""

    def read(response: Response) -> Run:
        run = call.read(response)
        if not run.is_final:
            raise OutdatedAnswerError(f"{call.request} shows the run as {run.status}, although it has ended")
        return run

    return replace(call, read=read)


def replay_run(run_id: str) -> Call[str]:
    """Start a run again, whatever its state; return the new run's id."""
    # Measured: the new run has the same payload, tags, metadata, queue and machine, but no idempotency key,
    # delay or ttl; the request cannot be made idempotent.
    path = f"/api/v1/runs/{segment(run_id)}/replay"
    request = Request(method="POST", path=path, repeatable=False, run_id=run_id)
    return Call(request=request, read=lambda it: read_id(request, json_object(request, it), what="a run"))


def reschedule_run(run_id: str, *, delay: str) -> Call[Run]:
    """Change when a run starts; 400 if it is not DELAYED, or the delay is malformed or past (measured)."""
    path = f"/api/v1/runs/{segment(run_id)}/reschedule"
    request = Request(method="POST", path=path, json={"delay": delay}, repeatable=True, run_id=run_id)
    return Call(request=request, read=lambda response: _read_run(request, response, run_id))


def list_newest_runs() -> Call[RunPage]:
    """List a few runs, to try whether the server answers."""
    return list_runs_page(created_from=None, page_size=10)  # the vendor's description allows no less


def list_runs_page(
    *,
    tags: Sequence[str] = (),
    statuses: Sequence[str] = (),
    task_identifiers: Sequence[str] = (),
    batch_id: str | None = None,
    created_from: datetime | None,
    page_size: int = MAX_PAGE_SIZE,
    after: str | None = None,
) -> Call[RunPage]:
    """List runs that fit all filters, newest first; ``created_from=None`` is the last 7 days (measured)."""
    # Measured: it lags 1 to 2 s behind; a page may be short or empty although there are more; a run fits that
    # has any of the tags, exactly; a batch lacks a run that an item got by its key; an unknown status is an
    # error.
    batch_ids = [] if batch_id is None else [batch_id]
    for what, values in (("tag", tags), ("task", task_identifiers), ("batch", batch_ids)):
        if not all(value and "," not in value for value in values):
            # An empty tag finds every run; a comma separates tags, encoded or not (measured).
            text = f"runs cannot be found by a {what} that is empty or has a comma"
            raise ValueError(f"{text}: {list(values)!r}")
    filters = {
        "filter[tag]": ",".join(tags),
        "filter[status]": ",".join(statuses),
        "filter[taskIdentifier]": ",".join(task_identifiers),
        "filter[batch]": batch_id,
        "filter[createdAt][from]": created_from and str(round(created_from.timestamp() * 1000)),
        "page[after]": after,
    }
    params = {"page[size]": str(page_size)} | {name: value for name, value in filters.items() if value}
    request = Request(method="GET", path="/api/v1/runs", params=params, repeatable=True)
    return Call(request=request, read=lambda response: _read_page(request, response))


class Cursor:
    """Where the next page of a list begins; a list without a last page is an error."""

    def __init__(self) -> None:
        self.after: str | None = None  # None for the first page
        self._read, self._ids, self._idle = list[str | None](), list[str](), 0

    @property
    def pages(self) -> int:
        """How many pages were read."""
        return len(self._read)

    def advance(self, page: RunPage, *, shows_new: bool = True) -> bool:
        """Take in a page; return whether another one follows: a short page is not the last one (measured)."""
        ids, before = [run.id for run in page.runs], self._ids
        self.after, self._ids = page.next, ids
        self._idle = 0 if shows_new and ids not in ([], before) else self._idle + 1
        if page.next in self._read or self._idle > _MOST_IDLE_PAGES:
            text = "the list of runs has no last page: its pages repeat, or show nothing"
            raise UnexpectedAnswerError(text, retryable=False)
        self._read.append(page.next)
        return page.next is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEvent:
    """A line of a run's log, or a span of its trace."""

    message: str  # cut by the server at 256 characters, without a mark (measured)
    level: str  # TRACE for a span
    started_at: datetime | None  # in UTC


def list_events(run_id: str) -> Call[list[RunEvent]]:
    """List the lines and spans of a run by their start; each shows 0.5 to 2.5 s later (measured)."""
    path = f"/api/v1/runs/{segment(run_id)}/events"
    request = Request(method="GET", path=path, repeatable=True, run_id=run_id)

    def read(response: Response) -> list[RunEvent]:
        events = json_object(request, response).get("events")
        if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
            raise UnexpectedAnswerError(f"{request} answered JSON without a list of events in 'events'")
        return [_read_event(event) for event in events]

    return Call(request=request, read=read)


def _read_event(shown: Mapping[str, Any]) -> RunEvent:
    try:
        started_at = datetime.fromtimestamp(int(shown["startTime"]) / 10**9, UTC)
    except (KeyError, TypeError, ValueError, ArithmeticError, OSError):
        started_at = None
    message, level = read_text(shown.get("message")) or "", read_text(shown.get("level")) or ""
    return RunEvent(message=message, level=level, started_at=started_at)


def _read_run(request: Request, response: Response, run_id: str) -> Run:
    answer = json_object(request, response)
    _check_run(request, answer)
    run = Run.from_answer(answer, seen_at=response.date(), has_contents=True)
    if run.id != run_id:
        raise UnexpectedAnswerError(f"{request} answered another run: {run.id[:50]!r}")
    return run


def _read_page(request: Request, response: Response) -> RunPage:
    answer = json_object(request, response)
    runs, pagination = answer.get("data"), answer.get("pagination")
    if not isinstance(runs, list):
        raise UnexpectedAnswerError(f"{request} answered JSON without a list of runs in 'data'")
    for run in runs:
        _check_run(request, run if isinstance(run, dict) else {})
    if not isinstance(pagination, dict):
        raise UnexpectedAnswerError(f"{request} answered a list of runs without 'pagination'")
    seen_at = response.date()
    listed = [ListedRun.from_answer(run, seen_at=seen_at) for run in runs]
    return RunPage(runs=listed, next=read_text(pagination.get("next")))


def _check_run(request: Request, answer: Mapping[str, Any]) -> None:
    if missing := [name for name in ("id", "status") if not read_text(answer.get(name))]:
        raise UnexpectedAnswerError(f"{request} answered a run without {missing[0]!r}")


MAX_QUERIED_RUNS = 5000
"""The most runs in one query: 0.4 s and a body of 156 KB (measured)."""

QUERY_TIMEOUT = 5.0
"""How long the server may take for a query, in seconds."""

# GET's startedAt is dequeued_at here. There is no updated_at (measured), and nothing else says since when a
# run waits for a version: queued_at is older where it waited in its queue first.
_COLUMNS = (
    "run_id, status, task_identifier, attempt_count, triggered_at, dequeued_at, executed_at, completed_at"
)
# Without a period the query looks back 7 days; a long one costs nothing (measured).
_PERIOD = "365d"
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]+")


def can_be_queried(run_id: str) -> bool:
    """Return whether an id needs no escape in the text of a query."""
    return _PLAIN_ID.fullmatch(run_id) is not None


def parts_of(run_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield runs in parts, each for one query."""
    for first in range(0, len(run_ids), MAX_QUERIED_RUNS):
        yield run_ids[first : first + MAX_QUERIED_RUNS]


def query_runs(run_ids: Sequence[str], *, only_ended: bool = False) -> Call[list[Run]]:
    """Check many runs at once; return those that the server found, in any order, without contents."""
    # It costs one token, and lags about 1 s behind: a run that has just started is missing. A run's end can
    # be missing permanently; while its database is down the server answers 400 (measured). An older one: 404.
    if not run_ids or not all(map(can_be_queried, run_ids)):
        raise ValueError("only runs whose ids consist of letters, digits, '_' and '-' can be queried")
    listed, queried = ",".join(f"'{run_id}'" for run_id in run_ids), frozenset(run_ids)
    ended = " AND is_finished" if only_ended else ""
    call = _query(f"SELECT {_COLUMNS} FROM runs WHERE run_id IN ({listed}){ended}")

    def read(response: Response) -> list[Run]:
        found = [run.without_contents() for run in call.read(response)]
        if not queried.issuperset(run.id for run in found):
            raise UnexpectedAnswerError(f"{call.request} answered other runs")
        return found

    return replace(call, read=read)


def query_where(condition: str, *, order: str, limit: int) -> Call[list[Run]]:
    """Find runs, with their tags, by a condition in SQL; it fails as :func:`query_runs` does."""
    # A run that was canceled while no worker had it has no completed_at (measured). NULLs are ordered last.
    return _query(f"SELECT {_COLUMNS}, tags FROM runs WHERE {condition} ORDER BY {order} LIMIT {limit}")


def _query(query: str) -> Call[list[Run]]:
    body = {"query": query, "scope": "environment", "period": _PERIOD}
    request = Request(method="POST", path="/api/v1/query", json=body, repeatable=True)

    def read(response: Response) -> list[Run]:
        rows, seen_at = json_object(request, response).get("results"), response.date()
        if not isinstance(rows, list):
            raise UnexpectedAnswerError(f"{request} answered JSON without a list of 'results'")
        for row in rows:
            shown = row if isinstance(row, dict) else {}
            if not all(read_text(shown.get(name)) for name in ("run_id", "status")):
                raise UnexpectedAnswerError(f"{request} answered a run without 'run_id' or 'status'")
        return [Run.from_answer(_as_by_get(row), seen_at=seen_at) for row in rows]

    return Call(request=request, read=read, timeout=QUERY_TIMEOUT)


def _as_by_get(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a query as a GET would show its run."""
    executed_at = row.get("executed_at")
    return {
        "id": row["run_id"],
        "status": todays_word(row["status"]),
        "taskIdentifier": row.get("task_identifier"),
        "tags": row.get("tags"),
        "createdAt": row.get("triggered_at"),
        "startedAt": row.get("dequeued_at") or executed_at,
        "finishedAt": row.get("completed_at"),
        # It is 1 before the first attempt, too (measured).
        "attemptCount": row.get("attempt_count") if executed_at else 0,
    }
