"""Start a run for each item of a batch, several requests at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from queue import Empty, SimpleQueue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.batch.parts import Part, divide
from airflow_provider_trigger.run.batch.sending import Sending, send_batch
from airflow_provider_trigger.run.guard import Guard
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.run.start import start_run

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

REQUESTS_AT_ONCE = 4
"""How many requests are in flight at a time, of 20 items each: 200 items take 6 s so (measured)."""

# How often it is checked whether the task was stopped, in seconds.
_CHECK_INTERVAL = 0.2


class BatchStart:
    """
    Start items; each has an idempotency key, so that a repeated request starts nothing twice.

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

    def start(self, requests: Mapping[int, TaskRequest]) -> None:
        """
        Start items, by their indexes, or take up the runs that their keys have.

        When a request fails, those before it may have started runs.
        """
        parts = divide(requests)
        todo = deque(_alone(parts) if self._has_batches is False else parts)
        done: SimpleQueue[Sending] = SimpleQueue()
        in_flight = 0
        while todo or in_flight:
            self._guard.raise_if_stopped()
            while todo and in_flight < (1 if self._has_batches is None else REQUESTS_AT_ONCE):
                self._begin(todo.popleft(), done)
                in_flight += 1
            try:
                sending = done.get(timeout=_CHECK_INTERVAL)
            except Empty:
                continue
            in_flight -= 1
            if sending.is_unknown:
                self._has_batches = False
                self._log.info("The server has no call for batches: each run is started by itself")
                todo = deque(_alone((sending.part, *todo)))
            else:
                self._take(sending)

    def _begin(self, part: Part, done: SimpleQueue[Sending]) -> None:
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


def _do(sending: Sending, send: Callable[[], None], done: SimpleQueue[Sending]) -> None:
    try:
        send()
    except BaseException as error:  # raised where it is taken in
        sending.error = error
    finally:
        sending.is_done = True
        done.put(sending)


def _why_not_started(sending: Sending, error: TriggerDevError) -> str:
    text = f"{sending.part} of the batch: {error}".rstrip(".")
    if not sending.is_unanswered or sending.part.is_alone:
        return text  # the error of a single start says so
    return f"{text}. Runs of these items may exist: a retry gets them, and starts no other ones"
