"""Start a run of a Trigger.dev task, and wait for it; and what all operators with one run share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn

from airflow_provider_trigger import defaults
from airflow_provider_trigger._compat import AirflowException
from airflow_provider_trigger.api.statuses import RETRY_STATUSES
from airflow_provider_trigger.defaults import AUTOMATIC_KEY, RUN_KEY
from airflow_provider_trigger.operators.base import (
    OPTION_ATTRIBUTES,
    RunsOperator,
    TaskRunsOperator,
    Work,
    push,
)
from airflow_provider_trigger.rules import Circumstances, Duration
from airflow_provider_trigger.run.request import PAYLOAD, TaskRequest, to_api

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.api.models import Run
    from airflow_provider_trigger.run.guard import Guard
    from airflow_provider_trigger.run.starts import Earlier
    from airflow_provider_trigger.run.waited import Waited, WaitSettings

ASSET_EXTRA = "trigger_dev"
"""The key in the ``extra`` of an asset's event."""


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

    def _xcom_of(self, run_ids: Sequence[str | None]) -> Any:
        return run_ids[0]

    def _defer(
        self, run_ids: Sequence[str], settings: WaitSettings, guard: Guard, context: Context
    ) -> NoReturn:
        # The resumed task logs the end with what the run has used, which a query does not show.
        super()._defer(run_ids, replace(settings, logs_end=False), guard, context)

    def _complete(self, event: Any, context: Context) -> Any:
        from airflow_provider_trigger.run.event import check_again, read_event
        from airflow_provider_trigger.run.facts import state_of

        [(run_id, waited)] = read_event(event).items()
        hook = self._hook()
        with hook.client(has_worked=True) as client:
            waited = self._note.wait_for(partial(check_again, run_id, waited, client))
            if waited.run is not None and waited.run.is_final:
                self.log.info("%s", state_of(waited.run))
            self.run_url = hook.settings.run_url(run_id)
            return self._conclude([run_id], {run_id: waited}, Work(client, hook, context))

    def _conclude(self, run_ids: Sequence[str], ended: Mapping[str, Waited], work: Work) -> Any:
        """Return the output of a run that has completed, or fail."""
        from airflow_provider_trigger.operators.conclusion import failure_of
        from airflow_provider_trigger.report.ends import why_no_output
        from airflow_provider_trigger.run.event import check_again
        from airflow_provider_trigger.run.output import output_for_xcom
        from airflow_provider_trigger.run.waited import WaitEnd

        [run_id] = run_ids
        waited, run_url = ended[run_id], work.hook.settings.run_url(run_id)
        if waited.end is WaitEnd.FINAL and waited.run and not (waited.run.has_contents or waited.error):
            # It was taken up as the wait for its worker has seen it.
            waited = self._note.wait_for(partial(check_again, run_id, waited, work.client))
        self._keep_facts(waited.run, work.context, run_id=run_id, run_url=run_url)
        [end] = self._ends_of(run_ids, {run_id: waited}, work)
        self._write_logs([end], work.hook, fails=bool(end.reason))
        if reason := why_no_output(waited, run_url=run_url):
            raise AirflowException(reason)
        if waited.run is not None and waited.run.is_success:
            return self._note.wait_for(
                partial(output_for_xcom, waited.run, work.client, max_size=self.max_output_size, log=self.log)
            )
        raise failure_of(end, run_url=run_url, log=self.log)

    def _keep_facts(self, run: Run | None, context: Context, *, run_id: str, run_url: str) -> None:
        """Push what is known of a run, and add it to the events of the assets that the task updates."""
        from airflow_provider_trigger._compat.assets import add_to_asset_events
        from airflow_provider_trigger.run.facts import run_facts
        from airflow_provider_trigger.run.xcom import UnstorableError, for_xcom

        facts = run_facts(run, run_id=run_id, run_url=run_url)
        metadata = facts.pop("metadata")
        add_to_asset_events(self.outlets, context, key=ASSET_EXTRA, value=facts)
        try:
            metadata = for_xcom(metadata, f"The metadata of run {run_id}", log=self.log)
        except UnstorableError as error:
            self.log.warning("%s: XCom %r lacks it", error, RUN_KEY)
            metadata = None
        push(self, RUN_KEY, facts | {"metadata": metadata}, context)


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

    See :class:`~airflow_provider_trigger.operators.run.OneRunOperator` for XComs and outputs.

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

    def _to_start(self, context: Context) -> tuple[list[TaskRequest], Earlier | None]:
        from airflow_provider_trigger.run.identity import RunKey, content_of
        from airflow_provider_trigger.run.starts import Earlier
        from airflow_provider_trigger.sources.context import is_repeated, key_of_execution, task_instance_of

        identity = task_instance_of(context)
        is_retry = identity is not None and is_repeated(context)
        when = self._check_rendered(is_retry=is_retry)
        options = to_api(self._options, when)
        if identity:
            options["tags"] = [*options.get("tags", []), *identity.tags]
        key: RunKey | str | None = self.idempotency_key
        if key == AUTOMATIC_KEY:
            content = content_of(self.task_identifier, self.payload)
            key = key_of_execution(context, self, content=content)
        if key is not None:
            options["idempotencyKey"] = str(key)
        request = TaskRequest(task_identifier=self.task_identifier, payload=self.payload, options=options)
        self.log.info("Starting a run of Trigger.dev task %r", self.task_identifier)
        if isinstance(key, RunKey) and self.wait_for_completion and is_retry:
            return [request], Earlier(key=key, cancels=self.cancel_on_kill)
        return [request], None
