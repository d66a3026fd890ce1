"""What the sensors share: their connection, their time limit while deferred, and why they are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    has_deferral_timed_out,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook


class TriggerDevSensor(BaseSensorOperator):
    """A sensor whose deferral ends in the same way on every Airflow, and that logs why it is skipped."""

    trigger_dev_conn_id: str
    ui_color = "#e6eefc"

    def execute(self, context: Context) -> Any:
        """Poke, or defer."""
        with self._logging_why_skipped():
            return super().execute(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after the trigger, whose timeout is the sensor's, and ends it without retries."""
        with self._logging_why_skipped():
            try:
                return super().resume_execution(next_method, next_kwargs, context)
            except AirflowSkipException:
                raise
            except AirflowException as error:
                # Airflow forgets the first here before 3.1, for a timeout, and the second on 2.11.
                if self.soft_fail or self.never_fail:
                    raise AirflowSkipException(str(error)) from error
                if has_deferral_timed_out(error):
                    raise AirflowSensorTimeout(str(error)) from error
                raise

    @contextmanager
    def _logging_why_skipped(self) -> Iterator[None]:
        try:
            yield
        except AirflowSkipException as error:
            if error.__cause__ is not None:  # Airflow logs neither it nor its text
                self.log.warning("Skipped in place of failed: %s", error.__cause__)
            raise

    def _hook(self) -> TriggerDevHook:
        from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

        return TriggerDevHook(self.trigger_dev_conn_id)
