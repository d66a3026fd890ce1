"""Base classes of operators that start runs: arguments, how to wait, link and cancel."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn

from airflow_provider_trigger import rules
from airflow_provider_trigger._compat import (
    TRIGGER_FAILED,
    AirflowException,
    AirflowFailException,
    BaseOperator,
    default_deferrable,
    default_queue,
    is_mapped_instance,
    stop_time,
)
from airflow_provider_trigger.api.models import FINAL_STATUSES
from airflow_provider_trigger.defaults import RETURN_VALUE_KEY, RUN_ID_KEY, TAGS_OF_OURS
from airflow_provider_trigger.exceptions import TriggerRunNotStartedError
from airflow_provider_trigger.links.run import TriggerRunLink, push_link
from airflow_provider_trigger.log import enumeration
from airflow_provider_trigger.run.request import OPTIONS, TaskRequest, to_api
from airflow_provider_trigger.run.stop import StopNote, StoppedError
from airflow_provider_trigger.sources.context import (
    can_resume,
    has_retry_policy,
    is_repeated,
    task_instance_of,
)
from airflow_provider_trigger.validation import ChecksRendered, TakesArguments, check_arguments, is_templated

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.models import Run
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
    from airflow_provider_trigger.operators.conclusion import RunEnd
    from airflow_provider_trigger.run.guard import Guard
    from airflow_provider_trigger.run.identity import RunKey
    from airflow_provider_trigger.run.starts import Earlier
    from airflow_provider_trigger.run.waited import Waited, WaitSettings

RULES = {
    "trigger_dev_conn_id": rules.connection_id,
    "wait_for_completion": rules.boolean,
    "deferrable": rules.boolean,
    "poll_interval": rules.optional(rules.duration(least=0.01)),
    "timeout": rules.optional(rules.duration(least=0.01)),
    "pending_version_timeout": rules.duration(least=0),
    "cancel_on_kill": rules.boolean,
    "retry_statuses": rules.list_of("final statuses", FINAL_STATUSES),
    "max_output_size": rules.number("bytes", least=0, whole=True),
    "run_logs": rules.choice("on_failure", "always", "never"),
}

RULES_OF_TASK = {"task_identifier": rules.text("the id of a Trigger.dev task")}

OPTION_ATTRIBUTES = {name: name for name in OPTIONS} | {"queue": "run_queue"}
"""The attribute of each option of a run; Airflow's own argument ``queue`` is the executor's."""


class Work(NamedTuple):
    """What an operator has while it executes."""

    client: TriggerDevClient
    hook: TriggerDevHook
    context: Context


class RunsOperator(TakesArguments, BaseOperator):
    """
    Have runs of its own, which a subclass starts, and cancel them when Airflow stops the task.

    What is said of a run holds for each, where there are several.

    A duration is given in seconds, as a timedelta, or as a text such as ``"5m"``.

    :param wait_for_completion: whether to wait until the run has ended
    :param deferrable: whether to wait in the triggerer, without a worker slot; None for Airflow's setting
        ``[operators] default_deferrable``. An operator that another task executes by hand waits in the worker
    :param poll_interval: the duration between two status checks; None for a tenth of the run's age, but 2 to
        30 s, and while deferred for one check of all runs together every 2 s
    :param timeout: how long the run may take from its creation, the time deferred included; then it is
        canceled, and the task fails. None for no limit
    :param pending_version_timeout: how long the run may wait for a deployed version that has its task; then
        it is canceled, and the task fails
    :param cancel_on_kill: whether the run is canceled when the task is cleared or marked, running or
        deferred, and when a timeout ends it; not when its process is killed (SIGKILL, out of memory): then
        the next try waits for the run
    :param retry_statuses: the final statuses after which the task is retried; after every other one but
        COMPLETED it fails for good. A ``retry_policy`` of the task (Airflow 3.3) decides in its place
    :param max_output_size: of the output in XCom, in bytes of JSON; a larger one is replaced by
        ``{"run_id", "output_size"}``, and ``TriggerDevHook.get_output`` returns it; the size may be None, and
        above 16 MB the log says how to download it
    :param run_logs: when the log of the run is written to the task's log, once the run has ended:
        ``"on_failure"``, if the task fails for it, ``"always"`` or ``"never"``; of several runs, those of 3
        at most. Each has its last 1,000 lines. It takes up to 5 s, and has no effect on the task if it fails
    """

    operator_extra_links = (TriggerRunLink(),)
    ui_color = "#e4f5e8"
    _stopped_at: float | None = None

    trigger_dev_conn_id: str
    wait_for_completion: bool
    deferrable: bool | None
    poll_interval: Any
    timeout: Any
    pending_version_timeout: Any
    cancel_on_kill: bool
    retry_statuses: Sequence[str]
    max_output_size: int
    run_logs: str

    def __init__(self, **kwargs: Any) -> None:
        # Airflow 3.4 reads the defaults of a mapped task from the `__init__` of each class, and without one
        # here from its own, whose `inlets=None` no mapped task can have.
        super().__init__(**kwargs)

    def _take(self, given: Mapping[str, Any]) -> None:
        """Keep the arguments of a class, and check those that all have; ``given`` are its local variables."""
        for name in given.keys() - {"self", "kwargs", "__class__"}:
            setattr(self, OPTION_ATTRIBUTES.get(name, name), given[name])
        if self.deferrable is None:
            self.deferrable = default_deferrable()
        self.run_url: str | None = None
        check_arguments(self, RULES)

    def _hook(self) -> TriggerDevHook:
        from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

        return TriggerDevHook(self.trigger_dev_conn_id)

    @property
    def _note(self) -> StopNote:
        return StopNote(lambda: self._stopped_at)

    def _to_start(self, context: Context) -> tuple[list[TaskRequest], Earlier | None]:
        """Return what to start, and what finds the runs of an earlier try; None where there was none."""
        raise NotImplementedError

    def _xcom_of(self, values: Sequence[Any]) -> Any:
        """Return what XCom gets of values of all runs, such as their ids."""
        return list(values)

    def execute(self, context: Context) -> Any:
        """Start what the class says, and wait for it."""
        from airflow_provider_trigger.api.errors import ResponseError, TriggerDevError

        self.run_url, begun_at, hook = None, time.time(), self._hook()
        # All that a stop needs is made before anything is sent.
        guard, pushed = self._new_guard(hook), list[str | None]()
        try:
            with hook.client() as client:
                client.sleep = guard.sleep
                work = Work(client, hook, context)
                try:
                    with guard:
                        return self._execute(work, guard, pushed, begun_at)
                finally:  # a stop may have shown further ids
                    with storing(self, RUN_ID_KEY):
                        self._push_ids(work, guard, pushed, is_last=True)
        except (StoppedError, TriggerDevError, KeyError, RuntimeError) as error:
            if getattr(error, "may_have_effect", False):  # a retry would start a second run without a word
                raise AirflowFailException(str(error)) from None
            # Python raises one of the last two where Airflow 2 interrupts the start of a thread.
            if self._note.is_set:
                raise _stopped(guard) from None
            if isinstance(error, ResponseError) and error.status == 422:  # of what starts runs only
                raise TriggerRunNotStartedError(str(error)) from None
            raise

    def _execute(self, work: Work, guard: Guard, pushed: list[str | None], begun_at: float) -> Any:
        from airflow_provider_trigger.run.starts import Starts

        self._note.check()
        push = partial(self._push_ids, work, guard, pushed)
        requests, earlier = self._to_start(work.context)
        guard.run_ids = [None] * len(requests)
        is_ours = not any(request.replay_of for request in requests)  # a replay has its original's tags
        guard.tag = tag_of(work.context) if is_ours else None
        starts = Starts(work.client, guard, log=self.log)
        seen = self._note.wait_for(partial(starts.start, requests, earlier), meanwhile=push)
        guard.ended = {run_id for run_id, run in seen.items() if run.is_final}
        push()
        if not self.wait_for_completion or not guard.run_ids:
            guard.release()
            return self._xcom_of(guard.run_ids)
        age = max([guard.age, *(run.age for run in seen.values() if not run.is_final)])
        settings = self._wait_settings(work.hook, begun_at, age=age, tag=guard.tag)
        ended = self._wait(seen, settings, work, guard)
        guard.release()
        return self._conclude([str(run_id) for run_id in guard.run_ids], ended, work)

    def _push_ids(self, work: Work, guard: Guard, pushed: list[str | None], *, is_last: bool = False) -> None:
        """Push the ids as far as they are known, before anything else can fail; without XComs once."""
        known = list(guard.run_ids)
        if known == pushed or not any(known):
            return
        ti: Any = work.context.get("ti")
        is_due = self.do_xcom_push or is_last or None not in known
        if ti is not None and is_due:  # an operator may be executed by hand
            ti.xcom_push(key=RUN_ID_KEY, value=self._xcom_of(known))
            pushed[:] = known
        url = work.hook.settings.run_url(next(filter(None, known)))
        if url != self.run_url:
            push_link(self, url, work.context)

    def _conclude(self, run_ids: Sequence[str], ended: Mapping[str, Waited], work: Work) -> Any:
        """Return the outputs of the runs of all items, or fail."""
        from airflow_provider_trigger.operators.conclusion import ends_of, write_logs
        from airflow_provider_trigger.run.output import Outputs
        from airflow_provider_trigger.run.waited import check_failed

        ends = ends_of(
            run_ids,
            self._note.wait_for(partial(check_failed, ended, work.client)),
            connection=work.hook.settings,
            timeouts={"timeout": self.timeout, "execution_timeout": self._execution_timeout},
            retry_statuses=FINAL_STATUSES if has_retry_policy(work.context, self) else self.retry_statuses,
        )
        outputs, fails = Outputs(max_size=self.max_output_size), self._fails(ends)
        try:
            if not fails:
                completed = {end.run_id: end.waited.run for end in ends if not end.reason}
                self._note.wait_for(partial(outputs.fetch, completed, work.client, log=self.log))
        finally:
            # An event, and a query, show less of a run than the answer that has its output.
            ends = [end.with_output(outputs) for end in ends]
            self._push_ends(ends, work)
        if self.run_logs == "always" or (self.run_logs == "on_failure" and fails):
            only_failed = self.run_logs == "on_failure"
            self._note.wait_for(partial(write_logs, ends, work.hook, only_failed=only_failed, log=self.log))
        if failure := self._failure_of(ends, work):
            raise failure
        return self._xcom_of(outputs.for_xcom(run_ids, log=self.log))

    def _fails(self, ends: Sequence[RunEnd]) -> bool:
        """Return whether the task fails for what is known of its runs, and of their outputs."""
        return any(end.error for end in ends)

    def _failure_of(self, ends: Sequence[RunEnd], work: Work) -> AirflowException | None:
        """Return the error of the task for its runs, or for their outputs, if it fails for them."""
        raise NotImplementedError

    def _push_ends(self, ends: Sequence[RunEnd], work: Work) -> None:
        """Push what is known of the runs that have ended."""
        raise NotImplementedError

    def _wait_settings(
        self, hook: TriggerDevHook, begun_at: float, *, age: float, tag: str | None
    ) -> WaitSettings:
        from airflow_provider_trigger.run.waited import WaitSettings

        limits = [] if self.timeout is None else [time.time() - age + self.timeout]
        if self.deferrable and self._execution_timeout is not None:
            # Airflow 3 does not enforce it while the task is deferred; Airflow 2 does not cancel the run.
            limits.append(begun_at + self._execution_timeout)
        return WaitSettings(
            run_url=self.run_url or "",
            poll_interval=self.poll_interval,
            deadline=min(limits, default=None),
            pending_version_timeout=self.pending_version_timeout,
            patience=hook.settings.retry_for,
            tag=tag or "",
            cancels=self.cancel_on_kill,
        )

    def _wait(
        self, seen: Mapping[str, Run], settings: WaitSettings, work: Work, guard: Guard
    ) -> dict[str, Waited]:
        """Defer, or wait in the worker, unless all have completed; return what became of each, by run id."""
        from airflow_provider_trigger.run.waited import Waited, WaitEnd
        from airflow_provider_trigger.run.watch import wait_for_runs

        ended = {one: Waited(end=WaitEnd.FINAL, run=run) for one, run in seen.items() if run.is_success}
        left = [one for one in guard.known_ids if one not in ended]
        if not left:
            return ended
        if self.deferrable and can_resume(work.context, self):
            self._defer(guard.known_ids, settings, guard, work.context)
        return ended | wait_for_runs(
            left,
            settings,
            work.client,
            log=self.log,
            is_stopped=lambda: self._note.is_set,
            on_ended=guard.ended.add,
        )

    @property
    def _execution_timeout(self) -> float | None:
        return None if self.execution_timeout is None else self.execution_timeout.total_seconds()

    def _new_guard(self, hook: TriggerDevHook) -> Guard:
        from airflow_provider_trigger.report.ends import log_stop
        from airflow_provider_trigger.run.guard import Guard

        timeout = max(stop_time(), hook.settings.timeout)
        client = hook.get_client(timeout=timeout, retry_for=math.inf)  # a cancel has a deadline
        log = partial(log_stop, self.log, self.trigger_dev_conn_id)
        cancels = self.cancel_on_kill
        return Guard(client, self._note, cancels=cancels, stop_time=stop_time(), log_stop=log)

    def _defer(
        self, run_ids: Sequence[str], settings: WaitSettings, guard: Guard, context: Context
    ) -> NoReturn:
        from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger, event_hold

        trigger = TriggerDevRunTrigger(
            run_ids=run_ids,
            trigger_dev_conn_id=self.trigger_dev_conn_id,
            wait=settings.to_json(),
            try_number=try_number_of(context),
            not_before=time.time() + event_hold(context, self.execution_timeout),
        )
        runs = f"run {run_ids[0]}" if len(run_ids) == 1 else f"{len(run_ids)} runs"
        self.log.info("Deferring: the triggerer waits for %s from here on. %s", runs, settings.run_url)
        guard.release()  # from here on the trigger cancels them
        self.defer(trigger=trigger, method_name=self.execute_complete.__name__)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """
        Return what the runs returned once the trigger has seen them end, or fail.

        :param context: of the task instance
        :param event: from :class:`airflow_provider_trigger.triggers.run.TriggerDevRunTrigger`
        """
        from airflow_provider_trigger.run.waited import is_of_another_try

        if is_of_another_try(event, try_number_of(context)):
            return self.execute(context)
        return self._complete(event, context)

    def _pushed(self, context: Context) -> list[Any]:
        """Return the ids of the runs in XCom, whose backend may make a text or a tuple of a list."""
        from airflow_provider_trigger.sources.run_ids import read_list

        ti: Any = context["ti"]
        found = read_list(ti.xcom_pull(task_ids=self.task_id, key=RUN_ID_KEY, map_indexes=ti.map_index))
        return list(found) if isinstance(found, (list, tuple)) else []

    def _complete(self, event: Any, context: Context, pushed: Sequence[str] = ()) -> Any:
        """Return what the runs of an event returned, or fail; ``pushed`` are those that it may only count."""
        from airflow_provider_trigger.run.waited import read_event

        ended = read_event(event, pushed)
        # In the order of the items: two items with one key share a run.
        run_ids = pushed if set(pushed) == set(ended) else list(ended)
        hook = self._hook()
        with hook.client(has_worked=True) as client:
            self.run_url = hook.settings.run_url(run_ids[0])
            return self._conclude(run_ids, ended, Work(client, hook, context))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after the trigger; where it failed or timed out, cancel the runs first."""
        if next_method == TRIGGER_FAILED and self.cancel_on_kill:
            _cancel_pushed(self, context)
        return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """
        End what the task waits for, at once; then its runs are canceled, within 4 s, with Airflow 2 8 s.

        Airflow 3 calls it in a signal handler, so it only notes that; ``execute`` continues.
        """
        self._stopped_at = self._stopped_at or time.monotonic()


