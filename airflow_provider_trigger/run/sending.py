"""One request that makes something: a run, or the items of a batch, as many as fit into it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.errors import (
    NotFoundError,
    ResponseError,
    ServerError,
    TransportError,
    TriggerDevError,
    UnexpectedAnswerError,
)
from airflow_provider_trigger.api.http import Call, encode_json
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.api.models import TriggeredRun
from airflow_provider_trigger.api.runs import replay_run
from airflow_provider_trigger.api.tasks import (
    MAX_BATCH_SIZE,
    MAX_ITEMS_AT_ONCE,
    NO_PAYLOAD,
    Batch,
    batch_item,
    retrieve_batch,
    trigger_batch,
    trigger_task,
)
from airflow_provider_trigger.run.drive import Stoppable, StoppedError
from airflow_provider_trigger.run.request import TaskRequest

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

# Long enough that a run which is only created to be found does not begin before its cancel.
_DELAY_OF_A_LOOKUP = "1h"
_UNANSWERED = (TransportError, ServerError, UnexpectedAnswerError)  # the server may have done it
# How long the ids of a batch's runs are waited for, in seconds; then the request is repeated, unless the
# server has not answered: a second request would start once more what has failed meanwhile.
_TIME_FOR_IDS = 10.0
# Between two checks for them, in seconds: each pause is longer than the one before.
_FIRST_PAUSE, _PAUSE_FACTOR, _LONGEST_PAUSE = 0.1, 1.5, 1.0
# So often a request is sent whose runs do not become known.
_TRIES = 3
# Before the first request is sent again, as it failed in a way that may pass, in seconds.
_PAUSE_AFTER_FAILURE = 0.5
_UNKNOWN_CALL = (404, 405)


# A single run


def send_one(client: TriggerDevClient, request: TaskRequest) -> TriggeredRun:
    """Start a run; an error says whether one may exist."""
    with saying_what_may_exist("run", "start", has_key=request.key is not None):
        return client.call(_call(request))


def _call(request: TaskRequest, **further: Any) -> Call[TriggeredRun]:
    options = {**request.options, **further}
    return trigger_task(
        request.task_identifier, payload=_payload(request), options=options, trace=request.trace
    )


def _payload(request: TaskRequest) -> Any:
    return NO_PAYLOAD if request.payload is None else request.payload


def replay(client: TriggerDevClient, run_id: str) -> str:
    """Start a run again, and return the id of the new one; an error says whether it may exist."""
    with saying_what_may_exist("run", "start", has_key=False):
        return client.call(replay_run(run_id))


@contextmanager
def saying_what_may_exist(what: str, verb: str, *, has_key: bool) -> Iterator[None]:
    """Let the error of a request that may have made something say so."""
    try:
        yield
    except _UNANSWERED as error:
        if has_key and _may_have_arrived(error):
            error.reword(
                f"{error}. A {what} may exist: a retry, or another request with its idempotency key, gets "
                f"that {what} and {verb}s no other one"
            )
        elif _may_have_arrived(error):
            error.may_have_effect = True
            error.reword(
                f"{error}. The request is not repeated, as it has no idempotency key, and a {what} may "
                f"exist: look for it in the dashboard before you {verb} another one"
            )
        raise


def _may_have_arrived(error: TriggerDevError) -> bool:
    return error.was_sent if isinstance(error, TransportError) else True


def find_by_key(client: TriggerDevClient, request: TaskRequest, *, deadline: Deadline) -> str:
    """
    Return the id of the run of a request whose answer never came, to cancel it.

    Only a request with the same key has an answer with it (measured). If the first did not arrive, this one
    creates a run that is delayed, so that it does not begin before its cancel.
    """
    return client.call(_call(request, delay=_DELAY_OF_A_LOOKUP), deadline=deadline).id


# The items of a batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The items that one request starts."""

    indexes: tuple[int, ...]
    """In ascending order."""
    requests: tuple[TaskRequest, ...]
    is_alone: bool = False
    """Whether it is one item that does not go into a batch."""

    @property
    def items(self) -> list[Any]:
        """The items as JSON."""
        return list(map(_item, self.requests))

    def alone(self) -> list[Part]:
        """Return its items, each for a request of its own."""
        return [
            Part(indexes=(index,), requests=(request,), is_alone=True)
            for index, request in zip(self.indexes, self.requests, strict=True)
        ]

    def __str__(self) -> str:
        first, last = self.indexes[0], self.indexes[-1]
        return f"item {first}" if first == last else f"items {first} to {last}"


def divide(requests: Mapping[int, TaskRequest]) -> Iterator[Part]:
    """Divide items, by their indexes, so that each part fits into one request."""
    indexes: list[int] = []
    total = 0
    for index, request in requests.items():
        size = len(encode_json(_item(request))) + 1  # and a comma
        if indexes and (len(indexes) == MAX_ITEMS_AT_ONCE or total + size > MAX_BATCH_SIZE):
            yield _part(indexes, requests)
            indexes, total = [], 0
        if size > MAX_BATCH_SIZE:
            yield _part([index], requests, is_alone=True)
            continue
        indexes.append(index)
        total += size
    if indexes:
        yield _part(indexes, requests)


