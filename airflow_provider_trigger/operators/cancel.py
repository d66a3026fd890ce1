"""Cancel the runs whose ids other tasks handed over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_trigger._compat import AirflowException, AirflowFailException, BaseOperator
from airflow_provider_trigger.sources.run_ids import RunIds
from airflow_provider_trigger.sources.xcom import add_pushed
from airflow_provider_trigger.validation import check_number, check_sources

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.cancel.cancellation import Cancellation
    from airflow_provider_trigger.cancel.outcome import CancelResult


class CancelTriggerRunOperator(BaseOperator):
    """
    Cancel Trigger.dev runs, all of them, and say of each what became of it.

    A run that has already ended counts as success. No run's failure stops another: what failed is told at the
    end, when all was tried. The return value, which stays in XCom also when the task fails, is a list in the
    ids' order of ``{"run_id", "outcome", "status", "task_identifier", "terminated"}``, with ``"error"`` where
    the outcome is ``failed``; see :class:`airflow_provider_trigger.cancel.outcome.CancelOutcome`.

    The task fails without retries where another try cannot help (a rejected key, an unknown run, a value that
    is no run id), and otherwise as its ``retries`` say; a retry sends everything again, which is safe.

    :param run_ids: a list, a text, the output of tasks, mapped ones too; templated
    :param xcom_task_ids: the tasks whose XCom holds ids, of a mapped one all instances', but within a mapped
        task group its own instance's; beside ``run_ids``, both count; templated
    :param xcom_key: the key of that XCom; templated
    :param trigger_dev_conn_id: the connection; templated
    :param on_not_found: whether a run that this key's environment does not have is a failure
    :param wait_for_termination: whether to wait until the canceled runs are over, their workers too
    :param termination_timeout: how long to wait for that in all, in seconds; what is not over then is
        ``"terminated": false``, and no failure
    :param poll_interval: between two looks while waiting, in seconds
    :param max_concurrency: how many requests are on their way at a time
    :raises ValueError: when the Dag is parsed: neither ``run_ids`` nor ``xcom_task_ids``, a task in place of
        its id, or a value out of range
    """

    template_fields: Sequence[str] = ("run_ids", "xcom_task_ids", "xcom_key", "trigger_dev_conn_id")
    ui_color = "#fde8e4"

    def __init__(
        self,
        *,
        run_ids: Any = None,
        xcom_task_ids: str | Iterable[str] | None = None,
        xcom_key: str = "return_value",
        trigger_dev_conn_id: str = "trigger_dev_default",
        on_not_found: Literal["fail", "ignore"] = "fail",
        wait_for_termination: bool = False,
        termination_timeout: float = 90,
        poll_interval: float = 2,
        max_concurrency: int = 32,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_ids = run_ids
        self.xcom_task_ids = xcom_task_ids
        self.xcom_key = xcom_key
        self.trigger_dev_conn_id = trigger_dev_conn_id
        self.on_not_found = on_not_found
        self.wait_for_termination = wait_for_termination
        self.termination_timeout = termination_timeout
        self.poll_interval = poll_interval
        self.max_concurrency = max_concurrency
        self._killed = False
        self._check_arguments()

    def _check_arguments(self) -> None:
        task = f"{type(self).__name__} {self.task_id!r}"
        check_sources(task, run_ids=self.run_ids, xcom_task_ids=self.xcom_task_ids)
        if self.on_not_found not in ("fail", "ignore"):
            raise ValueError(f"{task}: on_not_found is 'fail' or 'ignore', not {self.on_not_found!r}")
        check_number(task, "termination_timeout", self.termination_timeout, least=0, unit="seconds")
        check_number(task, "poll_interval", self.poll_interval, least=0.01, unit="seconds")
        check_number(task, "max_concurrency", self.max_concurrency, least=1, unit="requests", whole=True)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Cancel the runs; see the class."""
        from airflow_provider_trigger.reporting import log_sources

        ids = self._gather(context)
        log_sources(self.log, ids)
        results = self._cancel(ids.found, context) if ids.found else []
        if not ids.found:
            self.log.info("There are no run ids, so there is nothing to cancel")
        if reason := self._failure(results, ids):
            curable = any(result.retryable for result in results if result.error)
            self._keep(results, context)
            raise (AirflowException if curable else AirflowFailException)(reason)
        return [result.to_dict() for result in results]

    def _gather(self, context: Context) -> RunIds:
        ids = RunIds()
        if self.run_ids is not None:
            ids.add(self.run_ids, source="run_ids")
        if self.xcom_task_ids:
            add_pushed(ids, context, task_ids=self.xcom_task_ids, key=self.xcom_key)
        return ids

    def _cancel(self, run_ids: list[str], context: Context) -> list[CancelResult]:
        from airflow_provider_trigger.api.errors import AuthenticationError
        from airflow_provider_trigger.cancel.cancellation import Cancellation
        from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
        from airflow_provider_trigger.reporting import log_results

        hook = TriggerDevHook(self.trigger_dev_conn_id)
        with hook.get_client(max_connections=self.max_concurrency) as client:
            self.log.info("Canceling %d Trigger.dev runs on %s", len(run_ids), client.base_url)
            work = Cancellation(
                client=client,
                run_ids=run_ids,
                max_concurrency=self.max_concurrency,
                termination_timeout=self.termination_timeout if self.wait_for_termination else None,
                poll_interval=self.poll_interval,
                is_stopped=lambda: self._killed,
            )
            try:
                work.run()
            except AuthenticationError as error:
                self._keep(work.results, context)
                raise AirflowFailException(
                    f"Connection {self.trigger_dev_conn_id!r}: the secret key was rejected, "
                    f"so canceling ended: {error}"
                ) from None
            except BaseException:
                # Airflow's own, which ends execute() at the execution_timeout and, on 2.11, at a kill.
                self._keep(work.results, context)
                raise
            finally:
                log_results(self.log, work.results, hook.settings.run_url)
        self._check_whole(work, context)
        return work.results

    def _check_whole(self, work: Cancellation, context: Context) -> None:
        from airflow_provider_trigger.cancel.outcome import CancelOutcome
        from airflow_provider_trigger.reporting import enumeration

        if work.stopped:
            self._keep(work.results, context)
            raise AirflowException("The task was killed before all runs were canceled")
        unterminated = [
            result.run_id
            for result in work.results
            if result.outcome is CancelOutcome.CANCELED and not result.terminated
        ]
        if self.wait_for_termination and unterminated:
            self.log.warning(
                "Not over within %s s, though canceled: %s",
                self.termination_timeout,
                enumeration(unterminated),
            )

    def _failure(self, results: list[CancelResult], ids: RunIds) -> str | None:
        """Return why the task fails, None if it does not."""
        from airflow_provider_trigger.reporting import doubt, enumeration, failures, missing, summary

        reasons = []
        if failed := failures(results):
            reasons.append(f"not canceled: {failed}")
        if self.on_not_found == "fail" and (unknown := missing(results)):
            reasons.append(f"not found: {enumeration(unknown)}")
        if hint := doubt(results, self.trigger_dev_conn_id):
            self.log.warning(hint)
            reasons += [hint] if reasons else []
        if ids.unreadable:
            reasons.append(f"no run ids: {enumeration(ids.unreadable, '; ')}")
        return f"{summary(results)} - " + "; ".join(reasons) if reasons else None

    def _keep(self, results: list[CancelResult], context: Context) -> None:
        """Leave the results in XCom although the task fails; Airflow itself keeps only those of a success."""
        ti: Any = context.get("ti")
        if not self.do_xcom_push or ti is None:
            return
        try:
            ti.xcom_push(key="return_value", value=[result.to_dict() for result in results])
        except Exception as error:
            # Any error: an XCom backend may raise what it likes, and must not hide why the task fails.
            self.log.error("The results are not in XCom: %s: %s", type(error).__name__, error)

    def on_kill(self) -> None:
        """
        Leave: nothing new is sent, and ``execute`` ends within a second.

        It only sets a flag, as Airflow 3 calls it in a signal handler, where a lock could be held already.
        """
        self._killed = True
