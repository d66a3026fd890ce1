"""Start a run again, and wait for the new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.statuses import RETRY_STATUSES
from airflow_provider_trigger.operators.run import OneRunOperator
from airflow_provider_trigger.rules import Duration
from airflow_provider_trigger.run.request import TaskRequest
from airflow_provider_trigger.sources.arguments import arguments_of
from airflow_provider_trigger.sources.run_ids import exactly_one

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.run.earlier import Earlier


class ReplayTriggerRunOperator(OneRunOperator):
    """
    Start a run again, with the same payload, tags and metadata, wait for it, and return its output.

    The original is not changed. A replay has no idempotency key (measured): where its answer is lost, the
    error says that a run may exist, and the task is not retried; after any other error a retry starts
    another replay.

    See :class:`~airflow_provider_trigger.operators.run.OneRunOperator` for XComs and outputs.

    :param run_id: the run to start again: its id, or any value that holds exactly one, such as a task's
        output; templated
    :raises ValueError: when the Dag is parsed: the run id is missing
    """

    template_fields: Sequence[str] = ("run_id", "trigger_dev_conn_id")

    run_id: Any

    def __init__(
        self,
        *,
        run_id: Any,
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
        super().__init__(**kwargs)
        self._take(locals())
        with arguments_of(self):
            if not run_id:
                raise ValueError(f"run_id must be the id of a run, not {run_id!r}")

    def _to_start(self, context: Context) -> tuple[list[TaskRequest], Earlier | None]:
        with arguments_of(self, are_rendered=True):
            run_id = exactly_one(self.run_id)
        self.log.info("Replaying run %s", run_id)
        return [TaskRequest(replay_of=run_id)], None
