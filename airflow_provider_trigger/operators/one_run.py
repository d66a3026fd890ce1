"""Base class of operators that start one run: start it, wait for it, and return its output."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.links.run import push_link
from airflow_provider_trigger.operators.base import RunsOperator
from airflow_provider_trigger.xcom_keys import RUN_ID_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
    from airflow_provider_trigger.run.guard import Guard
    from airflow_provider_trigger.run.starts import Started
    from airflow_provider_trigger.run.wait_settings import WaitSettings
    from airflow_provider_trigger.run.waited import Waited


class OneRunOperator(RunsOperator):
    """
    Start one run, and wait for it; a subclass says how it starts.

    The run's id is in XCom as ``run_id``, and its page in the dashboard as ``run_url``, as soon as the server
    has answered. The return value is the run's output, or its id where the operator does not wait. Where it
    waits, XCom ``run`` has at its end, also where the task fails, ``{"run_id", "run_url", "status",
    "task_identifier", "version", "attempts", "created_at", "started_at", "finished_at", "compute_seconds",
    "cost_in_cents", "metadata"}``, None for what is not known and for metadata above 48 KB; with
    ``do_xcom_push=False`` there is none. The same without metadata is in the events of the assets in
    ``outlets``, in ``extra`` under ``"trigger_dev"``.

    It takes the arguments of :class:`~airflow_provider_trigger.operators.base.RunsOperator`.

    :raises TriggerRunFailedError: when it runs: the run has ended without success; see
        :mod:`airflow_provider_trigger.exceptions`
    """

    def _start(self, client: TriggerDevClient, guard: Guard, context: Context) -> Started:
        """Start the run, or return one to take up."""
        raise NotImplementedError

    def execute(self, context: Context) -> Any:
        """Start the run and wait for it; see the class."""
        from airflow_provider_trigger.api.errors import TriggerDevError
        from airflow_provider_trigger.run.drive import StoppedError

        begun_at = time.time()
        hook = self._hook()
        try:
            # All that on_kill needs is made before anything is sent.
            with hook.client() as client, self._new_guard(hook) as guard:
                guard.raise_if_stopped()
                started = self._start(client, guard, context)
                guard.know(started.run_id)
                self._push(started.run_id, hook, context)
                guard.raise_if_stopped()
                if not self.wait_for_completion:
                    guard.release()
                    return started.run_id
                settings = self._wait_settings(hook, begun_at, age=started.run.age if started.run else 0.0)
                if self._defers(context) and not (started.run and started.run.is_success):
                    # The resumed task logs the end with what the run has used, which a query does not show.
                    self._defer([started.run_id], replace(settings, logs_end=False), guard, context)
                waited = self._wait(started, settings, client, guard)
                guard.release()
                return self._conclude(waited, started.run_id, client, hook, context)
        except StoppedError:
            run = f"Its run: {guard.run_id}" if guard.run_id else "Its run is not known"
            text = f"Airflow stopped the task (marked, cleared or timed out). {run}"
            raise AirflowException(text) from None
        except TriggerDevError as error:
            if error.may_have_effect:  # a retry would start a second run without a word
                raise AirflowFailException(str(error)) from None
            raise

    def _push(self, run_id: str, hook: TriggerDevHook, context: Context) -> None:
        """Push the run's id before anything else can fail."""
        ti: Any = context.get("ti")
        if ti is not None:  # an operator may be executed by hand
            ti.xcom_push(key=RUN_ID_KEY, value=run_id)
        push_link(self, hook.settings.run_url(run_id), context)

    def _wait(
        self, started: Started, settings: WaitSettings, client: TriggerDevClient, guard: Guard
    ) -> Waited:
        from airflow_provider_trigger.run.waited import Waited, WaitEnd

        if started.run and started.run.is_success:
            return Waited(end=WaitEnd.FINAL, run=started.run)
        return self._wait_here([started.run_id], settings, client, guard)[started.run_id]

    def _complete(self, event: Any, context: Context) -> Any:
        from airflow_provider_trigger.run.describe import state_of
        from airflow_provider_trigger.run.event import check_again, read_event

        [(run_id, waited)] = read_event(event).items()
        hook = self._hook()
        with hook.client(has_worked=True) as client:
            waited = check_again(run_id, waited, client)
            if waited.run is not None and waited.run.is_final:
                self.log.info("%s", state_of(waited.run))
            self.run_url = hook.settings.run_url(run_id)
            return self._conclude(waited, run_id, client, hook, context)

    def _conclude(
        self, waited: Waited, run_id: str, client: TriggerDevClient, hook: TriggerDevHook, context: Context
    ) -> Any:
        """Return the output of a run that has completed, or fail."""
        from airflow_provider_trigger.operators.conclusion import failure_of
        from airflow_provider_trigger.operators.known import keep_facts
        from airflow_provider_trigger.report.ends import why_no_output
        from airflow_provider_trigger.run.output import output_for_xcom

        run_url = hook.settings.run_url(run_id)
        keep_facts(self, waited.run, context, run_id=run_id, run_url=run_url)
        [end] = self._ends_of([run_id], {run_id: waited}, hook, context)
        self._write_logs([end], hook, fails=bool(end.reason))
        if reason := why_no_output(waited, run_url=run_url):
            raise AirflowException(reason)
        if waited.run is not None and waited.run.is_success:
            return output_for_xcom(waited.run, client, max_size=self.max_output_size, log=self.log)
        raise failure_of(end, run_url=run_url, log=self.log)
