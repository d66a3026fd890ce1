"""Start a run of a Trigger.dev task, and wait for it; and what all operators with one run share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.statuses import RETRY_STATUSES
from airflow_provider_trigger.defaults import AUTOMATIC_KEY
from airflow_provider_trigger.operators.base import OPTION_ATTRIBUTES, RunsOperator, TaskRunsOperator
from airflow_provider_trigger.rules import RENDERED, Circumstances, Duration
from airflow_provider_trigger.run.request import KEY_OPTIONS, OPTIONS, TaskRequest, check_json, to_api
from airflow_provider_trigger.sources.context import key_of_execution

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.run.identity import RunKey


class OneRunOperator(RunsOperator):
    """
    Start one run, and wait for it; a subclass says how it starts.

    The run's id is in XCom as ``run_id``, and its page in the dashboard as ``run_url``, as soon as the server
    has answered. The return value is the run's output, or its id where the operator does not wait. Where it
    waits, XCom ``run`` has at its end, also where the task fails, ``{"run_id", "run_url", "status",
    "task_identifier", "version", "attempts", "created_at", "started_at", "finished_at", "compute_seconds",
    "cost_in_cents", "metadata"}``, None for what is not known; with
    ``do_xcom_push=False`` there is none. The same without metadata is in the events of the assets in
    ``outlets``, in ``extra`` under ``"trigger_dev"``.

    :raises TriggerRunFailedError: when it runs: the run has ended without success; see
        :mod:`airflow_provider_trigger.exceptions`
    """

    def _execution(self, context: Context) -> Any:
        from airflow_provider_trigger.operators.execution import Execution

        return Execution(self, context)


_TTL = "idempotency_key_ttl"
_RENDERED = {
    name: name for name in ("task_identifier", "payload", "idempotency_key", _TTL)
} | OPTION_ATTRIBUTES


class RunTriggerTaskOperator(TaskRunsOperator, OneRunOperator):
    """
    Start a run of a Trigger.dev task, wait for it, and return its output.

    A task instance has one run, also when an answer is lost, a worker crashes, or the task is retried while
    the run is alive: the request carries an idempotency key made of what identifies the task instance. A
    retry takes up a run that is alive, returns the output of one that has completed, and starts a new one in
    place of one that failed or was canceled. Clearing a task that has ended starts a new run. Where a task
    executes operators by hand, each execution has a run, known in a retry by its task id and its payload.

    The run carries three tags: ``airflow_dag:…``, and one each for this Dag run and this task instance.

    See :class:`~airflow_provider_trigger.operators.run.OneRunOperator` for XComs and outputs.

    :param payload: any JSON, up to 3 MB; templated at any depth, and the outputs of tasks may be in it, those
        of mapped ones too
    :param idempotency_key: ``"auto"`` for the one described above, or your own; None for none: then a lost
        answer is an error that says that a run may exist, without retries, and a retry after any other
        error starts another run; templated
    :param idempotency_key_ttl: how long your own key stands for its run: ``"1h"``, seconds, or a timedelta;
        a start after that, also of a retry, is another run. None for Trigger.dev's default; templated
    """

    # Airflow's registry shows so that a retry continues with the same run, without ResumableJobMixin.
    __supports_durable_execution: ClassVar[bool] = True
    rendered_arguments: ClassVar[dict[str, str]] = _RENDERED
    _known_options = OPTIONS | {_TTL: KEY_OPTIONS[_TTL]}
    template_fields: Sequence[str] = (*_RENDERED.values(), "trigger_dev_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "payload": "json",
        "metadata": "json",
        "extra_options": "json",
    }

    payload: Any
    idempotency_key: str | None
    idempotency_key_ttl: str | int | timedelta | None

    def __init__(
        self,
        *,
        task_identifier: str,
        payload: Any = None,
        idempotency_key: str | None = AUTOMATIC_KEY,
        idempotency_key_ttl: str | int | timedelta | None = None,
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
        self._has_key = idempotency_key is not None
        self._check_given()

    def _check(self, when: Circumstances) -> None:
        super()._check(when)
        check_json("payload", self.payload, when)
        if self._has_key:
            # With native rendering, a template that finds nothing is None, and not the text.
            key = str(None) if self.idempotency_key is None else self.idempotency_key
            to_api({"idempotency_key": key}, when)
        if self.idempotency_key_ttl is not None and self.idempotency_key in (None, AUTOMATIC_KEY):
            raise ValueError("idempotency_key_ttl is only for an idempotency_key of your own")

    def _requests(
        self, context: Context, tags: Sequence[str]
    ) -> tuple[list[TaskRequest], RunKey | str | None]:
        from airflow_provider_trigger.run.identity import content_of

        options = to_api(self._options, RENDERED)
        key: RunKey | str | None = self.idempotency_key
        if key == AUTOMATIC_KEY:
            content = content_of(self.task_identifier, self.payload)
            key = key_of_execution(context, self, content=content)
        return [self._request(self.payload, options, tags, None if key is None else str(key))], key
