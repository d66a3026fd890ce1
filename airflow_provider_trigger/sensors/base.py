"""What the sensors share: their connection, and how they fail or are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import (
    AirflowException,
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
    """A sensor that is skipped, where it shall not fail, on every Airflow and however it waits."""

    trigger_dev_conn_id: str
    ui_color = "#e6eefc"

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after the trigger; its timeout is the sensor's: no retries, or skipped."""
        with self._skipping():
            try:
                return super().resume_execution(next_method, next_kwargs, context)
            except (AirflowSensorTimeout, TaskDeferralError) as error:
                if not has_deferral_timed_out(error):
                    raise
                raise AirflowSensorTimeout(str(error)) from error

    @contextmanager
    def _skipping(self) -> Iterator[None]:
        """Skip the task where it fails and shall not: on every Airflow as where it pokes."""
        try:
            yield
        except AirflowSkipException:
            raise
        except Exception as error:
            if self.never_fail or (self.soft_fail and isinstance(error, AirflowException)):
                raise AirflowSkipException(str(error)) from error
            raise

    def _hook(self) -> TriggerDevHook:
        from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

        return TriggerDevHook(self.trigger_dev_conn_id)