class TaskRunsOperator(ChecksRendered, RunsOperator):
    """
    Start runs of a Trigger.dev task; a subclass says which.

    :param task_identifier: the id of the Trigger.dev task; templated
    :param queue: the name of Trigger.dev's queue; templated. A ``queue`` in ``default_args`` is Airflow's
    :param concurrency_key: limits the queue's concurrency for each value; for servers from 4.8.6 on also a
        dict, ``{"default": …, "a named limit": …}``; templated
    :param delay: when to start: a duration such as ``"1h30m"``, a timedelta, a time, an ISO date; templated
    :param ttl: how long the run may wait for its start: ``"10m"``, seconds, or a timedelta; templated. It
        never expires while no worker asks for runs (measured): set ``timeout``, too
    :param tags: up to 7, of up to 128 characters, without a comma; templated
    :param metadata: a dict of JSON, up to 256 KB; templated
    :param max_attempts: how many attempts the run has, which are Trigger.dev's own retries; templated
    :param max_duration: how long an attempt may compute, in seconds, 5 or more; templated
    :param machine: the machine preset: ``micro``, ``small-1x``, ``small-2x``, ``medium-1x``, ``medium-2x``,
        ``large-1x`` or ``large-2x``; templated
    :param priority: moves the run forward in its queue, as if it was created so many seconds earlier;
        templated
    :param region: where it runs; templated
    :param lock_to_version: the version of the task to run; templated
    :raises ValueError: when the Dag is parsed: an argument is invalid; where it is templated, or in a mapped
        task, when it runs: then it fails without retries, before anything is sent
    """

    rendered_arguments: ClassVar[dict[str, str]] = {"task_identifier": "task_identifier"} | OPTION_ATTRIBUTES
    _tags_of_ours = TAGS_OF_OURS

    task_identifier: str
    run_queue: str | None
    reuse_completed = False

    def _to_start(self, context: Context) -> tuple[list[TaskRequest], Earlier | None]:
        from airflow_provider_trigger.run.identity import RunKey
        from airflow_provider_trigger.run.starts import Earlier

        identity = task_instance_of(context)
        is_retry = identity is not None and is_repeated(context)
        when = self._check_rendered(is_retry=is_retry)
        requests, key = self._requests(context, identity.tags if identity else [], when)
        if not (is_retry and isinstance(key, RunKey)):
            return requests, None
        return requests, Earlier(
            key=key,
            cancels=self.cancel_on_kill,
            replaces=self.wait_for_completion,
            reuses=self.reuse_completed,
        )

    def _requests(
        self, context: Context, tags: Sequence[str], when: rules.Circumstances
    ) -> tuple[list[TaskRequest], RunKey | str | None]:
        """Return what to start, with these tags, and the idempotency key of the execution or of the user."""
        raise NotImplementedError

    def _request(
        self, payload: Any, options: dict[str, Any], tags: Sequence[str], key: str | None
    ) -> TaskRequest:
        if tags:
            options["tags"] = [*options.get("tags", []), *tags]
        if key is not None:
            options["idempotencyKey"] = key
        return TaskRequest(task_identifier=self.task_identifier, payload=payload, options=options)

    def _own_queue(self, queue: str | None, kwargs: dict[str, Any]) -> str | None:
        """Return the run's queue; one that Airflow passes on by itself goes to Airflow's arguments."""
        # Up to Airflow 3.2, ``partial()`` adds its default to the arguments of a mapped task.
        added = [default_queue()] if is_mapped_instance(self) else []
        if queue is None or queue not in [kwargs["default_args"].get("queue"), *added]:
            return queue
        kwargs["queue"] = queue
        return None

    def _check(self, when: rules.Circumstances) -> None:
        given = {"task_identifier": self.task_identifier}
        for name, value in rules.checked(RULES_OF_TASK, given, when).items():
            setattr(self, name, value)
        if when.is_rendered:
            self._check_given_none(self._as_given, self._options)
        to_api(self._options, when)

    def _check_given_none(self, given: Mapping[str, Any], rendered: Mapping[str, Any], of: str = "") -> None:
        """Warn of an option of which a native template has made None; without its version none may run."""
        for name in OPTIONS:
            template = given.get(name)
            if rendered.get(name) is not None or not (isinstance(template, str) and is_templated(template)):
                continue
            what = f"{of}{name} must not be None, of which its template {template!r} has made it"
            if name == "lock_to_version":
                raise ValueError(f"{what}: another version could run")
            self.log.warning("%s: the option is left out", what)

    @property
    def _options(self) -> dict[str, Any]:
        options = {name: getattr(self, attribute) for name, attribute in OPTION_ATTRIBUTES.items()}
        return {name: value for name, value in options.items() if value is not None}


