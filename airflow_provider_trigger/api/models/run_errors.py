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


_MEMORY = "Give it a larger machine, or let the task use less memory."
_WORKER_STOPPED = (
    "The machine that ran it stopped, so it may help to try again. If it fails the same way again, look at "
    "the run's page in the dashboard."
)
_PROCESS_ENDED = "Look for the cause in the run's logs in the dashboard; too little memory can end it, too."
_SERVER_FAULT = "This is a fault of the Trigger.dev server: try again, and report it if it comes back."
_DEPLOYMENT = "Check the deployment of the Trigger.dev project, and deploy it again."
_STALLED = (
    "The server heard nothing from the run's process: code that blocks its event loop or a machine that was "
    "lost can be the cause. Look at the run's logs in the dashboard."
)
_LOGS = "Look at the run's logs in the dashboard."

_ADVICE = {
    "BATCH_ITEM_COULD_NOT_TRIGGER": "Check this item's payload and options: region, machine, tags, sizes.",
    "CONFIGURED_INCORRECTLY": (
        "Check trigger.config.ts and the environment variables of the Trigger.dev project."
    ),
    "COULD_NOT_FIND_EXECUTOR": _DEPLOYMENT,
    "COULD_NOT_FIND_TASK": (
        "The deployed version has no task with this identifier: check it, and deploy a version that has it."
    ),
    "COULD_NOT_IMPORT_TASK": (
        "The file of the task could not be imported: look at the run's logs, correct it and deploy it again."
    ),
    "DISK_SPACE_EXCEEDED": "The task filled the disk of its machine: let it write less, or delete files.",
    "GRACEFUL_EXIT_TIMEOUT": _WORKER_STOPPED,
    "HANDLE_ERROR_ERROR": "The task's own error handler (catchError or handleError) failed: correct it.",
    "MAX_DURATION_EXCEEDED": "It reached its maximum duration: allow a longer one, or let the task do less.",
    "OUTDATED_SDK_VERSION": "Update the Trigger.dev packages of the project, and deploy it again.",
    "PAYLOAD_TOO_LARGE": "Send a smaller payload: store large data elsewhere, and send its address.",
    "POD_EVICTED": _WORKER_STOPPED,
    "POD_UNKNOWN_ERROR": _WORKER_STOPPED,
    "RECURSIVE_WAIT_DEADLOCK": (
        "The task waits for a run that can only start when this one has ended: raise the queue's concurrency "
        "limit, or use another queue."
    ),
    "TASK_ALREADY_RUNNING": _SERVER_FAULT,
    "TASK_DEQUEUED_INVALID_STATE": _SERVER_FAULT,
    "TASK_DEQUEUED_QUEUE_NOT_FOUND": "The deployed version has no such queue: check its name, and deploy it.",
    "TASK_DID_CONCURRENT_WAIT": "The task waits for several things at once: let it wait for them in turn.",
    "TASK_EXECUTION_ABORTED": _WORKER_STOPPED,
    "TASK_EXECUTION_FAILED": _LOGS,
    "TASK_HAS_N0_EXECUTION_SNAPSHOT": _SERVER_FAULT,
    "TASK_INPUT_ERROR": "The task could not read its payload: check it against what the task expects.",
    "TASK_MIDDLEWARE_ERROR": f"A middleware of the task failed. {_LOGS}",
    "TASK_OUTPUT_ERROR": "The task's return value could not be stored: it must be JSON of limited size.",
    "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE": f"The task's process ended. {_PROCESS_ENDED}",
    "TASK_PROCESS_MAYBE_OOM_KILLED": f"The task probably ran out of memory. {_MEMORY}",
    "TASK_PROCESS_OOM_KILLED": f"The task ran out of memory. {_MEMORY}",
    "TASK_PROCESS_SIGKILL_TIMEOUT": (
        "The task's process was killed, as it did not stop in time when it was requested to: let the "
        "task end soon after a cancel."
    ),
    "TASK_PROCESS_SIGSEGV": f"The task's process crashed, mostly in a native module. {_PROCESS_ENDED}",
    "TASK_PROCESS_SIGTERM": _WORKER_STOPPED,
    "TASK_RUN_CANCELLED": "Someone canceled it.",
    "TASK_RUN_CRASHED": f"The task's process crashed. {_PROCESS_ENDED}",
    "TASK_RUN_DEQUEUED_MAX_RETRIES": f"No worker could start it. {_DEPLOYMENT}",
    "TASK_RUN_HEARTBEAT_TIMEOUT": _STALLED,
    "TASK_RUN_STALLED_EXECUTING": _STALLED,
    "TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS": _STALLED,
    "TASK_RUN_UNCAUGHT_EXCEPTION": (
        f"An error was thrown outside of what the task awaits, such as in a callback. {_LOGS}"
    ),
    "UNSPECIFIED_ERROR": _LOGS,
}


def advice(code: str) -> str:
    """Return what to do about a :attr:`RunError.code`; empty for a code that is not known."""
    return _ADVICE.get(code, "")
