"""What every operator shares that has one run of its own: its XComs, its link, and its cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_trigger import defaults
from airflow_provider_trigger._compat import BaseOperator
from airflow_provider_trigger.defaults import RUN_ID_KEY
from airflow_provider_trigger.links.run import TriggerRunLink, push_link
from airflow_provider_trigger.validation import check_boolean, check_connection_id

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
    from airflow_provider_trigger.run.cancel_guard import CancelGuard
    from airflow_provider_trigger.run.start import Started

# The method that Airflow names where a trigger has failed or timed out.
_TRIGGER_FAILED = "__fail__"
_KILL_TIME = 4.0  # Airflow 3 sends SIGKILL after 5 s


class OwnRunOperator(BaseOperator):
    """
    Have one run, whose id and page are in XCom as soon as they are known; a subclass starts it.

    :param trigger_dev_conn_id: the connection; templated
    :param cancel_on_kill: whether the run is canceled when the task is cleared or marked, running or
        deferred, and when a timeout ends it; not when its process is killed (SIGKILL, out of memory): then
        the next try waits for the run
    """

    operator_extra_links = (TriggerRunLink(),)
    ui_color = "#e4f5e8"

    def __init__(
        self, *, trigger_dev_conn_id: str = defaults.CONN_ID, cancel_on_kill: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.trigger_dev_conn_id = trigger_dev_conn_id
        self.cancel_on_kill = cancel_on_kill
        self.run_url: str | None = None
        self._guard: CancelGuard | None = None
        self._is_killed = False
        check_connection_id(self._owner, trigger_dev_conn_id)
        check_boolean(self._owner, "cancel_on_kill", cancel_on_kill)

    @property
    def _owner(self) -> str:
        return f"{type(self).__name__} {self.task_id!r}"

    def _start(self, client: TriggerDevClient, guard: CancelGuard, context: Context) -> Started:
        """Start the run, or return one to take up."""
        raise NotImplementedError

    def _hook(self) -> TriggerDevHook:
        from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

        return TriggerDevHook(self.trigger_dev_conn_id)

    def _new_guard(self, hook: TriggerDevHook) -> CancelGuard:
        from airflow_provider_trigger.run.cancel_guard import CancelGuard

        client = hook.get_client(timeout=_KILL_TIME, retry_for=_KILL_TIME)
        guard = CancelGuard(client, cancels=self.cancel_on_kill, time_limit=_KILL_TIME, log=self.log)
        self._guard = guard
        guard.is_killed = self._is_killed  # perhaps before it was made
        return guard

    def _release(self) -> None:
        """Leave the run alone from now on."""
        if self._guard is not None:
            self._guard.release()

    def _push(self, run_id: str, hook: TriggerDevHook, context: Context) -> None:
        """Push the run's id before anything else can fail."""
        ti: Any = context.get("ti")
        if ti is not None:  # an operator may be executed by hand
            ti.xcom_push(key=RUN_ID_KEY, value=run_id)
        push_link(self, hook.settings.run_url(run_id), context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Go on after the trigger; where it failed or timed out, cancel the run first.

        :param next_method: of the operator, or Airflow's sign for a failure
        :param next_kwargs: for the method
        :param context: of the task instance
        """
        if next_method == _TRIGGER_FAILED:
            ti: Any = context["ti"]
            run_id = ti.xcom_pull(task_ids=self.task_id, key=RUN_ID_KEY, map_indexes=ti.map_index)
            if isinstance(run_id, str):
                with self._new_guard(self._hook()) as guard:
                    guard.run_id = run_id
                    guard.kill()
        return super().resume_execution(next_method, next_kwargs, context)

    def on_kill(self) -> None:
        """
        Cancel the run, within 4 s.

        Airflow 3 calls it in a signal handler, where no connection can be fetched; ``execute`` goes on then.
        """
        self._is_killed = True
        if self._guard is not None:
            self._guard.kill()