def _stopped(guard: Guard) -> AirflowException:
    if guard.may_have_lost:
        return AirflowFailException(
            "Airflow stopped the task before the server answered its start, which has no idempotency key: a "
            "run may exist. Look for it in the dashboard before you start another one"
        )
    runs = enumeration(guard.known_ids) or "none"
    text = "Airflow stopped the task (marked, cleared or timed out). Its runs, as far as known"
    return AirflowException(f"{text}: {runs}")


def _cancel_pushed(operator: RunsOperator, context: Context) -> None:
    from airflow_provider_trigger.cancel.outcome import not_canceled
    from airflow_provider_trigger.hooks.diagnosis import safe_text
    from airflow_provider_trigger.log import write
    from airflow_provider_trigger.report.ends import of_cancels
    from airflow_provider_trigger.run.identity import KEY_PREFIX

    identity, pushed, tag = task_instance_of(context), list[Any](), tag_of(context)
    try:
        pushed = operator._pushed(context)
        if not pushed:
            return
    except Exception as error:
        # Any error: XCom backends raise what they like.
        text = "The ids of the task's runs cannot be read from XCom (%s): canceling those with the tag %s"
        operator.log.error(text, safe_text(error), tag)
    tag = None if len(pushed) == 1 else tag
    try:
        guard = operator._new_guard(operator._hook())
    except Exception as error:
        # Any error: secrets backends raise what they like, and Airflow's own says why the trigger failed.
        results = [not_canceled(str(run_id), safe_text(error)) for run_id in pushed or ["of this task"]]
        write(operator.log, of_cancels(results, operator.trigger_dev_conn_id, tag=tag))
        return
    with guard:
        guard.tag = tag
        if pushed:
            guard.take_up(pushed)
        elif identity is not None:  # another key of this kind is of another Airflow, or of before a clear
            start, has_key = f"{KEY_PREFIX}-", getattr(operator, "_has_key", True)
            guard.is_earlier = lambda key: (
                not has_key if key is None else identity.has_started(key) or not key.startswith(start)
            )
        guard.cancel()
    if not pushed and not guard.has_found:
        operator.log.error("No run with the tag %s was found: a run of this task may still be running", tag)


def push_results(operator: Any, results: Iterable[Any], context: Context) -> None:
    """Push the results to XCom although the task fails; Airflow itself pushes only those of a success."""
    push(operator, RETURN_VALUE_KEY, [result.to_dict() for result in results], context)


def push(operator: Any, key: str, value: Any, context: Context) -> None:
    """Push an XCom; whether that is possible has no effect on the task."""
    ti: Any = context.get("ti")
    if operator.do_xcom_push and ti is not None:
        with storing(operator, key):
            ti.xcom_push(key=key, value=value)


@contextmanager
def storing(operator: Any, key: str) -> Iterator[None]:
    """Log the error of a push, which must not hide how the task ends."""
    try:
        yield
    except Exception as error:
        # Any error: an XCom backend may raise anything.
        operator.log.error("XCom %r could not be stored: %s: %s", key, type(error).__name__, error)


def try_number_of(context: Context) -> int | None:
    """Return the try of a task instance, None where an operator is executed by hand without one."""
    return getattr(context.get("ti"), "try_number", None)


def tag_of(context: Context) -> str | None:
    """Return the tag that all runs of a task instance carry, None where an operator is executed by hand."""
    identity = task_instance_of(context)
    return identity.tag if identity else None