def _part(indexes: Sequence[int], requests: Mapping[int, TaskRequest], *, is_alone: bool = False) -> Part:
    made = tuple(requests[index] for index in indexes)
    return Part(indexes=tuple(indexes), requests=made, is_alone=is_alone)


def _item(request: TaskRequest) -> Any:
    return batch_item(request.task_identifier, payload=_payload(request), options=request.options)


def _now() -> float:
    return time.monotonic()


@dataclass(slots=True, eq=False)
class Sending:
    """A request that starts some items. A thread changes it, and others read it without a lock."""

    part: Part
    was_sent: bool = False
    """Whether the server may have received it."""
    was_repeated: bool = False
    """Whether it was sent more than once: a rejection says nothing of those before."""
    was_accepted: bool = False
    """Whether it has answered so; what is requested afterwards may fail."""
    run_ids: tuple[str, ...] | None = None
    """Of the items, in their order, once they are known."""
    is_unknown: bool = False
    """Whether the server does not know the call."""
    error: BaseException | None = None
    """What it ended with in place of the ids."""
    is_done: bool = False
    """Whether nothing more of it is to come."""
    begun_at: float = field(default_factory=_now)
    """By the monotonic clock."""

    @property
    def is_unanswered(self) -> bool:
        """Whether it may have started runs whose ids are not known."""
        is_response = isinstance(self.error, ResponseError) and not isinstance(self.error, _UNANSWERED)
        if is_response and not (self.was_accepted or self.was_repeated):
            return False  # it was rejected
        return self.was_sent and self.run_ids is None and not self.is_unknown

    def know(self, run_id: str | None) -> None:
        """Take in the id of its only run; None while it is not known which run it is."""
        self.run_ids = (run_id,) if run_id else None

    def sleep(self, guard: Stoppable) -> Callable[[float], None]:
        """Return what waits for a call of this request, and ends it once the task was stopped."""

        def wait(seconds: float) -> None:
            guard.sleep(seconds)
            if not seconds:  # which comes right before a request
                self.was_repeated, self.was_sent = self.was_sent, True

        return wait


def send_batch(sending: Sending, client: TriggerDevClient, guard: Stoppable, *, is_first: bool) -> None:
    """
    Start the items by a batch; once the task was stopped, nothing is sent but requests for ids.

    ``is_first``: it is not known yet whether the server knows the call.
    """
    trace = sending.part.requests[0].trace  # all items are of one task
    call, sleep = trigger_batch(sending.part.items, trace=trace), sending.sleep(guard)
    for _ in range(_TRIES):
        try:
            batch_id = client.call(call, patience=0.0 if is_first else None, sleep=sleep)
        except TriggerDevError as error:
            if is_first and isinstance(error, ResponseError) and error.status in _UNKNOWN_CALL:
                sending.is_unknown = True
                return
            if not (is_first and error.retryable):
                raise
            is_first = False
            guard.sleep(_PAUSE_AFTER_FAILURE)
            continue
        is_first = False
        sending.was_accepted = True
        if run_ids := _ids_of(batch_id, client, guard, count=len(sending.part.indexes)):
            sending.run_ids = run_ids
            return
    raise TriggerDevError(
        f"the server accepted them {_TRIES} times, but did not show the ids of their runs within "
        f"{_TIME_FOR_IDS:g} s ({batch_id})",
        retryable=True,
    )


def _ids_of(
    batch_id: str, client: TriggerDevClient, guard: Stoppable, *, count: int
) -> tuple[str, ...] | None:
    """Return None where the server does not show all in time."""
    call = replace(retrieve_batch(batch_id), timeout=_TIME_FOR_IDS / 2)
    begun_at, pause = time.monotonic(), _FIRST_PAUSE

    def wait_for_turn(seconds: float) -> None:
        # Waiting for the rate limit says nothing of the ids; but a stop leaves no time for it.
        nonlocal begun_at
        if not guard.is_stopped:
            begun_at += seconds
        elif time.monotonic() >= begun_at + _TIME_FOR_IDS:
            raise StoppedError
        time.sleep(seconds)

    while True:
        batch = _check(call, client, wait_for_turn)
        if isinstance(batch, Batch) and len(batch.run_ids) == count:
            return batch.run_ids
        longest = _TIME_FOR_IDS
        if not isinstance(batch, Batch) and not guard.is_stopped:
            longest = max(longest, client.exchange.retry_for)
        left = begun_at + longest - time.monotonic()
        if left <= 0:
            break
        time.sleep(min(pause, left))
        pause = min(pause * _PAUSE_FACTOR, _LONGEST_PAUSE)
    if isinstance(batch, Batch):
        return None
    text = f"the server accepted them, but did not show the ids of their runs ({batch_id}): {batch}"
    raise TriggerDevError(text, retryable=True)


def _check(
    call: Call[Batch], client: TriggerDevClient, sleep: Callable[[float], None]
) -> Batch | TriggerDevError:
    """Return a batch, or an error that may pass."""
    try:
        return client.call(call, patience=0.0, sleep=sleep)
    except TriggerDevError as error:
        # A replica may not show it yet: 404 (measured).
        if error.retryable or isinstance(error, NotFoundError):
            return error
        raise
