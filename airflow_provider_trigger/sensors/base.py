"""The base of the sensors: they check, defer, resume, and log why they are skipped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import unwrap
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger import _compat
from airflow_provider_trigger.sources.arguments import TakesArguments

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
    from airflow_provider_trigger.run.watch import Pokes
    from airflow_provider_trigger.tokens.complete import TokenWait

_PAUSE_IN_DOUBT = 5.0  # between two checks, in seconds


class TriggerDevSensor(TakesArguments, _compat.BaseSensorOperator):
    """
    A sensor whose deferral ends in the same way on every Airflow, and that logs why it is skipped.

    :param deferrable: whether to wait in the triggerer, without a worker slot; None for Airflow's setting
        ``[operators] default_deferrable``. Not deferred, ``poke_interval`` counts
    """

    trigger_dev_conn_id: str
    ui_color = "#e6eefc"
    # Kept between two pokes of one execution; a sensor has the first two, or the last.
    _found: list[str] | None = None
    _pokes: Pokes | None = None
    _wait: TokenWait | None = None

    @property
    def _is_in_doubt(self) -> bool:
        """Whether failed checks may soon end the wait. Only this process knows since when they fail."""
        raise NotImplementedError

    def _check_once(self, context: Context) -> _compat.PokeReturnValue:
        """Check the runs or tokens once; defer if that is possible."""
        raise NotImplementedError

    def poke(self, context: Context) -> _compat.PokeReturnValue:
        """
        Check once; where it may, defer. A rescheduled sensor checks again while the answers are in doubt.

        :param context: of the task instance
        :raises AirflowException: it cannot succeed any more
        """
        checked = self._check_once(context)
        while not checked.is_done and self.reschedule and self._is_in_doubt:
            time.sleep(_PAUSE_IN_DOUBT)
            checked = self._check_once(context)
        return checked

    def _was_rescheduled(self, context: Context) -> bool:
        return bool(self.reschedule and _compat.first_reschedule_of(context, self))

    def execute(self, context: Context) -> Any:
        """Wait: poke, or defer; see the class."""
        self._found = self._pokes = self._wait = None  # `dag.test()` may execute one operator several times
        with self._logging_why_skipped():
            # Airflow 2.11 takes super().execute() for a call by hand, and warns, or fails.
            return unwrap(_compat.BaseSensorOperator.execute)(self, context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after the trigger, whose timeout is the sensor's, and ends it without retries."""
        with self._logging_why_skipped():
            try:
                return super().resume_execution(next_method, next_kwargs, context)
            except _compat.AirflowSkipException:
                raise
            except Exception as error:
                # Airflow forgets soft_fail here before 3.1, for a timeout, and never_fail on 2.11; and
                # everywhere, that the latter is for any error.
                if self.never_fail or (self.soft_fail and isinstance(error, _compat.AirflowException)):
                    raise _compat.AirflowSkipException(str(error)) from error
                if _compat.has_deferral_timed_out(error):
                    raise _compat.AirflowSensorTimeout(str(error)) from error
                raise

    @contextmanager
    def _logging_why_skipped(self) -> Iterator[None]:
        try:
            yield
        except _compat.AirflowSkipException as error:
            if error.__cause__ is not None:  # Airflow logs neither it nor its text
                self.log.warning("Skipped in place of failed: %s", error.__cause__)
            raise

    def _hook(self) -> TriggerDevHook:
        from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

        return TriggerDevHook(self.trigger_dev_conn_id)
