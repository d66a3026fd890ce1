"""Create waitpoint tokens, for which runs and tasks of Airflow can wait, and complete them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_trigger import defaults
from airflow_provider_trigger._compat import BaseOperator
from airflow_provider_trigger.log import counted, write
from airflow_provider_trigger.operators.base import conclude, push_results
from airflow_provider_trigger.rules import RENDERED, Circumstances, Duration, choice, connection_id
from airflow_provider_trigger.run.request import TOKEN_OPTIONS, check_data, to_api
from airflow_provider_trigger.sources.arguments import ChecksRendered, TakesTokenIds, check_arguments

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.tokens.complete import CompletionResult

RULES = {"trigger_dev_conn_id": connection_id}
_REACTIONS = dict.fromkeys(("on_empty", "on_timed_out", "on_not_found"), choice("fail", "ignore"))


class CreateWaitpointTokenOperator(ChecksRendered, BaseOperator):
    """
    Create a waitpoint token, and return its id and its address: ``{"id", "url"}``.

    A run waits for it by ``wait.forToken``, and continues once somebody has completed it: with the id, by
    :class:`CompleteWaitpointTokenOperator` or Trigger.dev's SDK; or with the ``url``, **which needs no key**:
    anybody who has it can complete the token, by a POST of JSON. It is in XCom, and nowhere in the log.

    Id and address are XComs of their own, too: ``made.output["id"]``, ``made.output["url"]``.

    A task instance has one token, as it has one run: a retry gets it again, also after a crash, and clearing
    a task that has ended creates a new one. A token cannot be canceled.

    :param timeout: how long it can be completed: seconds, a timedelta, or a text such as ``"5m"``, 1 s or
        more, rounded up to seconds; then it is TIMED_OUT, and what waits for it continues. It counts from the
        token's creation. None for no limit; templated
    :param tags: up to 10, of up to 128 characters, without a comma; templated
    :raises ValueError: when the Dag is parsed: an argument is invalid; where it is templated, or in a mapped
        task, when it runs: then it fails without retries, before anything is sent
    """

    rendered_arguments: ClassVar[dict[str, str]] = {"timeout": "timeout", "tags": "tags"}
    template_fields: Sequence[str] = (*rendered_arguments, "trigger_dev_conn_id")
    ui_color = "#e4eef8"

    output: Any  # which has keys

    def __init__(
        self,
        *,
        timeout: Duration | None = None,
        tags: str | Sequence[str] | None = None,
        trigger_dev_conn_id: str = defaults.CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"multiple_outputs": True, **kwargs})
        self.timeout: Any = timeout
        self.tags = tags
        self.trigger_dev_conn_id = trigger_dev_conn_id
        check_arguments(self, RULES)
        self._check_given()

    def _check(self, when: Circumstances) -> None:
        to_api(self._rendered, when, TOKEN_OPTIONS)

    def execute(self, context: Context) -> dict[str, str]:
        """Create the token; see the class."""
        from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
        from airflow_provider_trigger.run.identity import content_of
        from airflow_provider_trigger.sources.context import key_of_execution

        self._check_rendered()
        options = to_api(self._rendered, RENDERED, TOKEN_OPTIONS)
        key = key_of_execution(context, self, content=content_of("", options))
        hook = TriggerDevHook(self.trigger_dev_conn_id)
        token = hook.create_waitpoint_token(**options, idempotency_key=None if key is None else str(key))
        text = "Created waitpoint token %s"
        if token.is_cached:
            text = "Waitpoint token %s exists: an earlier try or request of this task has created it"
        self.log.info(text, token.id)
        return {"id": token.id, "url": token.url}


class CompleteWaitpointTokenOperator(TakesTokenIds, ChecksRendered, BaseOperator):
    """
    Complete waitpoint tokens, so that what waits for them continues, and report what became of each.

    No token's failure stops another. The return value, in XCom also when the task fails, is a list in the
    ids' order of ``{"token_id", "outcome", "status"}``, and ``"error"`` where the outcome is ``failed`` or
    ``accepted``; see :class:`airflow_provider_trigger.tokens.complete.CompletionOutcome`. A token that
    somebody has completed already counts as success, and keeps the data that it has. There is no completion
    as an error: give data that say so.

    The task is not retried where that cannot help: a rejected key, an unknown token, one that has timed out,
    an invalid value.

    :param data: what the tokens are completed with: any JSON, up to 512 KB, with integers up to 2^53;
        templated at any depth, and the outputs of tasks may be in it
    :param on_empty: ``"fail"``: a source without token ids fails the task; ``"ignore"``: it is a warning in
        the log
    :param on_timed_out: ``"fail"``: a token that has timed out fails the task, as what waited for it went on
        without the data; ``"ignore"``: it does not
    :param on_not_found: the same for a token that this key's environment does not have
    :raises ValueError: when the Dag is parsed: neither ``token_ids`` nor ``xcom_task_ids``, a task in place
        of its id, or an invalid value; where it is templated, or in a mapped task, when it runs: then it
        fails without retries, before anything is sent
    """

    rendered_arguments: ClassVar[dict[str, str]] = {"data": "data"}
    template_fields: Sequence[str] = (*TakesTokenIds.template_fields, "data", "trigger_dev_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"data": "json"}
    ui_color = "#e4eef8"
    _is_stopped = False

    def __init__(
        self,
        *,
        token_ids: Any = None,
        xcom_task_ids: str | Iterable[str] | None = None,
        xcom_key: str | None = None,
        data: Any = None,
        trigger_dev_conn_id: str = defaults.CONN_ID,
        on_empty: Literal["fail", "ignore"] = "fail",
        on_timed_out: Literal["fail", "ignore"] = "fail",
        on_not_found: Literal["fail", "ignore"] = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.data = data
        self.trigger_dev_conn_id = trigger_dev_conn_id
        self.on_empty = on_empty
        self.on_timed_out = on_timed_out
        self.on_not_found = on_not_found
        self._take_ids(token_ids, xcom_task_ids=xcom_task_ids, xcom_key=xcom_key)
        check_arguments(self, {**RULES, **_REACTIONS})
        self._check_given()

    def _check(self, when: Circumstances) -> None:
        check_data("data", self.data, when)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Complete the tokens; see the class."""
        from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
        from airflow_provider_trigger.report.cancels import TOKEN, each_token, report_of_completion, summary

        self._check_rendered()
        ids, conn_id = self._gather_ids(context, on_empty=self.on_empty), self.trigger_dev_conn_id
        reactions = {"timed_out": self.on_timed_out, "not_found": self.on_not_found}
        ignored = [outcome for outcome, reaction in reactions.items() if reaction == "ignore"]
        results: list[CompletionResult] = []
        if ids.found:
            hook = TriggerDevHook(conn_id)
            self.log.info("Completing %s on %s", counted(len(ids.found), TOKEN), hook.settings.base_url)
            with hook.completion(self.data, is_stopped=lambda: self._is_stopped) as work:
                try:
                    work.run(ids.found)
                finally:
                    # Also where Airflow ends it: at the execution_timeout, or at a stop.
                    results = work.results
                    push_results(self, results, context)
                    lines = [*each_token(results, ignored=ignored), ("info", summary(results, TOKEN))]
                    write(self.log, lines)
        report = report_of_completion(results, ids, conn_id=conn_id, on_empty=self.on_empty, ignored=ignored)
        return conclude(self, results, report, context)

    def on_kill(self) -> None:
        """Send nothing more: the results so far are logged, and are in XCom."""
        self._is_stopped = True
