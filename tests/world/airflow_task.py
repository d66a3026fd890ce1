"""
A task of Airflow in this process: it executes, defers, resumes from its own trigger, is retried and stopped.

What Airflow does was measured, version by version; the version that is installed decides.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any, ClassVar

import greenlet  # type: ignore[import-untyped]
from airflow_names import IS_AIRFLOW_2, AirflowRescheduleException, TaskDeferred
from fake_airflow import TaskInstance, dag_run
from hub import HUB, EventLoop, Hub, Thread

from airflow_provider_trigger import _compat
from airflow_provider_trigger._compat import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
)

KILLED_AFTER = 5.0
"""Airflow 3 kills a task so many seconds after it has asked it to end."""


class Stopped(BaseException):
    """Stands in for the end of a process."""


@dataclass(kw_only=True)
class Outcome:
    """
    What became of a task.

    :param state: as Airflow names it
    :param result: what its last try returned
    :param error: what its last try raised
    :param tries: how many there were
    """

    state: str = "none"
    result: Any = None
    error: BaseException | None = None
    tries: int = 0


class Triggerer:
    """Runs triggers in one thread; can be stopped and started again."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.deferred: list[Deferral] = []
        self.start()

    def start(self) -> None:
        self.loop = EventLoop()
        self._thread = Thread(target=self._serve, name="triggerer")
        self._thread.start()
        for one in self.deferred:
            self._submit(one)

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def stop(self) -> None:
        """End as with SIGTERM: every trigger is canceled, and none of their tasks was ended."""
        self._end(lambda: [one.job for one in self.deferred if one.job is not None])

    def close(self) -> None:
        """End with all that it does, so that nothing of it is left to other tests."""
        if self._thread.is_alive():
            self._end(lambda: asyncio.all_tasks(self.loop))

    def _end(self, jobs: Callable[[], Iterable[asyncio.Task[Any]]]) -> None:
        def cancel() -> None:
            for job in jobs():
                job.cancel()
            self.loop.call_later(1.0, self.loop.stop)

        self.loop.call_soon_threadsafe(cancel)
        self._thread.join()

    def run(self, deferral: Deferral) -> None:
        self.deferred.append(deferral)
        self._submit(deferral)

    def _submit(self, deferral: Deferral) -> None:
        def begin() -> None:
            deferral.job = self.loop.create_task(self._run(deferral))
            deferral.job.add_done_callback(self._note_error)

        self.loop.call_soon_threadsafe(begin)

    def _note_error(self, job: asyncio.Task[None]) -> None:
        if not job.cancelled() and job.exception() is not None:
            self._hub.errors.append("".join(traceback.format_exception(job.exception())))

    async def _run(self, deferral: Deferral) -> None:
        path, arguments = deferral.stored
        module, _, name = path.rpartition(".")
        trigger = getattr(import_module(module), name)(**json.loads(json.dumps(arguments, default=str)))
        trigger.task_instance = deferral.task_instance
        trigger.trigger_id = deferral.number
        try:
            async for event in trigger.run():
                deferral.end(event=event.payload)
                return
            deferral.end(error="Trigger exited without sending an event")
        except asyncio.CancelledError:
            if deferral.is_ended and _compat.triggers_have_on_kill():
                with suppress(TimeoutError):
                    await asyncio.wait_for(trigger.on_kill(), 30.0)
            raise
        except Exception as error:
            deferral.end(error=f"{type(error).__name__}: {error}")

    def end(self, deferral: Deferral) -> None:
        """End a trigger whose task was ended from outside."""

        def cancel() -> None:
            if deferral.job is not None and not deferral.job.done():
                deferral.job.cancel()
                if _compat.triggers_have_on_kill():
                    self.loop.call_later(1.5, cancel)  # again and again (measured)

        deferral.is_ended = True
        self.deferred.remove(deferral)
        self.loop.call_soon_threadsafe(cancel)


@dataclass(kw_only=True, eq=False)
class Deferral:
    """A deferred task, as Airflow stores it, and what its trigger sends."""

    number: int
    stored: tuple[str, dict[str, Any]]
    task_instance: Any
    wake: Callable[[], None]
    job: asyncio.Task[None] | None = None
    is_ended: bool = False
    result: list[dict[str, Any]] = field(default_factory=list)

    def end(self, **result: Any) -> None:
        self.result.append(result)
        self.wake()


