"""What every operator shares that has one run of its own: wait for it, return its output, cancel it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger import defaults
from airflow_provider_trigger._compat import AirflowException, AirflowFailException, default_deferrable
from airflow_provider_trigger.api.models.statuses import FINAL_STATUSES, RETRY_STATUSES
from airflow_provider_trigger.operators.own_run import OwnRunOperator
from airflow_provider_trigger.validation import check_boolean, check_final_statuses, check_number

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
    from airflow_provider_trigger.run.cancel_guard import CancelGuard
    from airflow_provider_trigger.run.start import Started
    from airflow_provider_trigger.run.wait import Waited, WaitSettings


class RunWaitingOperator(OwnRunOperator):
    """
    Start one run, and wait for it; a subclass says how it starts.

    The run's id is in XCom as ``run_id``, and its page in the dashboard as ``run_url``, as soon as the server
    has answered. The return value is the run's output, or its id where the operator does not wait.

    :param trigger_dev_conn_id: the connection; templated
    :param wait_for_completion: whether to wait until the run has ended
    :param deferrable: whether to wait in the triggerer, without a worker slot; None for Airflow's setting
        ``[operators] default_deferrable``
    :param poll_interval: between two status checks, in seconds; None for a tenth of the run's age, between 2
        and 30 s
    :param timeout: how long the run may take from its creation, in seconds, the time deferred included; then
        it is canceled, and the task fails. None for no limit
    :param pending_version_timeout: how long the run may wait for a deployed version that has its task, in
        seconds; then it is canceled, and the task fails
    :param cancel_on_kill: whether the run is canceled when the task is cleared or marked, running or
        deferred, and when a timeout ends it; not when its process is killed (SIGKILL, out of memory): then
        the next try waits for the run
    :param retry_statuses: the final statuses after which the task is retried; after every other one but
        COMPLETED it fails for good
    :param max_output_size: of the output in XCom, in bytes of JSON; a larger one is replaced by
        ``{"run_id", "output_size"}``, and ``TriggerDevHook.get_output`` returns it
    """

    def __init__(
        self,
        *,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float | None = None,
        timeout: float | None = None,
        pending_version_timeout: float = defaults.PENDING_VERSION_TIMEOUT,
        retry_statuses: Sequence[str] = RETRY_STATUSES,
        max_output_size: int = defaults.MAX_OUTPUT_SIZE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait_for_completion = wait_for_completion
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.pending_version_timeout = pending_version_timeout
        self.retry_statuses = retry_statuses
        self.max_output_size = max_output_size
        self._try_number: int | None = None
        self._check_waiting()

    def _check_waiting(self) -> None:
        owner = self._owner
        for name in ("wait_for_completion", "deferrable"):
            check_boolean(owner, name, getattr(self, name))
        for name in ("poll_interval", "timeout"):
            if getattr(self, name) is not None:
                check_number(owner, name, getattr(self, name), least=0.01, unit="seconds")
        check_final_statuses(owner, "retry_statuses", self.retry_statuses, known=FINAL_STATUSES)
        check_number(owner, "pending_version_timeout", self.pending_version_timeout, least=0, unit="seconds")
        check_number(owner, "max_output_size", self.max_output_size, least=0, unit="bytes", whole=True)

    def execute(self, context: Context) -> Any:
        """Start the run and wait for it; see the class."""
        from airflow_provider_trigger.api.errors import TriggerDevError
        from airflow_provider_trigger.run.drive import StoppedError

        begun_at = time.time()
        self._try_number = _try_number(context)
        hook = self._hook()
        try:
            # All that on_kill needs is made before anything is sent.
            with hook.client() as client, self._new_guard(hook) as guard:
                guard.raise_if_killed()
                started = self._start(client, guard, context)
                guard.run_id = started.run_id
                self._push(started.run_id, hook, context)
                guard.raise_if_killed()
                return self._wait(started, guard, client, hook, begun_at)
        except StoppedError:
            raise AirflowException(f"The task was killed; its run: {guard.run_id or 'not known'}") from None
        except TriggerDevError as error:
            if error.may_have_effect:  # a retry would start a second run without a word
                raise AirflowFailException(str(error)) from None
            raise

    def _wait(
        self,
        started: Started,
        guard: CancelGuard,
        client: TriggerDevClient,
        hook: TriggerDevHook,
        begun_at: float,
    ) -> Any:
        from airflow_provider_trigger.run.drive import drive
        from airflow_provider_trigger.run.wait import Waited, WaitEnd, WaitSettings, wait_for_run

        if not self.wait_for_completion:
            self._release()
            return started.run_id
        run = started.run
        if run and run.is_success:
            return self._conclude(Waited(end=WaitEnd.FINAL, run=run), run.id, client)
        settings = WaitSettings(
            run_url=self.run_url or "",
            poll_interval=self.poll_interval,
            deadline=self._deadline(begun_at, created_at=time.time() - (run.age if run else 0.0)),
            pending_version_timeout=self.pending_version_timeout,
            patience=hook.settings.retry_for,
            cancels=self.cancel_on_kill,
        )
        if self.deferrable:
            self._defer(started.run_id, settings)
        steps = wait_for_run(started.run_id, settings, log=self.log)
        waited = drive(steps, client, is_stopped=lambda: guard.is_killed)
        return self._conclude(waited, started.run_id, client)

    def _defer(self, run_id: str, settings: WaitSettings) -> None:
        from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger

        trigger = TriggerDevRunTrigger(
            trigger_dev_conn_id=self.trigger_dev_conn_id,
            run_id=run_id,
            run_url=settings.run_url,
            poll_interval=settings.poll_interval,
            deadline=settings.deadline,
            pending_version_timeout=self.pending_version_timeout,
            cancel_on_kill=self.cancel_on_kill,
            try_number=self._try_number,
        )
        self._release()  # from here on the trigger cancels it
        self.defer(trigger=trigger, method_name=self.execute_complete.__name__)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """
        Return the output once the trigger has seen the run end, or fail.

        :param context: of the task instance
        :param event: from :class:`airflow_provider_trigger.triggers.run.TriggerDevRunTrigger`
        """
        from airflow_provider_trigger.run.event import is_of_another_try, read_event

        if is_of_another_try(event, _try_number(context)):
            return self.execute(context)
        hook = self._hook()
        with hook.client() as client:
            run_id, waited = read_event(event, client)
            self.run_url = hook.settings.run_url(run_id)
            return self._conclude(waited, run_id, client)

    def _conclude(self, waited: Waited, run_id: str, client: TriggerDevClient) -> Any:
        """Return the output of a run that has completed, or fail."""
        from airflow_provider_trigger.operators.failures import failure_of
        from airflow_provider_trigger.run.output import for_xcom, output_of

        self._release()
        run = waited.run
        if run is not None and run.is_success:
            output = output_of(run, client, log=self.log)
            return for_xcom(output, run.id, max_size=self.max_output_size, log=self.log)
        raise failure_of(
            waited,
            run_id,
            run_url=self.run_url or "",
            timeouts={"timeout": self.timeout, "execution_timeout": self._execution_timeout},
            retry_statuses=self.retry_statuses,
            log=self.log,
        )

    def _deadline(self, begun_at: float, *, created_at: float) -> float | None:
        """Return when the run must have ended, in seconds since 1970."""
        limits = [] if self.timeout is None else [created_at + self.timeout]
        if self.deferrable and self._execution_timeout is not None:
            # Airflow 3 does not enforce it while the task is deferred; Airflow 2 does not cancel the run.
            limits.append(begun_at + self._execution_timeout)
        return min(limits, default=None)

    @property
    def _execution_timeout(self) -> float | None:
        return None if self.execution_timeout is None else self.execution_timeout.total_seconds()


def _try_number(context: Context) -> int | None:
    # An operator may be executed by hand, without a task instance.
    return getattr(context.get("ti"), "try_number", None)
