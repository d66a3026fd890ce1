"""Start runs: one by itself, or many, several requests at a time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.models import Run
from airflow_provider_trigger.api.runs import retrieve_run
from airflow_provider_trigger.api.tasks import reset_idempotency_key
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.checks import wait_until_terminated
from airflow_provider_trigger.run.guard import Guard
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.sending import Part, Sending, divide, send_batch, send_one

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

MAX_ROUNDS = 5
"""So many runs in a row that someone else cancels right after their start are an error."""

REQUESTS_AT_ONCE = 4
"""How many requests are in flight at a time, of 20 items each: 200 items take 6 s so (measured)."""

# How often it is checked whether an answer has come, or the task was stopped, in seconds.
_CHECK_INTERVAL = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A run to wait for."""

    run_id: str
    run: Run | None = None
    """As it was found, None for a new one."""


def start_run(
    client: TriggerDevClient,
    request: TaskRequest,
    *,
    log: Log,
    sleep: Callable[[float], None] = time.sleep,
    on_id: Callable[[str | None], object] = lambda run_id: None,
) -> Started:
    """
    Start a run; where its idempotency key has one already, return that.

    A canceled run keeps its key (measured): it is released once the run's worker can be assumed to have
    stopped, and a new run starts; one that has completed in spite of its cancel is returned. ``on_id`` is
    called with each run's id as soon as it is known, and with None before another one may start. Without a
    key, an error says whether a run may exist.
    """
    doubtful_id, replaced = None, None
    for _ in range(MAX_ROUNDS):
        on_id(None)
        triggered = send_one(client, request)
        on_id(triggered.id)
        if not triggered.is_cached:
            if replaced:
                log.info("Run %s is %s: a new one is started in its place", replaced.id, replaced.status)
            return Started(run_id=triggered.id)
        if triggered.id != doubtful_id:
            run = client.call(retrieve_run(triggered.id))
            if run.is_canceled:
                run = wait_until_terminated(client, {run.id: run}, log=log, sleep=sleep)[run.id]
            if not run.is_final or run.is_success:
                return take_up(run, log=log)
            sleep(0)  # a task that was stopped meanwhile, and so canceled this run, starts no other one
            if run.idempotency_key is None:
                # Someone else may just have released the key, and another run has it: it is sent again.
                doubtful_id = run.id
                continue
        on_id(None)
        replaced = run
        client.call(reset_idempotency_key(str(request.key), task_identifier=request.task_identifier))
    raise TriggerDevError(
        f"Trigger.dev task {request.task_identifier!r}: {MAX_ROUNDS} runs in a row were canceled right "
        "after their start: find out who cancels them"
    )


def take_up(run: Run, *, log: Log) -> Started:
    """Return a run that an earlier try, or someone with the same key, has started, and log that."""
    log.info("Run %s was started before and is %s: no new one is started", run.id, run.status)
    return Started(run_id=run.id, run=run)


class Starts:
    """
    Starts runs by requests with keys, several at a time; a repeated request starts nothing twice.

    ``guard`` learns of each request before it is sent; after each ``on_ids`` is called, once it knows the
    runs' ids.
    """

    def __init__(
        self, client: TriggerDevClient, guard: Guard, *, log: Log, on_ids: Callable[[], object]
    ) -> None:
        self._client = client
        self._guard = guard
        self._log = log
        self._on_ids = on_ids
        self._has_batches: bool | None = None

    def know(self, run_ids: Mapping[int, str], *, ended: Iterable[str] = ()) -> None:
        """Take in runs that need no start, by the indexes of their items, and which of them have ended."""
        self._guard.ended.update(ended)
        for index, run_id in run_ids.items():
            self._guard.run_ids[index] = run_id
        if run_ids:
            self._on_ids()

    def start(self, requests: Mapping[int, TaskRequest]) -> dict[int, str]:
        """
        Start items, by their indexes, or take up the runs that their keys have; return the runs' ids.

        When a request fails, those before it may have started runs.
        """
        parts = divide(requests)
        todo = deque(_alone(parts) if self._has_batches is False else parts)
        done = deque[Sending]()  # in it, a thread waits for no lock that a signal handler may interrupt
        in_flight = 0
        while todo or in_flight:
            self._guard.raise_if_stopped()
            while todo and in_flight < (1 if self._has_batches is None else REQUESTS_AT_ONCE):
                self._begin(todo.popleft(), done)
                in_flight += 1
            if not done:
                time.sleep(_CHECK_INTERVAL)
                continue
            sending = done.popleft()
            in_flight -= 1
            if sending.is_unknown:
                self._has_batches = False
                self._log.info("The server has no call for batches: each run is started by itself")
                todo = deque(_alone((sending.part, *todo)))
            else:
                self._take(sending)
        return {index: str(self._guard.run_ids[index]) for index in requests}

    def _begin(self, part: Part, done: deque[Sending]) -> None:
        sending = Sending(part=part)
        self._guard.sendings.append(sending)
        send = self._send_alone if part.is_alone else self._send
        self._guard.threads.begin(partial(_do, sending, partial(send, sending), done))

    def _send(self, sending: Sending) -> None:
        send_batch(sending, self._client, self._guard, is_first=self._has_batches is None)

    def _send_alone(self, sending: Sending) -> None:
        client: Any = SimpleNamespace(call=partial(self._client.call, sleep=sending.sleep(self._guard)))
        [request] = sending.part.requests
        start_run(client, request, log=self._log, sleep=self._guard.sleep, on_id=sending.know)

    def _take(self, sending: Sending) -> None:
        if isinstance(sending.error, TriggerDevError):
            sending.error.reword(_why_not_started(sending, sending.error))
        if sending.error is not None:
            raise sending.error
        if not sending.part.is_alone:
            self._has_batches = True
        self._guard.take_ids(sending)
        self._on_ids()


def _alone(parts: Iterable[Part]) -> Iterator[Part]:
    return (one for part in parts for one in part.alone())


def _do(sending: Sending, send: Callable[[], None], done: deque[Sending]) -> None:
    try:
        send()
    except BaseException as error:  # raised where it is taken in
        sending.error = error
    finally:
        sending.is_done = True
        done.append(sending)


def _why_not_started(sending: Sending, error: TriggerDevError) -> str:
    text = f"{sending.part} of the batch: {error}".rstrip(".")
    if not sending.is_unanswered or sending.part.is_alone:
        return text  # the error of a single start says so
    return f"{text}. Runs of these items may exist: a retry gets them, and starts no other ones"
