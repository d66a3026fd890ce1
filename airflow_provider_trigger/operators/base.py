"""Base classes of operators that start runs: their arguments, and what Airflow calls."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_trigger import _compat, rules
from airflow_provider_trigger.api.statuses import FINAL_STATUSES, SUCCESS_STATUSES
from airflow_provider_trigger.defaults import RETURN_VALUE_KEY
from airflow_provider_trigger.links.run import TriggerRunLink
from airflow_provider_trigger.log import counted
from airflow_provider_trigger.run.request import OPTIONS, TaskRequest, to_api
from airflow_provider_trigger.sources import arguments
from airflow_provider_trigger.sources.context import is_repeated, task_instance_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.report.cancels import Report
    from airflow_provider_trigger.run.earlier import Earlier
    from airflow_provider_trigger.run.identity import RunKey


def _no_multiple_outputs(name: str, value: Any, _: rules.Circumstances) -> bool:
    """Refuse to push each field of the output: it could overwrite XCom `run_id`, `run_url` or `run`."""
    if value:
        how = "{{ ti.xcom_pull(task_ids='…')['field'] }} is one field"
        raise ValueError(f"{name} must be False, as the output could overwrite XCom 'run_id': {how}")
    return False


RULES = {
    "trigger_dev_conn_id": rules.connection_id,
    "wait_for_completion": rules.boolean,
    "deferrable": rules.boolean,
    "poll_interval": rules.optional(rules.duration(least=0.01)),
    "timeout": rules.optional(rules.duration(least=0.01)),
    "pending_version_timeout": rules.duration(least=0),
    "cancel_on_kill": rules.boolean,
    "retry_statuses": rules.list_of(
        "final statuses of failures", FINAL_STATUSES.difference(SUCCESS_STATUSES)
    ),
    "max_output_size": rules.number("bytes", least=0, whole=True),
    "run_logs": rules.choice("on_failure", "always", "never"),
    "run_progress": rules.boolean,
    "multiple_outputs": _no_multiple_outputs,
}

RULES_OF_TASK = {"task_identifier": rules.text("the id of a Trigger.dev task")}

OPTION_ATTRIBUTES = {name: name for name in OPTIONS} | {"queue": "run_queue"}
"""The attribute of each option of a run; Airflow's own argument ``queue`` is the executor's."""


class RunsOperator(arguments.TakesArguments, _compat.BaseOperator):
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
        COMPLETED it fails for good, unless others have canceled a run that an earlier try had started. A
        ``retry_policy`` of the task (Airflow 3.3) decides in its place
    :param max_output_size: of the output in XCom, in bytes of JSON; a larger one is replaced by
        ``{"run_id", "output_size"}``, and ``TriggerDevHook.get_output`` returns it; the size may be None, and
        above 16 MB the log says how to download it
    :param run_logs: when the log of the run is written to the task's log, once the run has ended:
        ``"on_failure"``, if the task fails for it, ``"always"`` or ``"never"``; of several runs, those of 3
        at most. Each has its last 1,000 lines. It takes up to 5 s, and has no effect on the task if it fails
    :param run_progress: whether the log shows the run's metadata when it has changed, cut at 200 characters:
        with each change of its status, and every 5 minutes; of several runs, of 100 at most
    """

    operator_extra_links = (TriggerRunLink(),)
    ui_color = "#e4f5e8"
    _stopped_at: float | None = None
    _has_key = True  # whether its runs have an idempotency key

    trigger_dev_conn_id: str
    wait_for_completion: bool
    deferrable: bool | None
    poll_interval: float | None
    timeout: float | None
    pending_version_timeout: float
    cancel_on_kill: bool
    retry_statuses: Sequence[str]
    max_output_size: int
    run_logs: str
    run_progress: bool
    run_url: str | None
    # Arguments of operators with several runs.
    fail_on: int | str = "any"
    cancel_others = False

    def __init__(self, **kwargs: Any) -> None:
        # Airflow 3.4 reads the defaults of a mapped task from the `__init__` of each class, and without one
        # here from its own, whose `inlets=None` no mapped task can have.
        super().__init__(**kwargs)

    def _take(self, given: Mapping[str, Any]) -> None:
        """Keep the arguments of a class, and check those that all have; ``given`` are its local variables."""
        for name in given.keys() - {"self", "kwargs", "__class__"}:
            setattr(self, OPTION_ATTRIBUTES.get(name, name), given[name])
        if self.deferrable is None:
            self.deferrable = _compat.default_deferrable()
        self.run_url = None
        arguments.check_arguments(self, RULES)

    def _execution(self, context: Context) -> Any:
        raise NotImplementedError

    def _fails(self, *, failed: int, count: int) -> bool:
        """Return whether the task fails where ``failed`` of ``count`` runs have failed."""
        return failed > 0

    def _to_start(self, context: Context) -> tuple[list[TaskRequest], Earlier | None]:
        """Return what to start, and what finds the runs of an earlier try; None where there was none."""
        raise NotImplementedError

    def _log_start(self, tag: str | None, new: Sequence[TaskRequest]) -> None:
        """Log how many runs are started that no earlier try has started, and the tag of their Dag run."""

    def execute(self, context: Context) -> Any:
        """Start what the class says, and wait for it."""
        self.run_url = None
        return self._execution(context).run()

    def execute_complete(
        self, context: Context, event: dict[str, Any] | None = None, taken_up_until: float | None = None
    ) -> Any:
        """
        Return what the runs returned once the trigger has seen them end, or fail.

        :param context: of the task instance
        :param event: from :class:`airflow_provider_trigger.triggers.run.TriggerDevRunTrigger`
        :param taken_up_until: when the newest run was created that an earlier try had started, in seconds
            since 1970; None if this one has started all
        """
        return self._execution(context).resume(event, taken_up_until)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after the trigger; where it failed or timed out, cancel the runs first."""
        if next_method == _compat.TRIGGER_FAILED and self.cancel_on_kill:
            self._execution(context).cancel_pushed()
        return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """
        End what the task waits for, at once; then its runs are canceled, within 4 s, with Airflow 2 8 s.

        Airflow 3 calls it in a signal handler, so it only notes that; ``execute`` continues.
        """
        self._stopped_at = self._stopped_at or time.monotonic()


class TaskRunsOperator(arguments.ChecksRendered, RunsOperator):
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
    :param extra_options: a dict of options that have no argument here, in the API's spelling, sent as they
        are; a server ignores those that it does not know (measured). A run with ``externalDeploymentId``
        waits for this deployment: ``pending_version_timeout`` has to allow for it; templated
    :param link_back: whether metadata have the URL of the task's log in Airflow as ``"airflow"``, unless they
        have this name, or no room for it, or ``[api] base_url`` (2.11: ``[webserver] base_url``) is not set
    :raises ValueError: when the Dag is parsed: an argument is invalid; where it is templated, or in a mapped
        task, when it runs: then it fails without retries, before anything is sent
    """

    rendered_arguments: ClassVar[dict[str, str]] = {"task_identifier": "task_identifier"} | OPTION_ATTRIBUTES

    task_identifier: str
    _known_options: ClassVar[Mapping[str, rules.Rule]] = OPTIONS
    run_queue: str | None
    link_back: bool
    reuse_completed = False

    def _take(self, given: Mapping[str, Any]) -> None:
        super()._take(given)
        arguments.check_arguments(self, {"link_back": rules.boolean})

    def _to_start(self, context: Context) -> tuple[list[TaskRequest], Earlier | None]:
        from airflow_provider_trigger.run.earlier import Earlier, Policy
        from airflow_provider_trigger.run.identity import RunKey

        identity = task_instance_of(context)
        is_retry = identity is not None and is_repeated(context)
        self._check_rendered()
        requests, key = self._requests(context, identity.tags if identity else [])
        if self.link_back and (url := _compat.log_url_of(context.get("ti"))):
            requests = [request.with_link(url) for request in requests]
        if not (is_retry and isinstance(key, RunKey)):
            return requests, None
        policy = Policy.REPLACE if self.cancel_on_kill else Policy.TAKE_UP
        if not self.wait_for_completion:
            policy = Policy.LEAVE_ALONE
        return requests, Earlier(key=key, policy=policy, reuses=self.reuse_completed)

    def _log_start(self, tag: str | None, new: Sequence[TaskRequest]) -> None:
        what = "a run" if len(new) == 1 else counted(len(new), "run")
        self.log.info("Starting %s of Trigger.dev task %r", what, self.task_identifier)
        if tag:
            self.log.info("All runs of this Dag run have the tag %s", tag)

    def _requests(
        self, context: Context, tags: Sequence[str]
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
        added = [_compat.default_queue()] if _compat.is_mapped_instance(self) else []
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
        to_api(self._options, when, self._known_options)

    def _check_given_none(self, given: Mapping[str, Any], rendered: Mapping[str, Any], of: str = "") -> None:
        """Warn of an option of which a native template has made None; without its version none may run."""
        for name in self._known_options:
            template = given.get(name)
            if rendered.get(name) is None and isinstance(template, str) and arguments.is_templated(template):
                what = f"{of}{name} must not be None, of which its template {template!r} has made it"
                if name == "lock_to_version":
                    raise ValueError(f"{what}: another version could run")
                self.log.warning("%s: the option is left out", what)

    @property
    def _options(self) -> dict[str, Any]:
        options = {name: getattr(self, OPTION_ATTRIBUTES.get(name, name)) for name in self._known_options}
        return {name: value for name, value in options.items() if value is not None}


def push_results(operator: Any, results: Iterable[Any], context: Context) -> None:
    """Push the results to XCom although the task fails; Airflow itself pushes only those of a success."""
    push(operator, RETURN_VALUE_KEY, [result.to_dict() for result in results], context)


def conclude(operator: Any, results: Sequence[Any], report: Report, context: Context) -> list[dict[str, Any]]:
    """Return what became of each, or fail, as the report of the work says."""
    if report.problems:
        push_results(operator, results, context)
        raise _compat.task_failure(str(report), is_retried=report.retryable)
    if not results:
        operator.log.info("%s", report)
    return [result.to_dict() for result in results]


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
