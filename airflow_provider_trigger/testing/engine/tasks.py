"""What a task does with its runs, as tests script it."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from . import settings
from .settings import UNSET, Unset
from .states import internal, thrown

# The status that an internal error of Trigger.dev leads to; SYSTEM_FAILURE for all other codes.
_STATUS_OF_CODES = {
    "MAX_DURATION_EXCEEDED": "TIMED_OUT",
    **dict.fromkeys(
        (
            "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE",
            "TASK_PROCESS_SIGSEGV",
            "TASK_PROCESS_OOM_KILLED",
            "TASK_PROCESS_MAYBE_OOM_KILLED",
            "DISK_SPACE_EXCEEDED",
            "OUTDATED_SDK_VERSION",
        ),
        "CRASHED",
    ),
    **dict.fromkeys(
        (
            "TASK_INPUT_ERROR",
            "TASK_OUTPUT_ERROR",
            "TASK_MIDDLEWARE_ERROR",
            "TASK_RUN_UNCAUGHT_EXCEPTION",
            "TASK_RUN_STALLED_EXECUTING",
        ),
        "FAILED",
    ),
}

_SECONDS = ("after", "start_after", "waiting", "retry_after", "acknowledge_after")


class TaskBehavior(TypedDict, total=False):
    """
    What a task does with its runs; the keyword arguments of ``on_task``.

    A run is QUEUED for ``start_after``, executes for ``after``, and completes. The other arguments change
    that.

    :param output: what a run returns: any JSON, or a function that is called with the payload and returns it
        (if it raises, or returns what is not JSON, the run is FAILED with that error); without it a run
        returns nothing. As in reality, an empty text counts as nothing. A function with a second argument
        gets :meth:`ServerRun.log` for it: ``log("INFO", "a line")``.
    :param after: seconds that each attempt executes; ``None`` to never end
    :param start_after: seconds until a worker takes the run; ``None`` for never: it stays QUEUED
    :param waiting: seconds that the run is suspended (WAITING) halfway through ``after``; ``None`` to never
        resume
    :param waits_for_token: whether the run is suspended (WAITING) halfway through ``after``, until the
        waitpoint token is completed whose id is ``token_id`` in its payload. It then returns the token's
        data, or what an ``output`` that is a function makes of them; if the token times out, it is FAILED.
    :param error: what the run fails with: the message of an ``Error`` that the task throws, or all of what
        the API shows, a mapping with ``message`` and, as the case may be, ``name`` and ``stackTrace``
    :param failures: how many attempts fail before one completes; without it all do, if there is an ``error``.
        The run has one attempt more than that, unless it was triggered with ``maxAttempts``.
    :param retry_after: seconds between a failed attempt and the next one
    :param requeued: whether the run is QUEUED in between; by default it is as on the real server, which
        shows EXECUTING if the next attempt comes in less than 30 s
    :param crash: the internal error that ends the run, which is not retried: ``TASK_PROCESS_OOM_KILLED``
        (CRASHED), ``MAX_DURATION_EXCEEDED`` (TIMED_OUT), ``TASK_OUTPUT_ERROR`` (FAILED),
        ``TASK_RUN_HEARTBEAT_TIMEOUT`` (SYSTEM_FAILURE) …
    :param output_by_url: whether the output is behind a URL; by default if it is larger than 128 KiB
    :param acknowledge_after: seconds until a worker acknowledges a cancel, ``None`` for never; by default as
        the server has it
    :param completes_despite_cancel: whether the worker completes a run when it is canceled
    """

    output: Any
    after: float | None
    start_after: float | None
    waiting: float | None
    waits_for_token: bool
    error: str | Mapping[str, str] | None
    failures: int | None
    retry_after: float
    requeued: bool | None
    crash: str | None
    output_by_url: bool | None
    acknowledge_after: float | None
    completes_despite_cancel: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ends."""

    status: str
    output: Any = UNSET
    error: Mapping[str, str] | None = None


def internal_error(code: str) -> Outcome:
    """Return how a run ends by an internal error; the worker's own words for it are lost."""
    status = _STATUS_OF_CODES.get(code, "SYSTEM_FAILURE")
    return Outcome(status, error=internal(code))


