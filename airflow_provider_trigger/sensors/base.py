"""What the sensors share: their connection, and their time limit while deferred."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import (
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    TaskDeferralError,
    has_deferral_timed_out,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook


class TriggerDevSensor(BaseSensorOperator):
    """A sensor whose ``timeout`` ends it without retries also while it is deferred, on every Airflow."""

    trigger_dev_conn_id: str
    ui_color = "#e6eefc"

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after the trigger, whose timeout is the sensor's."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (AirflowSensorTimeout, TaskDeferralError) as error:
            if not has_deferral_timed_out(error):
                raise
            # Before Airflow 3.1, it forgets soft_fail here.
            kind = AirflowSkipException if self.soft_fail else AirflowSensorTimeout
            raise kind(str(error)) from error

    def _hook(self) -> TriggerDevHook:
        from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

        return TriggerDevHook(self.trigger_dev_conn_id)
