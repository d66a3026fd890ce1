"""Start a run of a Trigger.dev task, and wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.statuses import RETRY_STATUSES
from airflow_provider_trigger.defaults import AUTOMATIC_KEY
from airflow_provider_trigger.durations import Duration
from airflow_provider_trigger.operators.one_run import OneRunOperator
from airflow_provider_trigger.operators.task_runs import OPTION_ATTRIBUTES, TaskRunsOperator
from airflow_provider_trigger.rules import Circumstances
from airflow_provider_trigger.run.identity import RunKey, content_of
from airflow_provider_trigger.run.request import PAYLOAD, TaskRequest, to_api

if TYPE_CHECKING:
    from airflow_provider_trigger.operators.base import Work
    from airflow_provider_trigger.run.guard import Guard
    from airflow_provider_trigger.run.starts import Started

_RENDERED = {name: name for name in ("task_identifier", "payload")} | OPTION_ATTRIBUTES
_RENDERED |= {"idempotency_key": "idempotency_key"}


class RunTriggerTaskOperator(TaskRunsOperator, OneRunOperator):
    """
    Start a run of a Trigger.dev task, wait for it, and return its output.

    A task instance has one run, also when an answer is lost, a worker crashes, or the task is retried while
    the run is alive: the request carries an idempotency key made of what identifies the task instance. A
    retry takes up a run that is alive, returns the output of one that has completed, and starts a new one in
    place of one that failed or was canceled. Clearing a task that has ended starts a new run. Where a task
    executes operators by hand, each execution has a run, known in a retry by its task id and its payload.

    The run carries three tags: ``airflow_dag:…``, and one each for this Dag run and this task instance.

    See :class:`~airflow_provider_trigger.operators.one_run.OneRunOperator` for XComs and outputs.

    :param payload: any JSON, up to 3 MB; templated at any depth, and the outputs of tasks may be in it, those
        of mapped ones too
    :param idempotency_key: ``"auto"`` for the one described above, or your own; None for none: then a lost
        answer is an error that says that a run may exist, without retries, and a retry after any other
        error starts another run; templated
    :raises ValueError: when the Dag is parsed: an argument is invalid; where it is templated, or in a mapped
        task, when it runs: then it fails without retries, before anything is sent
    """

    rendered_arguments: ClassVar[dict[str, str]] = _RENDERED
    template_fields: Sequence[str] = (*_RENDERED.values(), "trigger_dev_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"payload": "json", "metadata": "json"}

    if TYPE_CHECKING:
        payload: Any
        idempotency_key: str | None

    def __init__(
        self,
        *,
        task_identifier: str,
        payload: Any = None,
        idempotency_key: str | None = AUTOMATIC_KEY,
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
        self._has_key = idempotency_key is not None
        self._check_given()

    def _check(self, when: Circumstances) -> None:
        super()._check(when)
        PAYLOAD("payload", self.payload, when)
        if self._has_key:
            # With native rendering, a template that finds nothing is None, and not the text.
            key = str(None) if self.idempotency_key is None else self.idempotency_key
            to_api({"idempotency_key": key}, when)

    def _start_run(self, work: Work, guard: Guard) -> Started:
        from airflow_provider_trigger.run.earlier import Earlier
        from airflow_provider_trigger.run.starts import start_run
        from airflow_provider_trigger.sources.context import is_repeated, key_of_execution, task_instance_of

        identity = task_instance_of(work.context)
        is_retry = identity is not None and is_repeated(work.context)
        when = self._check_rendered(is_retry=is_retry)
        options = to_api(self._options, when)
        if identity:
            options["tags"] = [*options.get("tags", []), *identity.tags]
            guard.bulk_tag = identity.tag if self.wait_for_completion or not is_retry else None
        key: RunKey | str | None = self.idempotency_key
        if key == AUTOMATIC_KEY:
            content = content_of(self.task_identifier, self.payload)
            key = key_of_execution(work.context, self, content=content)
        if key is not None:
            options["idempotencyKey"] = str(key)
        guard.request = request = TaskRequest(
            task_identifier=self.task_identifier, payload=self.payload, options=options
        )
        self.log.info("Starting a run of Trigger.dev task %r", self.task_identifier)
        if isinstance(key, RunKey) and self.wait_for_completion and is_retry:
            earlier = Earlier(
                key=key, client=work.client, cancels=self.cancel_on_kill, log=self.log, sleep=guard.sleep
            )
            return earlier.start_one(request, on_id=guard.know)
        return start_run(work.client, request, log=self.log, sleep=guard.sleep, on_id=guard.know)
