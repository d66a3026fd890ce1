"""The queues of the local server: which runs they have, when they are paused, and what limits they show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .environments import Environment
from .runs import ServerRun, new_id

ENVIRONMENT_LIMIT = 5000  # runs at once, of all queues (measured)


@dataclass(kw_only=True, eq=False)
class Queue:
    """
    A queue; its concurrency limit is shown, and does not hold runs back.

    :param type: ``task`` for the one that each task has, ``custom`` for one with a name of its own
    :param limit: the limit of the deployed code, ``None`` for none
    """

    environment: Environment
    type: str
    name: str
    limit: int | None = None
    id: str = field(default_factory=lambda: new_id("queue"))
    override: int | None = None
    percent: float | None = None
    overridden_at: float | None = None
    _paused: list[tuple[float, bool]] = field(default_factory=list, repr=False)

    def paused_at(self, time: float) -> bool:
        """Return whether the queue was paused at a time."""
        return next((paused for since, paused in reversed(self._paused) if since <= time), False)

    def pause(self, at: float, *, paused: bool) -> None:
        """Pause the queue, or resume it."""
        self._paused.append((at, paused))


class Queues:
    """All queues. A queue is known once it was added, or has had a run."""

    def __init__(self) -> None:
        self._queues: dict[tuple[Environment, str, str], Queue] = {}

    def add(self, environment: Environment, kind: str, name: str) -> Queue:
        """Return the queue of a name, which is made if need be."""
        key = (environment, kind, name)
        return self._queues.setdefault(key, Queue(environment=environment, type=kind, name=name))

    def of(self, run: ServerRun) -> Queue:
        """Return the queue that a run is in."""
        name = (run.options.get("queue") or {}).get("name")
        return self.add(run.environment, "custom" if name else "task", name or run.task_identifier)

    def listed(self, environment: Environment, tasks: Iterable[str]) -> list[Queue]:
        """Return the queues of an environment by their names, with those of its tasks."""
        for task_identifier in tasks:
            self.add(environment, "task", task_identifier)
        queues = [queue for queue in list(self._queues.values()) if queue.environment == environment]
        return sorted(queues, key=lambda queue: queue.name)
