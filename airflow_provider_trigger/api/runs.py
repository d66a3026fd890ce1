"""
Calls on runs, without I/O: what to send, and how to read what comes back.

:meth:`airflow_provider_trigger.api.client.TriggerDevClient.call` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from airflow_provider_trigger.api.errors import OutdatedAnswerError, UnexpectedAnswerError
from airflow_provider_trigger.api.http import Call, Request, Response, segment
from airflow_provider_trigger.api.models import ListedRun, Run, RunPage
from airflow_provider_trigger.api.responses import json_object, read_id, read_text, server_message

MAX_BULK_SIZE = 500
"""As many ids as the server takes in one bulk action (measured)."""

MAX_PAGE_SIZE = 100
"""As many runs as the server lists at once."""

# So many pages in a row may be empty: the server filters again what it has found (measured).
_MOST_IDLE_PAGES = 1000

UNKNOWN_RUN_ID = "run_of_the_connection_test"
"""An id that no run has: real ones have 25 letters and digits after ``run_``."""


def cancel_run(run_id: str) -> Call[None]:
    """
    Request the cancel of a run: ``POST /api/v2/runs/{runId}/cancel``.

    The server answers 200 ``{"id": …}`` for every run that exists, alive or not (measured), so no answer says
    what became of the run: only :func:`retrieve_run` does. Any other 2xx is not Trigger.dev's answer. A 400
    or 409 that says "already" is what other versions answer for a finished run, and counts as acknowledged.
    """
    path = f"/api/v2/runs/{segment(run_id)}/cancel"
    request = Request(method="POST", path=path, repeatable=True, run_id=run_id)

    def read(response: Response) -> None:
        if response.status in (400, 409) and "already" in server_message(response).lower():
            return
        if json_object(request, response).get("id") != run_id:
            raise UnexpectedAnswerError(f"{request} answered {response.status} without the run's id")

    return Call(request=request, read=read)


def cancel_runs_in_bulk(run_ids: Sequence[str] = (), *, tag: str | None = None, name: str) -> Call[str]:
    """
    Request the cancel of many runs at once: ``POST /api/v1/bulk-actions``; returns the bulk action's id.

    Unknown ids are dropped silently, and so are runs younger than about 2 s (measured). A tag, without a
    comma, takes the place of ids: of all runs that have it, and are not older than 7 days. An older server
    does not know it. Not repeatable, as it only comes before cancels of single runs.
    """
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
    """Check a run as :func:`retrieve_run` does, without what can be large: for waits for thousands."""
    call = retrieve_run(run_id)
    return Call(request=call.request, read=lambda response: call.read(response).without_contents())


def ended_run(call: Call[Run]) -> Call[Run]:
    """Return the same call for a run that was seen to have ended: an answer of a replica that lags fails."""

    def read(response: Response) -> Run:
        run = call.read(response)
        if not run.is_final:
            raise OutdatedAnswerError(f"{call.request} shows the run as {run.status}, although it has ended")
        return run

    return replace(call, read=read)


def replay_run(run_id: str) -> Call[str]:
    """
    Start a run again: ``POST /api/v1/runs/{runId}/replay``; returns the new run's id.

    It works for a run in any state, leaves that run alone, and makes a new one each time, with the same
    payload, tags, metadata, queue and machine, but without an idempotency key, delay or ttl (measured). It
    cannot be made idempotent (measured), so it is not repeatable.
    """
    path = f"/api/v1/runs/{segment(run_id)}/replay"
    request = Request(method="POST", path=path, repeatable=False, run_id=run_id)
    return Call(request=request, read=lambda it: read_id(request, json_object(request, it), what="a run"))


def reschedule_run(run_id: str, *, delay: str) -> Call[Run]:
    """
    Change when a DELAYED run starts: ``POST /api/v1/runs/{runId}/reschedule``; returns the run.

    For another state, and a delay that is malformed or past, the server answers 400 (measured).
    """
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
    """
    List runs that fit all filters, newest first: ``GET /api/v1/runs``; lags 1 to 2 s behind (measured).

    A page may be short or empty although there are more: list until :attr:`RunPage.next` is None (measured).
    Measured: a run fits that has any of the tags, exactly; a batch lacks a run that an item got by its key; a
    status word that the server does not know is an error; ``created_from=None``, which else is a time with a
    zone, is the last 7 days.
    """
    batch_ids = [] if batch_id is None else [batch_id]
    for what, values in (("tag", tags), ("task", task_identifiers), ("batch", batch_ids)):
        if not all(value and "," not in value for value in values):
            # An empty one finds every run; a comma separates tags, encoded or not (measured).
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
        self.after: str | None = None
        """None for the first page."""
        self.pages = 0
        """How many were read."""
        self._seen: set[str] = set()
        self._idle, self._ids = 0, list[str]()

    def advance(self, page: RunPage, *, shows_new: bool = True) -> bool:
        """Take in a page, and whether it may show what is looked for; return whether another one follows."""
        ids, before = [run.id for run in page.runs], self._ids
        self._idle = 0 if shows_new and ids not in ([], before) else self._idle + 1
        self.after, self._ids, self.pages = page.next, ids, self.pages + 1
        if page.next is None:  # a short page is not the last one (measured)
            return False
        if page.next in self._seen or self._idle >= _MOST_IDLE_PAGES:
            text = "the list of runs has no last page: its pages repeat, or show nothing new any more"
            raise UnexpectedAnswerError(text, retryable=False)
        self._seen.add(page.next)
        return True


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
