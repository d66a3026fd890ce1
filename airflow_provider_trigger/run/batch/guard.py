"""Remember the runs that a batch has started, and cancel them if its task ends first."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.deadline import Deadline
from airflow_provider_trigger.api.errors import ResponseError
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.cancel.outcome import not_canceled
from airflow_provider_trigger.run.batch.cancel import BatchCancel, cancel_batch, wait_until
from airflow_provider_trigger.run.batch.sending import Sending
from airflow_provider_trigger.run.cancel_guard import CancelGuard, Stop, seen
from airflow_provider_trigger.run.search import LIST_LAG, RunFilter, Search
from airflow_provider_trigger.run.steps import Check, Steps
from airflow_provider_trigger.run.threads import Threads

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

# As many requests of a cancel are in flight at a time, and those of the start before it.
_THREADS = 16
# The part of the time for a cancel that requests in flight get to be answered.
_SHARE_OF_ANSWERS = 0.5
# Before each search for runs whose ids no answer has shown, in seconds.
_PAUSES = (0.0, LIST_LAG / 2, LIST_LAG / 2)


class BatchGuard(CancelGuard):
    """The runs that a batch has started; an error that leaves the ``with`` statement cancels them."""

    def __init__(
        self,
        client: TriggerDevClient,
        *,
        cancels: bool,
        time_limit: float,
        tell: Callable[[Stop], object],
    ) -> None:
        super().__init__(client, cancels=cancels, time_limit=time_limit, tell=tell)
        self.run_ids: list[str | None] = []
        """Of the items, in their order; None for one that is not known, or not started."""
        self.sendings: list[Sending] = []
        """All requests so far, each added before it is sent."""
        self.ended: set[str] = set()
        """The runs that were seen to have ended."""
        self.is_earlier: Callable[[str | None], bool] | None = None
        """Whether a run with this idempotency key may be from an earlier try; None if there was none."""
        self.tag: str | None = None
        """What all runs of the task instance carry, to find those whose ids no answer has shown."""
        # Made before anything is sent: a signal handler must start none.
        self.threads = Threads(_THREADS, name="trigger-dev-batch")
        self._accepted: set[str] = set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whatever the error is, the threads send nothing more.
        self.is_stopped = self.is_stopped or error is not None
        super().__exit__(kind, error, trace)
        self.release()  # its threads and its client end here
        self.threads.close()

    @property
    def known_ids(self) -> list[str]:
        """The ids of all runs that are known, each once."""
        return list(dict.fromkeys(run_id for run_id in self.run_ids if run_id))

    @property
    def known_for_all(self) -> list[str]:
        """The id of each item's run, once all are known."""
        return [str(run_id) for run_id in self.run_ids]

    @property
    def age(self) -> float:
        """How old the oldest run that this try has started can be, in seconds."""
        now = time.monotonic()
        return max((now - sending.begun_at for sending in self.sendings), default=0.0)

    def noting(self, steps: Steps) -> Steps:
        """Return the same steps of a wait, and note from the replies which runs have ended."""
        reply: Any = None
        with closing(steps):
            while True:
                try:
                    step = steps.send(reply)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                reply = yield step
                if isinstance(step, Check):
                    runs = [run for run in reply.values() if isinstance(run, Run)]
                    self.ended.update(run.id for run in runs if run.is_final)

    def take_up(self, pushed: Any) -> None:
        """Cancel the runs that an earlier process of the task has started, and whose ids are in this XCom."""
        listed = pushed if isinstance(pushed, (list, tuple)) else [pushed]
        self.run_ids = [one if isinstance(one, str) else None for one in listed]

    def take_ids(self, sending: Sending) -> None:
        """Take in the ids of the runs of a request."""
        for index, run_id in zip(sending.part.indexes, sending.run_ids or (), strict=False):
            self.run_ids[index] = run_id

    def collect_ids(self) -> list[Sending]:
        """Wait a while for the requests in flight, and take in their ids; return those without an answer."""
        share = self._deadline().before(_SHARE_OF_ANSWERS, now=time.monotonic())
        wait_until(lambda: all(one.is_done or one.run_ids for one in self.sendings), share)
        for sending in self.sendings:
            self.take_ids(sending)
        return [sending for sending in self.sendings if sending.is_unanswered]

    def cancel(self) -> None:
        """Cancel all runs that have not ended; see the base class."""
        deadline = self._deadline()
        stop = Stop(tag=self.tag)
        unanswered = self.collect_ids()
        found: dict[str, str | None] = {}
        if self._cancels:
            found = self._look_up(stop, unanswered, deadline)
            left = [one for one in self.known_ids if one not in self.ended and one not in self._accepted]
            left += [one for one in found if one not in self._accepted]
            if left:
                self._client.exchange.breaker.has_worked = True  # a page in place of an answer passes
                cancel = cancel_batch(left, self._client, self.threads, deadline=deadline)
                self._accepted |= cancel.accepted
                _note_cancel(stop, left, cancel)
        shown = set(found.values())
        stop.unknown = sum(one.key not in shown for sending in unanswered for one in sending.part.requests)
        stop.parts = [str(sending.part) for sending in unanswered]
        errors = (sending.error for sending in unanswered)
        stop.answer = next((error for error in errors if isinstance(error, ResponseError)), None)
        self._untold.append(stop)

    def _look_up(
        self, stop: Stop, unanswered: Sequence[Sending], deadline: Deadline
    ) -> dict[str, str | None]:
        """Return runs whose ids no answer has shown, with their keys; again once the list shows them all."""
        keys = {request.key for sending in unanswered for request in sending.part.requests}
        # Those of an earlier try are all known once each item has its run: what is replaced ends before.
        is_earlier = None if self.run_ids and None not in self.run_ids else self.is_earlier
        if self.tag is None or not (keys or is_earlier):
            return {}
        search = Search(
            self._client,
            RunFilter(tags=(self.tag,), only_alive=True).pages,
            belongs=lambda key: key in keys or bool(is_earlier and is_earlier(key)),
            skip=self.known_ids,
            deadline=deadline.before(_SHARE_OF_ANSWERS, now=time.monotonic()),
        )
        search.run(
            pauses=_PAUSES[:1] if self._is_killed else _PAUSES,
            is_enough=lambda: not is_earlier and keys <= {run.idempotency_key for run in search.ours},
            sleep=time.sleep,
        )
        if is_earlier:  # of others, the log says which items have no answer
            stop.search_error = search.error
        return {run.id: run.idempotency_key for run in search.ours}


def _note_cancel(stop: Stop, run_ids: Collection[str], cancel: BatchCancel) -> None:
    checked = list(cancel.checked.items())  # a thread may still add to it
    left = [run_id for run_id in run_ids if run_id not in cancel.accepted]
    stop.results = [seen(run_id, check) for run_id, check in checked]
    stop.results += [not_canceled(one, cancel.errors.get(one, "there was no time left")) for one in left]
    stop.bulk_ids, stop.accepted = list(cancel.bulk_ids), len(cancel.accepted)
    stop.count = len(run_ids) if cancel.bulk_ids or not checked else 0
