"""What a run failed with, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from airflow_provider_trigger.api.responses import read_text

_INTERNAL = re.compile(r"trigger\.dev internal error \(([A-Z0-9_]+)\)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunError:
    """
    A run's error, as the API shows it.

    The server sends thrown errors whole, however long they are; of anything else that is thrown only a text
    comes, and of the server's own errors only their code (measured).

    :param name: of the error's class, such as ``TypeError``; None where something else was thrown
    :param message: may be empty
    :param stack_trace: None where something else than an error was thrown
    :param code: of Trigger.dev's own errors, such as ``TASK_PROCESS_OOM_KILLED``; None for any other
    """

    name: str | None
    message: str
    stack_trace: str | None
    code: str | None

    @classmethod
    def from_answer(cls, error: object) -> RunError | None:
        """Read the ``error`` of a run as the server sent it; return None where there is none."""
        if not isinstance(error, dict):
            return None
        texts = {key: read_text(value) for key, value in error.items()}
        message = texts.get("message") or ""
        internal = _INTERNAL.fullmatch(message)
        return cls(
            name=texts.get("name"),
            message=message,
            stack_trace=texts.get("stackTrace"),
            code=internal[1] if internal else None,
        )


_MEMORY = "The task ran out of memory: give it a larger machine, or let it use less"

_ADVICE = {
    "BATCH_ITEM_COULD_NOT_TRIGGER": "Check this item's payload and options: region, machine, tags, sizes",
    "COULD_NOT_FIND_TASK": "The deployed version has no task with this identifier: check it, or deploy it",
    "MAX_DURATION_EXCEEDED": "It reached its maximum duration: allow a longer one, or let the task do less",
    "TASK_DEQUEUED_QUEUE_NOT_FOUND": "The deployed version has no such queue: check its name, or deploy it",
    "TASK_INPUT_ERROR": "The task could not read its payload: check it against what the task expects",
    "TASK_PROCESS_MAYBE_OOM_KILLED": _MEMORY,
    "TASK_PROCESS_OOM_KILLED": _MEMORY,
}


def advice(code: str) -> str:
    """Return what to do about a :attr:`RunError.code`."""
    return _ADVICE.get(code, "See https://trigger.dev/docs/troubleshooting")
