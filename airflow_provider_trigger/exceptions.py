"""
What a task fails with whose runs did not start, or have ended without success: for callbacks and policies.

The text says all for a reader; the attributes are for programs. An error that Airflow has made again from its
text alone has them, too, and all are None.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_trigger._compat import AirflowException, AirflowFailException


class TriggerRunNotStartedError(AirflowException):
    """
    The server has rejected a start with 422, as it does while a queue is full or credits are used up.

    The text has the server's own. A later try may start the run, also one that a ``retry_policy`` reschedules
    (Airflow 3.4).
    """


class TriggerRunFailedError(AirflowException):
    """
    A run has ended without success. A retry of the task may do better.

    It is also raised for a status without retries where the task has a ``retry_policy`` (Airflow 3.3), which
    decides then.

    :param run_id: the run
    :param run_url: its page in the dashboard
    :param status: its final status
    :param task_identifier: the id of its Trigger.dev task
    :param error_name: of the error's class, such as ``TypeError``; None where something else was thrown
    :param error_code: of Trigger.dev's own errors, such as ``TASK_PROCESS_OOM_KILLED``; None for any other
    :param error_message: whole, as Trigger.dev shows it; for its own errors it only has the code
    :param attempts: how many attempts have begun
    """

    def __init__(
        self,
        *args: object,
        run_id: str | None = None,
        run_url: str | None = None,
        status: str | None = None,
        task_identifier: str | None = None,
        error_name: str | None = None,
        error_code: str | None = None,
        error_message: str | None = None,
        attempts: int | None = None,
    ) -> None:
        super().__init__(*args)
        self.run_id = run_id
        self.run_url = run_url
        self.status = status
        self.task_identifier = task_identifier
        self.error_name = error_name
        self.error_code = error_code
        self.error_message = error_message
        self.attempts = attempts


class TriggerRunNotRetriedError(TriggerRunFailedError, AirflowFailException):
    """A run that this try has started has ended in none of ``retry_statuses``: the task fails for good."""


class TriggerRunTimeoutError(TriggerRunFailedError):
    """
    A run had not ended within a time limit, or waited too long for a deployed version.

    It was canceled, unless ``cancel_on_kill`` is off: the text says what became of it. Of the attributes of
    the error, those of the run's own error are None.

    :param limit: ``timeout``, ``execution_timeout`` or ``pending_version_timeout``
    """

    def __init__(self, *args: object, limit: str | None = None, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.limit = limit


class TriggerRunTimeoutNotRetriedError(TriggerRunTimeoutError, TriggerRunNotRetriedError):
    """No deployed version has the run's task, or its queue: another run would wait for the same."""


class TriggerBatchFailedError(AirflowException):
    """
    Runs of a batch have ended without success, or not in time. A retry of the task may do better.

    It is also raised for statuses without retries where the task has a ``retry_policy`` (Airflow 3.3).

    :param results: what became of the run of each item, as in XCom ``results``
    """

    def __init__(self, *args: object, results: list[dict[str, Any]] | None = None) -> None:
        super().__init__(*args)
        self.results = results


class TriggerBatchNotRetriedError(TriggerBatchFailedError, AirflowFailException):
    """No run of a batch has ended in a status of ``retry_statuses``: the task fails without retries."""
