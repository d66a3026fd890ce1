"""What became of a run that was to be canceled."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class CancelOutcome(StrEnum):
    """
    What became of the wish to cancel a run, decided from a look at the run.

    - ``canceled``: the run is CANCELED now, whoever asked first
    - ``already_completed``: it ended in another final status, so the cancel had no effect
    - ``not_found``: this key's environment has no such run
    - ``failed``: no true answer could be reached, or the run is alive although it was asked to stop
    """

    CANCELED = "canceled"
    ALREADY_COMPLETED = "already_completed"
    NOT_FOUND = "not_found"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelResult:
    """
    What became of one run.

    :param run_id: the run id as it was given
    :param outcome: see :class:`CancelOutcome`
    :param status: Trigger.dev's word as last seen, None if the run could not be seen
    :param task_identifier: the id of the run's task, None if the run could not be seen
    :param terminated: true when the run can no longer change
    :param error: for a failure, why; short, and without the secret key
    :param retryable: whether another try may do better; not part of :meth:`to_dict`
    """

    run_id: str
    outcome: CancelOutcome
    status: str | None = None
    task_identifier: str | None = None
    terminated: bool = False
    error: str | None = None
    retryable: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON: the fields above, ``error`` only where there is one."""
        result: dict[str, Any] = {
            "run_id": self.run_id,
            "outcome": self.outcome.value,
            "status": self.status,
            "task_identifier": self.task_identifier,
            "terminated": self.terminated,
        }
        if self.error is not None:
            result["error"] = self.error
        return result
