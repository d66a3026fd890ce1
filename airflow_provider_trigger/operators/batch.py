"""Start a run for each item of a list, and wait for all."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_trigger.operators.many_runs import ManyRunsOperator
from airflow_provider_trigger.operators.task_runs import OPTION_ATTRIBUTES, TaskRunsOperator
from airflow_provider_trigger.rules import Circumstances
from airflow_provider_trigger.run.identity import KEY_PREFIX, RunKey, TaskInstanceIdentity
from airflow_provider_trigger.run.items import ItemRules, check_items, make_requests
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.sources.run_ids import read_literal
from airflow_provider_trigger.validation import arguments_of
from airflow_provider_trigger.wording import counted

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.models.runs import Run
    from airflow_provider_trigger.run.guard import Guard

_RENDERED = {name: name for name in ("task_identifier", "payloads", "items")} | OPTION_ATTRIBUTES


class RunTriggerTaskBatchOperator(TaskRunsOperator, ManyRunsOperator):
    """
    Start a run of a Trigger.dev task for each item of a list, wait for all, and return their outputs.

    Each item has one run, as with :class:`~airflow_provider_trigger.operators.run.RunTriggerTaskOperator`:
    its idempotency key is made of what identifies the task instance, its index and its payload. So a retry
    starts only what has not completed. Runs of an earlier try that belong to no item of the list any more are
    canceled. Clearing a task that has ended starts all of them again. An empty list starts nothing. Where a
    task executes several batches by hand, in threads, each needs a ``task_id`` of its own.

    It takes the arguments of :class:`~airflow_provider_trigger.operators.task_runs.TaskRunsOperator` (what to
    start; they apply to all items), of
    :class:`~airflow_provider_trigger.operators.many_runs.ManyRunsOperator` (when to fail; see there for
    XComs and outputs) and of :class:`~airflow_provider_trigger.operators.base.RunsOperator` (how to wait).

    :param payloads: a list with the payload of each item, or a task's output or a template that gives one;
        templated
    :param items: in place of ``payloads``, a list of ``{"payload": …, "options": {…}}``: an item's options
        have the names of the operator's arguments, and take their place; templated
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

    def __init__(self, *, payloads: Any = None, items: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.payloads = payloads
        self.items = items
        self._list_name = "payloads" if items is None else "items"
        with arguments_of(self):
            if (payloads is None) is (items is None):
                raise ValueError("give either payloads or items")
        self._check_given()

    def _check(self, when: Circumstances) -> None:
        super()._check(when)
        check_items(getattr(self, self._list_name), self._rules(when))

    def _rules(self, when: Circumstances) -> ItemRules:
        return ItemRules(name=self._list_name, options=self._options, when=when)

    def _check_rendered(self, *, is_retry: bool) -> Circumstances:
        given = getattr(self, self._list_name)
        if isinstance(given, str):
            with suppress(ValueError):  # without native rendering a template gives the text of a list
                setattr(self, self._list_name, read_literal(given.strip()))
        return super()._check_rendered(is_retry=is_retry)

    def _start(
        self, client: TriggerDevClient, guard: Guard, context: Context, *, on_ids: Callable[[], object]
    ) -> Mapping[str, Run]:
        from airflow_provider_trigger.run.earlier import Earlier
        from airflow_provider_trigger.run.starts import Starts
        from airflow_provider_trigger.sources.context import task_instance_of

        identity = task_instance_of(context)
        is_retry = identity is not None and context["ti"].try_number > 1
        when = self._check_rendered(is_retry=is_retry)
        key = self._run_key(context, identity)
        requests = self._requests(key, identity, when)
        guard.run_ids = [None] * len(requests)
        guard.tag = identity.tag if identity else None
        if requests:
            runs = counted(len(requests), "run")
            self.log.info("Starting %s of Trigger.dev task %r", runs, self.task_identifier)
        else:
            self.log.info("%s is an empty list: no run is started", self._list_name)
        starts = Starts(client, guard, log=self.log, on_ids=on_ids)
        if key is None or not is_retry:
            starts.start(dict(enumerate(requests)))
            return {}
        keys = {request.key for request in requests}
        guard.is_earlier = key.is_of_same_execution if self.wait_for_completion else keys.__contains__
        earlier = Earlier(
            key=key, client=client, cancels=self.cancel_on_kill, log=self.log, sleep=guard.sleep
        )
        return earlier.start_many(starts, requests, replaces=self.wait_for_completion)

    def _requests(
        self, key: RunKey | None, identity: TaskInstanceIdentity | None, when: Circumstances
    ) -> list[TaskRequest]:
        # Executed by hand it has none, but a request whose answer is lost must start nothing twice.
        once = f"{KEY_PREFIX}-{uuid.uuid4().hex}"

        def key_of(index: int, payload: Any) -> str:
            if key is None:
                return f"{once}-{index}"
            return key.of_item(index, task_identifier=self.task_identifier, payload=payload)

        return make_requests(
            getattr(self, self._list_name),
            self._rules(when),
            task_identifier=self.task_identifier,
            tags=identity.tags if identity else (),
            key_of=key_of,
        )
