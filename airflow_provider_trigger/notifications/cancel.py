"""Cancel runs from a callback of a Dag or a task."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import BaseNotifier, XComArg, get_async_connection, xcom_is_out_of_reach
from airflow_provider_trigger.sources.run_ids import RunIds
from airflow_provider_trigger.sources.xcom import add_pushed
from airflow_provider_trigger.validation import check_number, check_sources

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

_USE_INSTEAD = (
    "give run_ids, or add a CancelTriggerRunOperator with trigger_rule='one_failed', which works everywhere"
)


def _holds_output(value: object) -> bool:
    """Tell whether a task's output stands somewhere in lists, tuples and dicts."""
    if isinstance(value, dict):
        return any(map(_holds_output, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_holds_output, value))
    return isinstance(value, XComArg)


class CancelTriggerRunNotifier(BaseNotifier):
    """
    Cancel Trigger.dev runs from ``on_failure_callback``, ``on_retry_callback`` and the like.

    Works for a task's callbacks and for a Dag's, and with explicit ``run_ids`` for a deadline alert. All is
    told in one summary line in the log of the process that runs it; nothing is raised for a run that could
    not be canceled, as nobody would hear it. Running it twice does no harm.

    :param run_ids: a list or a text; templated. Not the output of a task: for that there is ``xcom_task_ids``
    :param xcom_task_ids: the tasks whose XCom holds ids, of a mapped one all instances', but in its own
        callback and within a mapped task group its own instance's; beside ``run_ids``, both count; templated
    :param xcom_key: the key of that XCom; templated
    :param trigger_dev_conn_id: the connection; templated
    :param timeout: for all of it, in seconds; when time runs out, as many runs as possible were stopped
    :param max_concurrency: how many requests are on their way at a time
    :param context: given by Airflow where the notifier is awaited
    :raises ValueError: when the Dag is parsed: neither ``run_ids`` nor ``xcom_task_ids``, a task's output in
        ``run_ids``, a task in place of its id, or a value out of range
    """

    template_fields: Sequence[str] = ("run_ids", "xcom_task_ids", "xcom_key", "trigger_dev_conn_id")

    def __init__(
        self,
        *,
        run_ids: Any = None,
        xcom_task_ids: str | Iterable[str] | None = None,
        xcom_key: str = "return_value",
        trigger_dev_conn_id: str = "trigger_dev_default",
        timeout: float = 30,
        max_concurrency: int = 32,
        context: Context | None = None,
    ) -> None:
        super().__init__()
        self.context: Any = context or {}
        self.run_ids = run_ids
        self.xcom_task_ids = xcom_task_ids
        self.xcom_key = xcom_key
        self.trigger_dev_conn_id = trigger_dev_conn_id
        self.timeout = timeout
        self.max_concurrency = max_concurrency
        self._check_arguments()

    def _check_arguments(self) -> None:
        name = type(self).__name__
        check_sources(name, run_ids=self.run_ids, xcom_task_ids=self.xcom_task_ids)
        if _holds_output(self.run_ids):
            raise ValueError(
                f"{name}: a callback cannot resolve a task's output in run_ids; use xcom_task_ids"
            )
        check_number(name, "timeout", self.timeout, least=0.01, unit="seconds")
        check_number(name, "max_concurrency", self.max_concurrency, least=1, unit="requests", whole=True)

    def __call__(self, *args: Any) -> None:
        """
        Render and cancel.

        :param args: the context
        """
        # Rendering is for good, and one notifier is called for many Dag runs: the first one's ids would stay.
        super(CancelTriggerRunNotifier, copy.copy(self)).__call__(*args)

    def __await__(self) -> Generator[Any, None, None]:
        """Render and cancel, in the triggerer."""
        return super(CancelTriggerRunNotifier, copy.copy(self)).__await__()

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """
        Render this notifier's fields, in place.

        :param context: of the callback
        :param jinja_env: what to render with
        """
        if jinja_env is None and not hasattr(context.get("dag"), "get_template_env"):
            # Under ``dag.test()`` of Airflow 3 a Dag callback gets a serialized Dag, which has none.
            jinja_env = self.get_template_env()
        super().render_template_fields(context, jinja_env)

    def notify(self, context: Context) -> None:
        """
        Cancel the runs.

        :param context: of the task or the Dag run
        :raises AirflowNotFoundException: there is no such connection
        :raises InvalidConnectionError: a field of the connection is missing or malformed
        """
        from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

        started_at = time.monotonic()
        if run_ids := self._gather(context):
            self._cancel(run_ids, TriggerDevHook(self.trigger_dev_conn_id), started_at)

    async def async_notify(self, context: Context) -> None:
        """
        Cancel the runs off the event loop's thread; for deadline alerts, whose context has no XCom.

        :param context: of the deadline
        :raises AirflowNotFoundException: there is no such connection
        :raises InvalidConnectionError: a field of the connection is missing or malformed
        """
        from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

        started_at = time.monotonic()
        if run_ids := self._gather(context):
            connection = await get_async_connection(self.trigger_dev_conn_id)
            hook = TriggerDevHook(self.trigger_dev_conn_id, connection=connection)
            await asyncio.to_thread(self._cancel, run_ids, hook, started_at)

    def _gather(self, context: Context) -> list[str]:
        from airflow_provider_trigger.reporting import log_sources

        ids = RunIds()
        if self.run_ids is not None:
            ids.add(self.run_ids, source="run_ids")
        if self.xcom_task_ids:
            self._gather_from_xcom(ids, context)
        log_sources(self.log, ids)
        if not ids.found:
            self.log.info("There are no run ids, so there is nothing to cancel")
        return ids.found

    def _gather_from_xcom(self, ids: RunIds, context: Context) -> None:
        if context.get("ti") is None:
            self.log.error("No XCom for this callback: its context has no task instance; %s", _USE_INSTEAD)
            return
        if xcom_is_out_of_reach():
            self.log.error("No XCom for a callback in the Dag processor of this Airflow; %s", _USE_INSTEAD)
            return
        try:
            add_pushed(ids, context, task_ids=self.xcom_task_ids or [], key=self.xcom_key)
        except Exception as error:
            # Any error: Airflow's versions differ in how they refuse, and other ids are to be canceled.
            self.log.error(
                "No XCom for this callback (%s: %s); %s", type(error).__name__, error, _USE_INSTEAD
            )

    def _cancel(self, run_ids: list[str], hook: TriggerDevHook, started_at: float) -> None:
        from airflow_provider_trigger.api.errors import AuthenticationError
        from airflow_provider_trigger.cancel.cancellation import Cancellation
        from airflow_provider_trigger.reporting import doubt, enumeration, failures, missing, summary

        with hook.get_client(max_connections=self.max_concurrency) as client:
            work = Cancellation(
                client=client,
                run_ids=run_ids,
                max_concurrency=self.max_concurrency,
                time_limit=max(0.0, started_at + self.timeout - time.monotonic()),
            )
            try:
                work.run()
            except AuthenticationError as error:
                self.log.error(
                    "Connection %r: the secret key was rejected, so canceling ended: %s",
                    self.trigger_dev_conn_id,
                    error,
                )
        parts = [f"{len(run_ids)} Trigger.dev runs: {summary(work.results)}"]
        if failed := failures(work.results):
            parts.append(f"not canceled: {failed}")
        if unknown := missing(work.results):
            parts.append(f"not found: {enumeration(unknown)}")
        if hint := doubt(work.results, self.trigger_dev_conn_id):
            parts.append(hint)
        log = self.log.error if failed else self.log.warning if unknown else self.log.info
        log("%s", " - ".join(parts))
