"""Start a run for each item of a list, and wait for all."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.statuses import RETRY_STATUSES, SUCCESS_STATUSES
from airflow_provider_trigger.defaults import RESULTS_KEY
from airflow_provider_trigger.log import counted
from airflow_provider_trigger.operators.base import (
    OPTION_ATTRIBUTES,
    RunsOperator,
    TaskRunsOperator,
    Work,
    push,
    tag_of,
)
from airflow_provider_trigger.rules import Circumstances, Duration, boolean, invalid, read_number
from airflow_provider_trigger.run.request import TaskRequest, check_items, read_items
from airflow_provider_trigger.sources.run_ids import read_literal
from airflow_provider_trigger.validation import arguments_of, check_arguments

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger._compat import AirflowException
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
    from airflow_provider_trigger.operators.conclusion import RunEnd
    from airflow_provider_trigger.run.identity import RunKey, TaskInstanceIdentity
    from airflow_provider_trigger.run.output import Outputs
    from airflow_provider_trigger.run.starts import Earlier
    from airflow_provider_trigger.run.waited import Waited, WaitSettings

FailOn = Literal["any", "all", "never"] | int | str
"""A number of failed runs, at most all that there are, or a share of all runs, such as ``"10%"``."""

_FAIL_ON_WORDS = ("any", "all", "never")
_FAIL_ON = "'any', 'all', 'never', a whole number of runs, 1 or more, or a share above 0% and below 100%"


def is_threshold(fail_on: FailOn) -> bool:
    """Return whether it is a number or a share."""
    return fail_on not in _FAIL_ON_WORDS


def is_failure(fail_on: FailOn, *, failed: int, count: int) -> bool:
    """Return whether the task fails where so many of all runs have failed; it does not where none has."""
    if fail_on == "never":
        return False
    if isinstance(fail_on, int):
        return failed >= max(1, min(fail_on, count))
    if fail_on == "all":
        return 0 < failed == count
    return failed > (0 if fail_on == "any" else _share(fail_on) * count)


def fail_on_rule(name: str, value: Any, _: Circumstances) -> Any:
    """Take one of the words, a number or a share."""
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    is_share = isinstance(value, str) and value.endswith("%") and read_number(value[:-1]) is not None
    if value in _FAIL_ON_WORDS or is_number or (is_share and 0 < _share(value) < 1):
        return value
    raise invalid(name, _FAIL_ON, value)


def _share(text: str) -> Fraction:
    return Fraction(text[:-1].strip()) / 100


RULES = {"fail_on": fail_on_rule, "cancel_others": boolean}


class ManyRunsOperator(RunsOperator):
    """
    Start a run for each item, and wait for all; a subclass says how they start.

    The return value has the outputs of the runs in the order of the items, None for an item without one; the
    runs' ids where the operator does not wait. XCom ``run_id`` has these ids, None for one that is not known
    yet, while they are being started; ``run_url`` leads to the first run. When all have ended, also where the
    task fails, XCom ``results`` has ``{"index", "run_id", "status", "error", "version", "attempts",
    "created_at", "started_at", "finished_at", "compute_seconds", "cost_in_cents"}`` for each item, None for
    what no answer has shown. With ``do_xcom_push=False`` there are no ``results``, and ``run_id`` is pushed
    once all runs are started.

    ``timeout`` counts for all runs, from the start of the oldest one, ``max_output_size`` for all outputs
    together: above it, each is replaced by ``{"run_id", "output_size"}``.

    :param fail_on: when the task fails once all runs have ended: if ``"any"`` run did not complete, if
        ``"all"`` did not, or ``"never"``; or a number of runs: if so many did not, or all of fewer; or a
        share such as ``"10%"``: if more did not. A run whose output cannot be fetched counts, too
    :param cancel_others: whether the first run that does not complete has the others canceled; not with a
        number or a share as ``fail_on``, which count canceled runs
    :raises TriggerBatchFailedError: when it runs: runs have ended without success; see
        :mod:`airflow_provider_trigger.exceptions`
    """

    fail_on: FailOn
    cancel_others: bool

    def _take(self, given: Mapping[str, Any]) -> None:
        super()._take(given)
        check_arguments(self, RULES)
        with arguments_of(self):
            if self.cancel_others and is_threshold(self.fail_on):
                text = (
                    f"cancel_others=True does not go with fail_on={self.fail_on!r}, as what it cancels counts"
                )
                raise ValueError(f"{text}: give fail_on='any', or no cancel_others")

    def _wait_settings(
        self, hook: TriggerDevHook, begun_at: float, *, age: float, tag: str | None
    ) -> WaitSettings:
        return replace(
            super()._wait_settings(hook, begun_at, age=age, tag=tag),
            success_statuses=SUCCESS_STATUSES if self.cancel_others else None,
            cancels_others=self.cancel_others,
            logs_progress=True,
            names_completed=False,
        )

    def _complete(self, event: Any, context: Context) -> Any:
        from airflow_provider_trigger.run.event import read_event

        found = self._pushed(context)
        pushed = [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
        ended = read_event(event, pushed)
        # In the order of the items: two items with one key share a run.
        run_ids = pushed if set(pushed) == set(ended) else list(ended)
        hook = self._hook()
        with hook.client(has_worked=True) as client:
            self.run_url = hook.settings.run_url(run_ids[0])
            return self._conclude(run_ids, ended, Work(client, hook, context))

    def _conclude(self, run_ids: Sequence[str], ended: Mapping[str, Waited], work: Work) -> list[Any]:
        """Return the outputs, or fail."""
        from airflow_provider_trigger.operators.conclusion import failure_for_outputs, failure_of_batch
        from airflow_provider_trigger.run.event import check_failed
        from airflow_provider_trigger.run.output import Outputs

        ends = self._ends_of(run_ids, self._note.wait_for(partial(check_failed, ended, work.client)), work)
        outputs = Outputs(max_size=self.max_output_size)
        failure = self._counted(failure_of_batch(ends, log=self.log, tag=tag_of(work.context)), ends, outputs)
        try:
            if not failure:
                completed = list(dict.fromkeys(end.run_id for end in ends if not end.reason))
                self._note.wait_for(partial(outputs.fetch, completed, work.client, log=self.log))
        finally:
            # An event, and a query, show less of a run than the answer that has its output.
            push(self, RESULTS_KEY, [end.with_output(outputs).to_dict() for end in ends], work.context)
        self._write_logs(ends, work.hook, fails=failure is not None)
        if failure:
            raise failure
        missing = failure_for_outputs(ends, outputs, connection=work.hook.settings)
        if missing := self._counted(missing, ends, outputs):
            raise missing
        return outputs.for_xcom(run_ids, log=self.log)

    def _counted(
        self, error: AirflowException | None, ends: Sequence[RunEnd], outputs: Outputs
    ) -> AirflowException | None:
        """Return an error if so many runs have failed as ``fail_on`` says; else it is a warning."""
        failed = sum(bool(end.reason) or end.run_id in outputs.errors for end in ends)
        if error is None or is_failure(self.fail_on, failed=failed, count=len(ends)):
            return error
        self.log.warning("The task does not fail for it (fail_on=%r): %s", self.fail_on, error)
        return None


_RENDERED = {name: name for name in ("task_identifier", "payloads", "items")} | OPTION_ATTRIBUTES


class RunTriggerTaskBatchOperator(TaskRunsOperator, ManyRunsOperator):
    """
    Start a run of a Trigger.dev task for each item of a list, wait for all, and return their outputs.

    Each item has one run, as with :class:`~airflow_provider_trigger.operators.run.RunTriggerTaskOperator`:
    its idempotency key is made of what identifies the task instance, its index and its payload. So a retry
    starts only what has not completed. Runs of an earlier try that belong to no item of the list any more are
    canceled. Clearing a task that has ended starts all of them again, unless ``reuse_completed`` is set. An
    empty list starts nothing. Where a task executes several batches by hand, in threads, each needs a
    ``task_id`` of its own.

    The arguments that say what to start apply to all items. See
    :class:`~airflow_provider_trigger.operators.batch.ManyRunsOperator` for XComs and outputs.

    :param payloads: a list with the payload of each item, or a task's output or a template that gives one;
        templated
    :param items: in place of ``payloads``, a list of ``{"payload": …, "options": {…}}``: an item's options
        have the names of the operator's arguments, and take their place; templated
    :param reuse_completed: whether an item whose run has completed is not started again after a clear either,
        of the task or of its Dag run: its output is used, if index, payload and Trigger.dev task are the same
    :raises ValueError: when the Dag is parsed: an argument is invalid; where it is templated, or in a mapped
        task, when it runs: then it fails without retries, before anything is sent. One error names all
        invalid items by their index
    """

    rendered_arguments: ClassVar[dict[str, str]] = _RENDERED
    template_fields: Sequence[str] = (*_RENDERED.values(), "trigger_dev_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "payloads": "json",
        "items": "json",
        "metadata": "json",
    }

    items: Any
    reuse_completed: bool

    def __init__(
        self,
        *,
        task_identifier: str,
        payloads: Any = None,
        items: Any = None,
        reuse_completed: bool = False,
        queue: str | None = None,
        concurrency_key: str | dict[str, str] | None = None,
        delay: str | timedelta | datetime | None = None,
        ttl: str | int | timedelta | None = None,
        tags: str | Sequence[str] | None = None,
        metadata: dict[str, Any] | str | None = None,
        max_attempts: int | str | None = None,
        max_duration: int | str | None = None,
        machine: str | None = None,
        priority: float | str | None = None,
        region: str | None = None,
        lock_to_version: str | None = None,
        fail_on: FailOn = "any",
        cancel_others: bool = False,
        trigger_dev_conn_id: str = defaults.CONN_ID,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: Duration | None = None,
        timeout: Duration | None = None,
        pending_version_timeout: Duration = defaults.PENDING_VERSION_TIMEOUT,
        cancel_on_kill: bool = True,
        retry_statuses: Sequence[str] = RETRY_STATUSES,
        max_output_size: int = defaults.MAX_OUTPUT_SIZE,
        run_logs: Literal["on_failure", "always", "never"] = "on_failure",
        **kwargs: Any,
    ) -> None:
        queue = self._own_queue(queue, kwargs)
        super().__init__(**kwargs)
        self._take(locals())
        check_arguments(self, {"reuse_completed": boolean})
        self._list_name = "payloads" if items is None else "items"
        with arguments_of(self):
            if (payloads is None) is (items is None):
                raise ValueError("give either payloads or items")
        self._check_given()

    def _check(self, when: Circumstances) -> None:
        super()._check(when)
        check_items(self._list_name, self._given, when)
        items = self._as_given.get("items") if when.is_rendered else None
        if not isinstance(items, (list, tuple)):
            return
        for index, (item, rendered) in enumerate(zip(items, self.items, strict=False)):
            if isinstance(item, dict) and isinstance(item.get("options"), dict):
                options = rendered.get("options") or {}
                self._check_given_none(item["options"], options, f"items[{index}]['options']: ")

    @property
    def _given(self) -> Any:
        return getattr(self, self._list_name)

    def _check_rendered(self, *, is_retry: bool = False) -> Circumstances:
        if isinstance(self._given, str):
            with suppress(ValueError):  # without native rendering a template gives the text of a list
                setattr(self, self._list_name, read_literal(self._given.strip()))
        return super()._check_rendered(is_retry=is_retry)

    def _to_start(self, context: Context) -> tuple[list[TaskRequest], Earlier | None]:
        from airflow_provider_trigger.run.starts import Earlier
        from airflow_provider_trigger.sources.context import is_repeated, key_of_execution, task_instance_of

        identity = task_instance_of(context)
        is_retry = identity is not None and is_repeated(context)
        when = self._check_rendered(is_retry=is_retry)
        key = key_of_execution(context, self)
        requests = self._requests(key, identity, when)
        if requests:
            runs = counted(len(requests), "run")
            self.log.info("Starting %s of Trigger.dev task %r", runs, self.task_identifier)
        else:
            self.log.info("%s is an empty list: no run is started", self._list_name)
        if key is None or not is_retry:
            return requests, None
        return requests, Earlier(
            key=key,
            cancels=self.cancel_on_kill,
            replaces=self.wait_for_completion,
            reuses=self.reuse_completed,
        )

    def _requests(
        self, key: RunKey | None, identity: TaskInstanceIdentity | None, when: Circumstances
    ) -> list[TaskRequest]:
        from airflow_provider_trigger.run.identity import KEY_PREFIX

        # Executed by hand it has none, but a request whose answer is lost must start nothing twice.
        once = f"{KEY_PREFIX}-{uuid.uuid4().hex}"
        task = self.task_identifier
        requests = []
        items = read_items(self._list_name, self._given, self._options, when)
        for index, (payload, options) in enumerate(items):
            if identity:
                options["tags"] = [*options.get("tags", []), *identity.tags]
            options["idempotencyKey"] = f"{once}-{index}"
            if key:
                options["idempotencyKey"] = key.of_item(index, task_identifier=task, payload=payload)
            requests.append(TaskRequest(task_identifier=task, payload=payload, options=options))
        return requests
