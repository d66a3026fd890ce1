"""Which run an idempotency key stands for."""

from __future__ import annotations

from dataclasses import dataclass

from . import constants, states
from .durations import read_duration
from .environments import Environment
from .runs import ServerRun
from .server_time import ServerTime

# The same key stands for another run in another environment, and for another task.
Place = tuple[Environment, str, str]


@dataclass(frozen=True, slots=True)
class _Holder:
    run: ServerRun
    until: float


class IdempotencyKeys:
    """All keys in use, and the runs that hold them."""

    def __init__(self, time: ServerTime) -> None:
        self._time = time
        self._holders: dict[Place, _Holder] = {}

    def hold(self, run: ServerRun, *, lifetime: str | None) -> None:
        """
        Let a run hold its key; a run without one holds none.

        :param lifetime: how long, such as ``10m``; a malformed one is ignored, as if it was not given
        """
        if run.idempotency_key:
            seconds = read_duration(lifetime)
            until = self._time.after(constants.KEY_LIFETIME if seconds is None else seconds, self._time.now())
            self._holders[run.environment, run.task_identifier, run.idempotency_key] = _Holder(run, until)

    def find(self, environment: Environment, task_identifier: str, key: str) -> ServerRun | None:
        """Return the run that a key stands for, ``None`` if a trigger with it makes a new run."""
        holder = self._holders.get((environment, task_identifier, key))
        if holder is None:
            return None
        if self._time.now() < holder.until and holder.run.status not in states.RELEASING_THEIR_KEY:
            return holder.run
        self.release(environment, task_identifier, key)
        return None

    def release(self, environment: Environment, task_identifier: str, key: str) -> ServerRun | None:
        """Take a key from the run that holds it, and return the run; ``None`` if no run holds it."""
        holder = self._holders.pop((environment, task_identifier, key), None)
        if holder is None:
            return None
        holder.run.idempotency_key = None
        return holder.run