@dataclass(frozen=True, kw_only=True)
class TaskScript:
    """What a task does with a run; the fields are those of :class:`TaskBehavior`."""

    output: Any = UNSET
    after: float | None = settings.ATTEMPT_DURATION
    start_after: float | None = settings.START_AFTER
    waiting: float | None = 0.0
    waits_for_token: bool = False
    error: str | Mapping[str, str] | None = None
    failures: int | None = None
    retry_after: float = settings.RETRY_AFTER
    requeued: bool | None = None
    crash: str | None = None
    output_by_url: bool | None = None
    acknowledge_after: float | Unset | None = UNSET
    completes_despite_cancel: bool = False

    def __post_init__(self) -> None:
        for name in _SECONDS:
            value = getattr(self, name)
            if not (value is None or value is UNSET or (isinstance(value, int | float) and value >= 0)):
                raise TypeError(f"{name}={value!r}: must be a number of seconds, at least 0")

    @property
    def attempts(self) -> int:
        """Return how many attempts a run has if its trigger does not say so."""
        return 1 if self.failures is None else self.failures + 1

    @property
    def requeues(self) -> bool:
        """Return whether a run is QUEUED until its next attempt."""
        long = self.retry_after >= settings.REQUEUED_FROM
        return long if self.requeued is None else self.requeued

    def fails(self, attempt: int) -> bool:
        """Return whether an attempt fails with the task's error."""
        if self.failures is None:
            return self.error is not None
        return attempt <= self.failures

    def failure(self) -> Outcome:
        """Return how a run ends whose last attempt failed."""
        error = "boom" if self.error is None else self.error
        return Outcome("FAILED", error=_cut(thrown("Error", error) if isinstance(error, str) else error))

    def end(self, payload: Any, *, log: Callable[..., None]) -> Outcome:
        """Return how a run ends after its last attempt, if that one does not fail with the task's error."""
        if self.crash is not None:
            return internal_error(self.crash)
        if not callable(self.output):
            output = payload if self.waits_for_token and self.output is UNSET else self.output
            return Outcome("COMPLETED", output=UNSET if output == "" else output)
        try:
            payload = None if payload is UNSET else copy.deepcopy(payload)
            output = self.output(payload, log) if _logs(self.output) else self.output(payload)
            if output is not UNSET:
                json.dumps(output, allow_nan=False)
        except Exception as error:  # whatever a test's function raises is what its task throws
            return Outcome("FAILED", error=_cut(thrown(type(error).__name__, str(error))))
        return Outcome("COMPLETED", output=UNSET if output == "" else output)


def _logs(function: Callable[..., Any]) -> bool:
    """Return whether a function has to be called with a second argument."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of some that are built in
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [one for one in parameters if one.kind in kinds and one.default is inspect.Parameter.empty]
    return len(needed) > 1


def _cut(error: Mapping[str, str]) -> dict[str, str]:
    """Return an error with its long texts cut, as the server shows it."""
    cut = {name: _cut_text(text, settings.LONGEST_MESSAGE) for name, text in error.items()}
    if "stackTrace" in error:
        lines = error["stackTrace"].split("\n")
        cut["stackTrace"] = "\n".join(_cut_text(line, settings.LONGEST_STACK_LINE) for line in lines)
    return cut


def _cut_text(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}...[truncated]"


def _payload_or_done(payload: Any) -> Any:
    return settings.OUTPUT if payload is None else payload


# What a task does that nothing is said about, and what a worker does with a run that follows no task.
UNSCRIPTED = TaskScript(output=_payload_or_done)
NO_TASK = TaskScript(output=settings.OUTPUT)


@dataclass(slots=True)
class _Scripts:
    """The scripts of one task: those for its next runs, in order, and the one for all others."""

    always: TaskScript = UNSCRIPTED
    next: list[TaskScript] = field(default_factory=list)


class TaskScripts:
    """What each task does, by its identifier."""

    def __init__(self) -> None:
        self._scripts: dict[str, _Scripts] = {}

    def add(self, task_identifier: str, script: TaskScript, *, times: int | None) -> None:
        """Let a task do something with so many runs, behind those with a script; ``None`` for all others."""
        scripts = self._scripts.setdefault(task_identifier, _Scripts())
        if times is None:
            scripts.always = script
        else:
            scripts.next += [script] * times

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tasks that have a script."""
        return iter(list(self._scripts))

    def take(self, task_identifier: str) -> TaskScript:
        """Return what a task does with a new run, and count the run."""
        scripts = self._scripts.get(task_identifier, _Scripts())
        return scripts.next.pop(0) if scripts.next else scripts.always
