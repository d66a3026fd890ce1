"""Threads that do a schedule's jobs: a bounded number at a time, and stoppable."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from queue import SimpleQueue

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.exchange import Reply, Send, Wait
from airflow_provider_trigger.cancel.jobs import Job
from airflow_provider_trigger.cancel.schedule import Schedule

log = logging.getLogger(__name__)


class Threads:
    """
    Do work in up to ``count`` threads, in fewer where the process cannot start as many.

    In a signal handler none can be started: that takes locks which the interrupted code may hold. They are
    daemons: one whose request is not answered does not hold up the end of the process.
    """

    def __init__(self, count: int, *, name: str) -> None:
        self.count = 0
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        try:
            while self.count < count:
                thread = threading.Thread(target=self._run, name=f"{name}-{self.count}", daemon=True)
                self.count += 1
                thread.start()
        except RuntimeError as error:
            self.count -= 1
            if not self.count:
                raise
            log.warning("Started %d of %d threads: %s", self.count, count, error)
        except BaseException:  # a timeout that a signal raises
            self.close()
            raise

    def begin(self, work: Callable[[], None]) -> None:
        """Begin some work, which must not raise, as soon as a thread is free; safe in a signal handler."""
        self._work.put(work)

    def close(self) -> None:
        """Let each thread end after what it does and what was begun before; do not wait for it."""
        for _ in range(self.count):
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


# How often the calling thread checks whether the work has ended or was stopped, in seconds.
_CHECK_INTERVAL = 0.1
# How long requests in flight may still take once the work has ended, in seconds.
_GRACE = 0.5
_PROGRESS_INTERVAL = 10.0


class Workers:
    """
    Do all jobs of a schedule.

    ``is_stopped`` is called several times a second, and after each item of ``further``, in the thread that
    calls :meth:`run`.
    """

    def __init__(
        self, schedule: Schedule, send: Callable[[Send], Reply], *, is_stopped: Callable[[], bool]
    ) -> None:
        self._schedule = schedule
        self._send = send
        self._is_stopped = is_stopped
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._count = self._begun = self._ended = 0
        self._bug: BaseException | None = None

    def run(self, count: int, further: Iterable[Iterable[str]], given: Threads | None) -> None:
        """Do all in up to ``count`` of given threads, None for its own, and read ``further`` meanwhile."""
        self._stop_if_wanted()
        try:
            threads = given or Threads(count, name="trigger-dev")
            self._count = min(count, threads.count)
            for _ in range(self._count):
                threads.begin(self._work)
            if given is None:
                threads.close()  # each ends after its work
            self._add(further)
            self._supervise()
        except BaseException:
            # The caller's own, such as a timeout that a signal raises.
            with self._changed:
                self._schedule.stop()
            raise
        finally:
            with self._changed:
                self._closed.set()
                self._changed.notify_all()
        if self._bug is not None:
            raise self._bug

    def _stop_if_wanted(self) -> None:
        if self._is_stopped():
            self._schedule.stop()

    def _add(self, further: Iterable[Iterable[str]]) -> None:
        for run_ids in further:
            with self._changed:
                self._stop_if_wanted()
                self._schedule.add(run_ids)
                self._changed.notify_all()
                if self._schedule.check_deadline():
                    break
        with self._changed:
            self._schedule.awaits_more = False
            self._changed.notify_all()

    def _supervise(self) -> None:
        logged_at, ended_at = time.monotonic(), None
        while True:
            with self._changed:
                self._changed.wait_for(self._are_done, timeout=_CHECK_INTERVAL)
                self._stop_if_wanted()
                now, ended = time.monotonic(), self._schedule.check_deadline()
                ended_at = ended_at or (now if ended else None)
                if self._are_done() or (ended_at and now - ended_at > _GRACE):
                    return  # what is still in flight is left to its timeout
                progress = self._schedule.progress() if now - logged_at > _PROGRESS_INTERVAL else None
            if progress:
                log.info("%s", progress)
                logged_at = now

    def _are_done(self) -> bool:
        # Of given threads, some may still do what was begun before.
        return self._ended == (self._begun if self._schedule.end else self._count)

    def _work(self) -> None:
        with self._changed:
            self._begun += 1
        try:
            while (job := self._next_job()) is not None:
                self._do(job)
        except BaseException as error:
            # Only a bug of ours comes here; the calling thread raises it.
            self._bug = error
            with self._changed:
                self._schedule.stop()
        finally:
            with self._changed:
                self._ended += 1
                self._changed.notify_all()

    def _next_job(self) -> Job | None:
        with self._changed:
            while not self._closed.is_set():
                job = self._schedule.take()
                if job is None or isinstance(job, Job):
                    return job
                self._changed.wait(min(job, _CHECK_INTERVAL))
        return None

    def _do(self, job: Job) -> None:
        reply: Reply = None
        while not self._closed.is_set():
            result, error = None, None
            try:
                step = job.steps.send(reply)
            except StopIteration as end:
                step, result = None, end.value
            except TriggerDevError as failure:
                step, error = None, failure
            finally:
                reply = None  # the key is not masked in it, and an error's traceback leads to this frame
            if isinstance(step, Send):
                if not self._may_send(job):
                    return
                reply = self._send(step)
            elif step is not None and step.for_turn:
                self._closed.wait(step.seconds)
            else:
                self._hand_back(job, result, error, wait=step)
                return

    def _may_send(self, job: Job) -> bool:
        """Count a request; false once the work has ended, as nothing new is sent then."""
        with self._changed:
            if self._schedule.end:
                return False
            self._schedule.sent(job)
            return True

    def _hand_back(
        self, job: Job, result: object, error: TriggerDevError | None, *, wait: Wait | None
    ) -> None:
        with self._changed:
            if self._closed.is_set():
                return  # the results are out
            if wait is None:
                self._schedule.finish(job, result, error)
            else:
                self._schedule.park(job, wait)
            self._changed.notify()
