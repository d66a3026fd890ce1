"""Wait until a waitpoint token is completed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger import _compat, defaults
from airflow_provider_trigger.rules import boolean, connection_id
from airflow_provider_trigger.sensors.base import TriggerDevSensor
from airflow_provider_trigger.sources import arguments
from airflow_provider_trigger.sources.context import can_resume
from airflow_provider_trigger.sources.run_ids import TOKEN_IDS, exactly_one

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.tokens.complete import TokenWait

RULES = {"trigger_dev_conn_id": connection_id, "deferrable": boolean}


class WaitpointTokenSensor(TriggerDevSensor):
    """
    Wait until somebody has completed a waitpoint token, and return the data that it was completed with.

    The data is any JSON, None where there is none. A token that has timed out fails the sensor at once,
    without retries; so does one that no check has shown within the connection's ``retry_for``, as the server
    answers 500 for a token that the key's environment does not have. Any other failure of the server is
    waited out, up to the sensor's ``timeout``. While deferred it checks the token each 2 s at first, and then
    each tenth of the time it has waited, up to 30 s.

    :param token_id: the token: its id, its address, the ``{"id", "url"}`` that created it, or any value that
        holds exactly one, such as a task's output; templated
    :raises ValueError: when the Dag is parsed: not exactly one token, or another invalid value; in a mapped
        task, when it runs: then it fails without retries
    """

    template_fields: Sequence[str] = ("token_id", "trigger_dev_conn_id")

    def __init__(
        self,
        *,
        token_id: Any,
        trigger_dev_conn_id: str = defaults.CONN_ID,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.token_id = token_id
        self.trigger_dev_conn_id = trigger_dev_conn_id
        self.deferrable = _compat.default_deferrable() if deferrable is None else deferrable
        arguments.check_arguments(self, RULES)
        with arguments.arguments_of(self):
            arguments.check_outputs("token_id", token_id)
            if not arguments.holds_templated(token_id):
                exactly_one(token_id, TOKEN_IDS)

    @property
    def _is_in_doubt(self) -> bool:
        return self._wait is not None and self._wait.is_in_doubt

    def _check_once(self, context: Context) -> _compat.PokeReturnValue:
        if self._wait is None:
            self._wait = self._new_wait(time.time())
            self._wait.was_shown = self._was_rescheduled(context)  # else it would be in doubt
        checked = self._check(self._wait, patience=0.0)
        if not checked.is_done and self.deferrable and can_resume(context, self):
            self._defer(self._wait, context)
        return checked

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """
        Return the token's data, or fail, once the trigger has seen what became of the token.

        :param context: of the task instance
        :param event: from :class:`airflow_provider_trigger.triggers.waitpoint.WaitpointTokenTrigger`
        """
        from airflow_provider_trigger.run.wait_outcome import invalid_event

        if not isinstance(event, dict) or not {"error", "is_final", "begun_at"} <= event.keys():
            raise _compat.AirflowException(invalid_event(event))
        if event["error"]:
            raise _compat.task_failure(event["error"], is_retried=not event["is_final"])
        # A rejection of this worker's key ends it, which the triggerer's need not share.
        wait = self._new_wait(event["begun_at"])
        checked = self._check(wait, patience=None)
        if not checked.is_done:  # an outage
            self._defer(wait, context)
        return checked.xcom_value

    def _defer(self, wait: TokenWait, context: Context) -> None:
        from airflow_provider_trigger.triggers.base import event_hold
        from airflow_provider_trigger.triggers.waitpoint import WaitpointTokenTrigger

        hold = event_hold(context, self.execution_timeout)
        left = wait.begun_at + self.timeout - time.time()
        self.defer(
            trigger=WaitpointTokenTrigger(
                token_id=wait.token_id,
                begun_at=wait.begun_at,
                trigger_dev_conn_id=self.trigger_dev_conn_id,
                was_shown=wait.was_shown,
                not_before=time.time() + hold,
            ),
            method_name=self.execute_complete.__name__,
            timeout=timedelta(seconds=max(left, 1.5 * hold, 0.0)),  # else its event is too late
        )

    def _new_wait(self, begun_at: float) -> TokenWait:
        from airflow_provider_trigger.tokens.complete import TokenWait

        with arguments.arguments_of(self, are_rendered=True):
            token_id = exactly_one(self.token_id, TOKEN_IDS)
        conn_id, retry_for = self.trigger_dev_conn_id, self._hook().settings.retry_for
        return TokenWait(token_id, conn_id, retry_for, begun_at, self.log)

    def _check(self, wait: TokenWait, *, patience: float | None) -> _compat.PokeReturnValue:
        """Check the token; a check that fails is repeated for ``patience`` s, None for ``retry_for``."""
        from airflow_provider_trigger.run.facts import UnstorableError, for_xcom
        from airflow_provider_trigger.tokens.complete import TokenLostError

        is_resumed = patience is None  # as its trigger has seen the server work
        with self._hook().client(has_worked=wait.was_shown or is_resumed) as client:
            try:
                token = wait.check(client.call, patience=patience)
            except TokenLostError as error:
                raise _compat.AirflowFailException(str(error)) from None
        try:
            data = token and for_xcom(token.output, f"The data of {wait}", log=self.log)
        except UnstorableError as error:
            way = f"TriggerDevHook.get_waitpoint_token({wait.token_id!r}).output"
            raise _compat.AirflowFailException(f"{error}: XCom cannot get it, but {way} has it") from None
        return _compat.PokeReturnValue(is_done=token is not None, xcom_value=data)