class Task:
    """
    One task instance: :meth:`run` runs it to its end, in its own thread, with its retries.

    :param make: makes its operator, as each process that parses the Dag does
    :param retries: how often it is tried again
    :param xcoms: what other tasks have pushed, by task id
    """

    _numbers = iter(range(1, 10**9))
    newest: ClassVar[dict[str, Task]] = {}
    """The newest one of each task id."""

    def __init__(
        self,
        hub: Hub,
        triggerer: Triggerer,
        make: Callable[[], Any],
        *,
        retries: int = 0,
        retry_delay: float = 60.0,
        xcoms: dict[str, Any] | None = None,
        start: int = 0,
    ) -> None:
        self._hub = hub
        self._triggerer = triggerer
        self._make = make
        self.retries = retries
        self.retry_delay = retry_delay
        self.outcome = Outcome()
        self.before_resuming: Callable[[], object] = lambda: None
        self.ti: Any = TaskInstance(
            make().task_id,
            xcoms,
            max_tries=retries,
            dag_id="a_dag",
            run_id="manual_1",
            get_first_reschedule_date=lambda context: self._first_poke,
        )
        self._first_poke: datetime | None = None
        self._dag_run = dag_run(start=start)
        self._thread: Thread | None = None
        self._worker: greenlet.greenlet | None = None
        self._operator: Any = None
        self._deferral: Deferral | None = None
        self._end_with: str | None = None
        """The state that was given from outside, as for ``mark failed``; the task ends with it."""
        self.newest[self.ti.task_id] = self

    @property
    def pushed(self) -> dict[str, Any]:
        """What the task has pushed in its last try, by key."""
        return self.ti.pushed

    def begin(self) -> Task:
        """Begin, and return at once."""
        self._thread = Thread(target=self._run_tries, name=f"task {self.ti.task_id}")
        self._thread.start()
        return self

    def join(self, timeout: float | None = None) -> Outcome:
        assert self._thread is not None
        self._thread.join(timeout)
        return self.outcome

    def run(self) -> Outcome:
        """Run to the end."""
        return self.begin().join()

    def clear(self, *, with_dag_run: bool = False, shows_clear: bool = True) -> Task:
        """
        Begin again, as after a clear of the ended task; there are as many further tries as retries.

        With its Dag run, which so has another start, as after a clear of a Dag run that had ended.
        """
        if with_dag_run:
            self._dag_run.start_date = datetime.fromtimestamp(self._hub.time(), UTC)
            self._dag_run.clear_number = int(shows_clear)
        self.ti.max_tries = self.ti.try_number + (self.retries if shows_clear else 0)
        self.ti.try_number += 1
        self._end_with = None
        return self.begin()

    # What a user does to it.

    def stop(self, state: str = "failed") -> None:
        """Mark it as ended, as a user does: a running process gets SIGTERM and then SIGKILL."""
        self._end_with = state
        deferral = self._deferral
        if deferral is not None and not deferral.result:
            self._triggerer.end(deferral)
            deferral.end(ended=True)
        elif self._worker is not None:
            self.terminate()

    def terminate(self) -> None:
        """Send SIGTERM to its process, and SIGKILL 5 s later on Airflow 3."""
        self.interrupt(self._on_sigterm)
        if not IS_AIRFLOW_2:
            Thread(target=self._kill_late, args=(self._worker,), name="kill").start()

    def interrupt(self, handler: Callable[[], object]) -> None:
        """Have its process run a signal handler, which may raise something, as Airflow's time limit does."""
        assert self._worker is not None, "the task is not running in a worker"
        self._hub.signal(self._worker, handler)

    def _kill_late(self, worker: greenlet.greenlet) -> None:
        self._hub.sleep(KILLED_AFTER)
        self.kill(worker)

    def _on_sigterm(self) -> None:
        self._operator.on_kill()
        if IS_AIRFLOW_2:
            raise AirflowException("Task received SIGTERM signal")

    def fail_trigger(self) -> None:
        """Let its trigger fail, as one that cannot be loaded does."""
        deferral = self._deferral
        assert deferral is not None
        assert deferral.job is not None
        self._triggerer.loop.call_soon_threadsafe(deferral.job.cancel)
        deferral.end(error="Trigger failure")

    def kill(self, worker: greenlet.greenlet | None = None) -> None:
        """Kill its process."""
        worker = self._worker if worker is None else worker  # a dead one is false
        if worker is not None and worker is self._worker:
            self._hub.kill(worker)
            self._worker = None
            self._wake()

    # What Airflow does.

    def _wake(self) -> None:
        assert self._thread is not None
        self._hub.wake_thread(self._thread)

    def _run_tries(self) -> None:
        while True:
            self.outcome.tries += 1
            self._first_poke, self._begun_at = None, datetime.fromtimestamp(self._hub.time(), UTC)
            self.ti.xcoms = {key: value for key, value in self.ti.xcoms.items() if key[0] != self.ti.task_id}
            is_retried = self._run_one_try()
            if self._end_with is not None:
                self.outcome.state = self._end_with
                return
            if not is_retried or self.ti.try_number > self.ti.max_tries:
                return
            self.outcome.state = "up_for_retry"
            self._hub.sleep(self.retry_delay)
            self.ti.try_number += 1

    def _run_one_try(self) -> bool:
        """Run one try, and return whether its failure may be followed by another one."""
        method, arguments = "execute", dict[str, Any]()
        while True:
            ended = self._in_process(method, arguments)
            if ended is None:
                self.outcome.state, self.outcome.error = "failed", Stopped("the process was killed")
                return True
            kind, what = ended
            if kind == "returned":
                self.outcome.state, self.outcome.result, self.outcome.error = "success", what, None
                if what is not None:
                    self.ti.xcom_push("return_value", what)
                return False
            if isinstance(what, TaskDeferred):
                resumed = self._defer(what)
                if resumed is None:
                    return False
                method, arguments = resumed
            elif isinstance(what, AirflowRescheduleException):
                self._first_poke = self._first_poke or self._begun_at
                self._hub.sleep(max(0.0, what.reschedule_date.timestamp() - self._hub.time()))
            else:
                self.outcome.error = what
                self.outcome.state = "skipped" if isinstance(what, AirflowSkipException) else "failed"
                return not isinstance(
                    what, (AirflowFailException, AirflowSensorTimeout, AirflowSkipException)
                )

    def _in_process(self, method: str, arguments: dict[str, Any]) -> tuple[str, Any] | None:
        """Execute a method of a new operator in a process of its own; None if it was killed."""
        self._operator = operator = self._make()
        operator.retries, self.ti.task = self.retries, operator
        ended: list[tuple[str, Any]] = []

        def work() -> None:
            try:
                context = self._context(operator)
                if method == "execute":
                    ended.append(("returned", operator.execute(context)))
                else:
                    self.before_resuming()
                    resumed = operator.resume_execution(method, arguments, context)
                    ended.append(("returned", resumed))
            except greenlet.GreenletExit:
                raise
            except BaseException as error:
                ended.append(("raised", error))
            self._wake()

        self._worker = worker = self._hub.spawn_process(work)
        self._hub.wait(None, until=lambda: bool(ended) or self._worker is None)
        if self._worker is worker:
            self._worker = None
            self._hub.kill(worker)
        return ended[0] if ended else None

    def _context(self, operator: Any) -> Any:
        context = {"ti": self.ti, "task_instance": self.ti, "task": operator, "dag_run": self._dag_run}
        return context | {"run_id": "manual_1", "params": {}}

    def _defer(self, deferred: Any) -> tuple[str, dict[str, Any]] | None:
        instance = SimpleNamespace(
            dag_id="a_dag", run_id="manual_1", task_id=self.ti.task_id, map_index=-1, of=self
        )
        self._deferral = deferral = Deferral(
            number=next(self._numbers),
            stored=deferred.trigger.serialize(),
            task_instance=instance,
            wake=self._wake,
        )
        self.outcome.state = "deferred"
        self._triggerer.run(deferral)
        timeout = deferred.timeout.total_seconds() if isinstance(deferred.timeout, timedelta) else None
        self._hub.wait(timeout, until=lambda: bool(deferral.result))
        self._deferral = None
        if deferral in self._triggerer.deferred:
            if not deferral.result:
                self._triggerer.end(deferral)
                deferral.is_ended = False
            else:
                self._triggerer.deferred.remove(deferral)
        result = deferral.result[0] if deferral.result else {"error": "Trigger timeout"}
        if "ended" in result:
            return None
        given = dict(deferred.kwargs or {})
        if "error" in result:
            return _compat.TRIGGER_FAILED, {"error": result["error"], "traceback": [result["error"]]}
        return deferred.method_name, given | {"event": result["event"]}

    @property
    def is_deferred(self) -> bool:
        return self._deferral is not None and not self._deferral.is_ended

    @property
    def is_running(self) -> bool:
        """Whether a process of it runs."""
        return self._worker is not None


def first_poke(*, task_id: str, **_: Any) -> datetime | None:
    """Answer what a sensor asks Airflow 2 that is rescheduled."""
    return Task.newest[task_id]._first_poke


def is_still_deferred(ti: Any, trigger_id: Any, run_ids: Any) -> bool:
    """Answer what a trigger asks Airflow before 3.3."""
    HUB.current.sleep(0.05)
    task: Task = ti.of
    return task.is_deferred and task._deferral is not None and task._deferral.number == trigger_id
