"""One request that starts something: a run, or the items of a batch, as many as fit into it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_trigger.api import errors, runs
from airflow_provider_trigger.api.http import Call, Response, encode_json
from airflow_provider_trigger.api.limits import Deadline
from airflow_provider_trigger.run.request import TaskRequest

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

T = TypeVar("T")

# A look-up may create the run. With this delay, the run does not begin before its cancel; where the cancel
# fails, a retry waits for the run.
_DELAY_OF_A_LOOKUP = "30s"
# The timeout of a request for the ids of a batch's runs, and how long it is repeated at least, in seconds.
_TIMEOUT_FOR_IDS, _TIME_FOR_IDS = 5.0, 20.0


@contextmanager
def saying_what_may_exist(what: str, verb: str, *, has_key: bool) -> Iterator[None]:
    """Let the error of a request that may have made something say so."""
    try:
        yield
    except errors.TriggerDevError as error:
        if error.may_have_arrived and has_key:
            error.reword(
                f"{error}. A {what} may exist: a retry, or another request with its idempotency key, gets "
                f"that {what} and {verb}s no other one"
            )
        elif error.may_have_arrived:
            error.may_have_effect = True
            error.reword(
                f"{error}. The request is not repeated, as it has no idempotency key, and a {what} may "
                f"exist: look for it in the dashboard before you {verb} another one"
            )
        raise


@dataclass(slots=True, eq=False)
class Sending:
    """A request that starts some items. A thread changes it, and others read it without a lock."""

    requests: Mapping[int, TaskRequest]
    """By the indexes of the items, in ascending order."""
    may_exist: bool = False  # whether the server may have started runs for it
    run_ids: tuple[str, ...] | None = None  # in the order of the items, once they are known
    error: BaseException | None = None  # that it ended with in place of the ids
    is_done: bool = False

    @property
    def is_unanswered(self) -> bool:
        """Whether the request may have started runs whose ids are not known."""
        return self.may_exist and self.run_ids is None

    @property
    def keys(self) -> list[str | None]:
        """The idempotency keys of the items."""
        return [request.key for request in self.requests.values()]

    @property
    def is_found_by_key(self) -> bool:
        """Whether another request with the same key shows its run; only for a single item."""
        return len(self.requests) == 1 and None not in self.keys

    def call(self, client: TriggerDevClient, sleep: Callable[[float], None], call: Call[T]) -> T:
        """Make a call that starts the items; what ``sleep`` raises ends it before anything more is sent."""

        def wait(seconds: float) -> None:
            sleep(seconds)
            if not seconds:  # which comes right before a request
                self.may_exist = True

        try:
            return client.call(call, sleep=wait)
        except errors.TriggerDevError as error:
            self.may_exist = error.may_have_arrived
            raise

    def __str__(self) -> str:
        first, last = min(self.requests), max(self.requests)
        return f"item {first}" if first == last else f"items {first} to {last}"


def divide(requests: Mapping[int, TaskRequest]) -> Iterator[dict[int, TaskRequest]]:
    """Divide items, by their indexes, so that each part fits into one request, or is a single item."""
    part: dict[int, TaskRequest] = {}
    total = 0
    for index, request in requests.items():
        # A single item, whose size does not matter, is not encoded for it. Between two is a comma.
        size = len(encode_json(_item(request))) + 1 if len(requests) > 1 else 0
        if part and (len(part) == runs.MAX_ITEMS_AT_ONCE or total + size > runs.MAX_BATCH_SIZE):
            yield part
            part, total = {}, 0
        part[index] = request
        total += size
    if part:
        yield part


def _item(request: TaskRequest) -> Any:
    return runs.batch_item(request.task_identifier, payload=request.payload, options=request.options)


def send(client: TriggerDevClient, sending: Sending, *, sleep: Callable[[float], None]) -> bool:
    """Start the items of a request, a single one by itself; return whether its key is known to be in use."""
    requests = list(sending.requests.values())
    if len(requests) == 1:
        with saying_what_may_exist("run", "start", has_key=requests[0].key is not None):
            try:
                run_id, is_old = sending.call(client, sleep, _call(requests[0]))
            except errors.ServerError as error:
                if error.status == 500 and (version := requests[0].options.get("lockToVersion")):
                    error.reword(
                        f"{error}. The version {version} (lock_to_version) may not exist"
                    )  # measured
                raise
        sending.run_ids = (run_id,)
        return is_old
    call = runs.trigger_batch(list(map(_item, requests)), trace=requests[0].trace)
    batch_id = sending.call(client, sleep, call)
    patience = max(client.settings.retry_for, _TIME_FOR_IDS)
    sending.run_ids = client.call(_ids_of(batch_id, len(requests)), patience=patience, sleep=time.sleep)
    return False


def find_by_key(client: TriggerDevClient, request: TaskRequest, *, deadline: Deadline) -> str:
    """Return the id of the run of a request whose answer never came: only another one shows it (measured)."""
    return client.call(_call(request, delay=_DELAY_OF_A_LOOKUP), deadline=deadline)[0]


def _call(request: TaskRequest, **further: Any) -> Call[tuple[str, bool]]:
    if request.replay_of is not None:
        call = runs.replay_run(request.replay_of)
        return Call(request=call.request, read=lambda it: (call.read(it), False))
    options = {**request.options, **further}
    return runs.trigger_task(
        request.task_identifier, payload=request.payload, options=options, trace=request.trace
    )


def _ids_of(batch_id: str, count: int) -> Call[tuple[str, ...]]:
    """Return the call for the ids of all runs of a batch; an answer that lacks some is repeated."""
    call = runs.retrieve_batch(batch_id)

    def read(response: Response) -> tuple[str, ...]:
        try:
            run_ids = call.read(response).run_ids
        except errors.NotFoundError:  # a replica may not show it yet (measured)
            run_ids = ()
        if len(run_ids) < count:
            raise errors.OutdatedAnswerError(f"{call.request} shows only {len(run_ids)} of the {count} runs")
        return run_ids

    return Call(request=call.request, read=read, timeout=_TIMEOUT_FOR_IDS)
