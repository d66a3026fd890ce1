"""Complete waitpoint tokens from a callback of a Dag or a task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_trigger import defaults
from airflow_provider_trigger.notifications.base import IdsNotifier
from airflow_provider_trigger.rules import Circumstances, Duration, connection_id, duration
from airflow_provider_trigger.run.request import check_data
from airflow_provider_trigger.sources import arguments

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.api.limits import Deadline
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
    from airflow_provider_trigger.sources.run_ids import Reaction, RunIds
    from airflow_provider_trigger.tokens.complete import CompletionResult

RULES = {"trigger_dev_conn_id": connection_id, "timeout": duration(least=0.01)}

# A callback cannot resolve the output of a task.
_PARSED = Circumstances(skip=lambda value: isinstance(value, str) and arguments.is_templated(value))


class CompleteWaitpointTokenNotifier(arguments.TakesTokenIds, IdsNotifier):
    """
    Complete waitpoint tokens from ``on_failure_callback``, ``on_success_callback`` and the like.

    So a run that waits for Airflow learns that a task or a Dag has failed, for example with
    ``data={"failed": True, "dag": "{{ dag.dag_id }}"}``. It works for a task's callbacks, for a Dag's, and
    for a deadline alert. The log of the process that runs it gets a line for each token and a summary;
    nothing is raised for a token that could not be completed, or for a source without ids, which is an error
    in the log. Running it twice does no harm: a token keeps the data that it has got first.

    :param token_ids: a list or a text, also ``{"id", "url"}`` and the addresses of tokens; templated. Not the
        output of a task: for that there is ``xcom_task_ids``
    :param data: what the tokens are completed with: any JSON, up to 512 KB, with integers up to 2^53;
        templated at any depth
    :param timeout: for the whole call: seconds, a timedelta, or a text such as ``"5m"``
    :param context: given by Airflow where the notifier is awaited
    :raises ValueError: when the Dag is parsed: neither ``token_ids`` nor ``xcom_task_ids``, a task's output
        in ``token_ids`` or ``data``, a task in place of its id, or an invalid value; when it runs: ``data``
        became invalid
    :raises TypeError: the class itself is the callback, or arguments are given by position
    """

    template_fields: Sequence[str] = (*arguments.TakesTokenIds.template_fields, "data", "trigger_dev_conn_id")
    _on_empty: ClassVar[Reaction] = "fail"

    def __init__(
        self,
        *args: Any,
        token_ids: Any = None,
        xcom_task_ids: str | Iterable[str] | None = None,
        xcom_key: str | None = None,
        data: Any = None,
        trigger_dev_conn_id: str = defaults.CONN_ID,
        timeout: Duration = defaults.NOTIFIER_TIMEOUT,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(*args)
        self.context: Any = context or {}
        self._take_ids(token_ids, xcom_task_ids=xcom_task_ids, xcom_key=xcom_key)
        self.data = data
        self.trigger_dev_conn_id = trigger_dev_conn_id
        self.timeout: Any = timeout
        arguments.check_arguments(self, RULES)
        with arguments.arguments_of(self):
            check_data("data", self.data, _PARSED)

    def _left(self, ids: RunIds) -> list[str]:
        from airflow_provider_trigger.report.cancels import tokens_left

        return tokens_left(len(ids.found), ids)

    def _work(
        self, context: Context, ids: RunIds, hook: TriggerDevHook | None, deadline: Deadline, origin: str
    ) -> None:
        from airflow_provider_trigger.log import write
        from airflow_provider_trigger.report.cancels import each_token, of_callback, report_of_completion

        check_data("data", self.data)
        results: list[CompletionResult] = []
        if hook is not None:
            with hook.completion(self.data, deadline=deadline) as work:
                results = work.run(ids.found)
        report = report_of_completion(results, ids, conn_id=self.trigger_dev_conn_id, on_empty=self._on_empty)
        lines = [*each_token(results), of_callback(report)]
        write(self.log, lines, origin=origin)
