"""Start a run for each item of a list, and wait for all."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.statuses import RETRY_STATUSES
from airflow_provider_trigger.operators.base import OPTION_ATTRIBUTES, RunsOperator, TaskRunsOperator
from airflow_provider_trigger.rules import (
    Circumstances,
    Duration,
    boolean,
    invalid,
    read_literal,
    read_number,
)
from airflow_provider_trigger.run.request import TaskRequest, check_items, read_items
from airflow_provider_trigger.sources.arguments import arguments_of, check_arguments
from airflow_provider_trigger.sources.context import key_of_execution

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.run.identity import RunKey

FailOn = Literal["any", "all", "never"] | int | str
"""A number of failed runs, at most all that there are, or a share of all runs, such as ``"10%"``."""

_FAIL_ON_WORDS = ("any", "all", "never")
_FAIL_ON = "'any', 'all', 'never', a whole number of runs, 1 or more, or a share above 0% and below 100%"


def is_failure(fail_on: FailOn, *, failed: int, count: int) -> bool:
    """Return whether the task fails where ``failed`` of ``count`` runs have failed; never for no run."""
    if isinstance(fail_on, int):
        return failed >= max(1, min(fail_on, count))
    most = {"any": 0, "all": count - 1, "never": count}
    return failed > max(0, most[fail_on] if fail_on in most else _share(fail_on) * count)


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
    what no answer has shown. With ``do_xcom_push=False`` there are no ``results``.

    ``timeout`` counts for all runs, from the creation of the oldest one that has not ended,
    ``max_output_size`` for all outputs together: above it, each is replaced by ``{"run_id", "output_size"}``.

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
            if self.cancel_others and self.fail_on not in _FAIL_ON_WORDS:
                what = f"cancel_others=True does not go with fail_on={self.fail_on!r}"
                raise ValueError(f"{what}: give fail_on='any', or no cancel_others")

    def _execution(self, context: Context) -> Any:
        from airflow_provider_trigger.operators.execution import ManyRuns

        return ManyRuns(self, context)

    def _fails(self, *, failed: int, count: int) -> bool:
        return is_failure(self.fail_on, failed=failed, count=count)


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
        task, when it runs: then it fails without retries, before anything is sent. One error names up to
        10 invalid items by their index
    """

    # Airflow's registry shows so that a retry continues with the same runs, without ResumableJobMixin.
    __supports_durable_execution: ClassVar[bool] = True
    rendered_arguments: ClassVar[dict[str, str]] = _RENDERED
    template_fields: Sequence[str] = (*_RENDERED.values(), "trigger_dev_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "payloads": "json",
        "items": "json",
        "metadata": "json",
        "extra_options": "json",
    }

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
        extra_options: dict[str, Any] | str | None = None,
        link_back: bool = True,
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
        run_progress: bool = True,
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
        for index, item in enumerate(items if isinstance(items, (list, tuple)) else ()):
            if isinstance(item, dict) and isinstance(item.get("options"), dict):
                rendered = self._given[index].get("options") or {}
                self._check_given_none(item["options"], rendered, f"items[{index}]['options']: ")

    @property
    def _given(self) -> Any:
        return getattr(self, self._list_name)

    def _check_rendered(self) -> None:
        if isinstance(self._given, str):
            with suppress(ValueError):  # without native rendering a template gives the text of a list
                setattr(self, self._list_name, read_literal(self._given.strip()))
        super()._check_rendered()

    def _requests(
        self, context: Context, tags: Sequence[str]
    ) -> tuple[list[TaskRequest], RunKey | str | None]:
        from airflow_provider_trigger.run.identity import KEY_PREFIX

        key = key_of_execution(context, self)
        # Executed by hand it has none, but a request whose answer is lost must start nothing twice.
        once = f"{KEY_PREFIX}-{uuid.uuid4().hex}"
        task = self.task_identifier
        requests = []
        items = read_items(self._list_name, self._given, self._options)
        for index, (payload, options) in enumerate(items):
            own = key.of_item(index, task_identifier=task, payload=payload) if key else f"{once}-{index}"
            requests.append(self._request(payload, options, tags, own))
        if not requests:
            self.log.info("%s is an empty list: no run is started", self._list_name)
        return requests, key
