"""A run of the local server. It keeps what was done to it; what it shows at a time is computed from that."""

from __future__ import annotations

import functools
import itertools
import math
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from typing import Any, TypedDict

from . import settings, states
from .environments import Environment
from .life import Change, ChildrenCancel, Life
from .server_time import ServerTime, moment
from .settings import UNSET
from .states import State
from .tasks import NO_TASK, Outcome, TaskScript
from .waitpoints import ServerToken

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_counter = itertools.count()
LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR")


def new_span_id() -> str:
    """Return the id of a span, or of a line in a log."""
    return f"{random.getrandbits(64):016x}"


def new_id(prefix: str) -> str:
    """Return an id that nothing else has; later ones sort behind."""
    number, tail = next(_counter), ""
    for _ in range(6):
        number, digit = divmod(number, 36)
        tail = _DIGITS[digit] + tail
    return f"{prefix}_cmlocal{tail}{''.join(random.choices(_DIGITS, k=12))}"


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a run has logged, or a span (``TRACE``) that is over."""

    at: float
    level: str
    text: str
    is_error: bool
    span_id: str

    @classmethod
    def made(cls, at: float, level: str, text: str, *, failed: bool) -> LogLine:
        """Return a new line."""
        if level not in LEVELS:
            raise ValueError(f"log: the level must be one of {', '.join(LEVELS)}, not {level!r}")
        return cls(at, level, text, failed or level == "ERROR", new_span_id())


class RunAttributes(TypedDict, total=False):
    """
    What a run is given unchanged; the defaults are those of :class:`ServerRun`.

    :param task_identifier: the task that it runs
    :param tags: its tags
    :param payload: its payload, any JSON, also ``None``
    :param metadata: its metadata, any JSON; ``None`` for none
    :param idempotency_key: the key that it was triggered with
    :param ttl: how long it may be queued, such as ``10m``
    :param options: the options that it was triggered with, in the API's spelling
    :param batch_id: the batch that it was triggered by
    :param completes_despite_cancel: whether its worker completes the run when it is canceled
    """

    task_identifier: str
    tags: Sequence[str]
    payload: Any
    metadata: Any
    idempotency_key: str | None
    ttl: str | None
    options: Mapping[str, Any]
    batch_id: str | None
    completes_despite_cancel: bool


def _shown(name: str, meaning: str) -> Any:
    """Make a property that reads a field of the present state, and sets it."""

    def read(run: ServerRun) -> Any:
        return getattr(run.state, name)

    def write(run: ServerRun, value: Any) -> None:
        run.change(lambda life, now: replace(life, state=replace(life.state, **{name: value})))

    return property(read, write, doc=meaning)


@dataclass(eq=False, kw_only=True)
class ServerRun:
    """
    One run of the local server; what it shows is always its present state, and may be set.

    :param initial_status: its first status
    :param started: whether a worker has had it by then; ``None`` for what the status implies
    :param environment: the environment it belongs to
    :param lock: guards every run of a server, which test and server change from different threads
    :param task_identifier: the task that it runs
    :param tags: its tags
    :param payload: its payload, any JSON; ``UNSET`` for none
    :param metadata: its metadata, any JSON; ``None`` for none
    :param idempotency_key: the key that it was triggered with, ``None`` for none or once it is released
    :param ttl: how long it may be queued, such as ``10m``; ``None`` for as long as need be
    :param options: the options that it was triggered with, as they were sent
    :param batch_id: the batch that it was triggered by, ``None`` for none
    :param script: what its task does with it
    :param acknowledge_after: seconds until its worker acknowledges a cancel, ``None`` for never
    :param force_after: seconds after which a cancel is enforced when no worker acknowledged it
    :param completes_despite_cancel: whether its worker completes the run when it is canceled
    :param parent: the run that triggered it
    """

    id: str
    environment: Environment
    initial_status: InitVar[str]
    started: InitVar[bool | None] = None
    task_identifier: str = settings.TASK_IDENTIFIER
    tags: Sequence[str] = ()
    payload: Any = UNSET
    metadata: Any = None
    idempotency_key: str | None = None
    ttl: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    batch_id: str | None = None
    trigger_function: str = "trigger"
    time: ServerTime = field(repr=False)
    lock: threading.RLock = field(repr=False, default_factory=threading.RLock)
    script: TaskScript = field(default=NO_TASK, repr=False)
    acknowledge_after: float | None = settings.ACKNOWLEDGE_AFTER
    force_after: float = settings.FORCE_AFTER
    completes_despite_cancel: bool = False
    parent: ServerRun | None = field(default=None, repr=False)
    children: list[ServerRun] = field(default_factory=list, init=False, repr=False)
    cancel_requests: int = field(default=0, init=False)
    # The token that its task waits for.
    token: ServerToken | None = field(default=None, init=False, repr=False)
    span_id: str = field(default_factory=new_span_id, init=False, repr=False)
    log_lines: list[LogLine] = field(default_factory=list, init=False, repr=False)
    # From then on the query does not see its changes.
    lost_since: float = field(default=math.inf, init=False)
    _outcome: Outcome | None = field(default=None, init=False, repr=False)
    # What it was made as, what was done to it, and what followed, each with the time from which on it holds.
    _lives: list[tuple[float, Life]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self, initial_status: str, started: bool | None) -> None:
        self.tags = tuple(sorted(self.tags))
        now = self.time.now()
        state = states.new_state(initial_status, moment(now), started=started)
        earlier = self._parents_cancel_at(now)
        self._lives.append((now, Life(state, parents_cancel=earlier)))
        if self.parent is not None:
            self.parent.children.append(self)

    created_at = _shown("created_at", "When it was triggered.")
    updated_at = _shown("updated_at", "When it last changed.")
    started_at = _shown("started_at", "When a worker first took it, or None.")
    finished_at = _shown("finished_at", "When it ended, or None.")
    attempt_count = _shown("attempt_count", "How many attempts have begun.")
    output = _shown("output", "What it returned, ``UNSET`` for nothing.")
    delayed_until = _shown("delayed_until", "When a delayed run is due, or None.")
    error = _shown("error", "What it failed with, or None.")
    version = _shown("version", "The version of its task, shown once it has started.")

    @property
    def life(self) -> Life:
        """Return what the run shows now, and what happens to it next."""
        return self.life_at(self.time.now())

    def life_at(self, time: float) -> Life:
        """Return what the run showed at a time, and what happened to it next."""
        with self.lock:
            life = next((life for since, life in reversed(self._lives) if since <= time), self._lives[0][1])
            cancel = self._parents_cancel_at(time)
            if cancel is not None and cancel != life.parents_cancel:
                life = self._until(life, cancel.at)
                life = self.canceled(life, cancel.at, reason=cancel.reason, parents_cancel=cancel)
                self._lives.append((cancel.at, life))
            return self._until(life, time)

    def _parents_cancel_at(self, time: float) -> ChildrenCancel | None:
        """Return the cancel that the parent had passed on by then, ``None`` if there was none."""
        cancel = None if self.parent is None else self.parent.life_at(time).passes_on
        return cancel if cancel is not None and cancel.at <= time else None

    def _passing_on(self, life: Life, at: float) -> Life:
        return life.passing_on(self.time.after(settings.CHILDREN_AFTER, at), ended_at=at)

    def _until(self, life: Life, time: float) -> Life:
        """Return a life at a later time, and keep what follows from it, which need not be computed again."""
        while life.plan and life.plan[0].at <= time:
            at, life = life.plan[0].at, life.after_next_step()
            self._lives.append((at, life))
        return life

    @property
    def state(self) -> State:
        """Return what the run shows now."""
        return self.life.state

    def state_at(self, time: float) -> State | None:
        """Return what the run showed at a time, ``None`` if it did not exist yet."""
        return self.life_at(time).state if self._lives[0][0] <= time else None

    @property
    def before_cancel(self) -> State | None:
        """Return what the run showed before it was canceled, ``None`` if it was not."""
        return self.life.before_cancel

    @property
    def status(self) -> str:
        """Return Trigger.dev's modern word for where the run is now."""
        return self.state.status

    @status.setter
    def status(self, status: str) -> None:
        self.change(lambda life, now: life.without_plan().moved(now, status))

    @property
    def terminated(self) -> bool:
        """Return whether the run can no longer change: its status is final and no worker has it."""
        return self.life.terminated

    @property
    def depth(self) -> int:
        """Return how many runs stand above it."""
        return 0 if self.parent is None else self.parent.depth + 1

    @property
    def root(self) -> ServerRun:
        """Return the run at the top of its tree, itself if nothing triggered it."""
        return self if self.parent is None else self.parent.root

    def outcome_at(self, at: float) -> Outcome:
        """Return how the run ends once its task has done its work; that is called only once."""
        with self.lock, self.time.as_of(at):
            if self._outcome is None:
                given = self.payload if self.token is None else self.token.output
                self._outcome = self.script.end(given, log=self.log)
            return self._outcome

    def log(self, level: str, text: str, *, failed: bool = False) -> None:
        """
        Log a line now, as its task would; what it logs after its end does not show.

        :param level: ``DEBUG``, ``INFO``, ``WARN`` or ``ERROR``; ``TRACE`` for a span that is over
        :param text: the line; of more than 256 characters the API shows the first ones
        :param failed: whether the span failed
        :raises ValueError: there is no such level
        """
        self.log_lines.append(LogLine.made(self.time.now(), level, text, failed=failed))

    def change(self, change: Change) -> None:
        """Let something happen to the run now; the change is called with the present life and the time."""
        with self.lock:
            now = self.time.now()
            self._lives.append((now, change(self.life_at(now), now)))

    def later(self, at: float, change: Change, *, bulk_id: str | None = None) -> None:
        """Let something happen to the run later, see :class:`~.life.Step`."""
        self.change(lambda life, now: life.then(at, change, bulk_id=bulk_id))

    def schedule(self, steps: Sequence[tuple[float, str]]) -> None:
        """
        Let the run move on by itself, unless it is canceled before.

        :param steps: pairs of seconds from now and the status that comes then. ``EXECUTING`` begins an
            attempt, but for a ``WAITING`` run, which resumes the one that it was in.
        """
        now = self.time.now()
        for seconds, status in steps:
            self.later(self.time.after(seconds, now), functools.partial(Life.moved, status=status))

    def stay(self) -> None:
        """Drop what would have happened to the run by itself."""
        self.change(lambda life, now: life.without_plan())

    def cancel(self) -> None:
        """
        Cancel the run now, as a request to the server would.

        A final status stays, but for ``EXPIRED`` in a deployed environment: it becomes ``CANCELED``.
        """
        expired_too = self.environment.deployed
        with self.lock:
            self.cancel_requests += 1
            self.change(
                lambda life, now: self.canceled(life, now, reason=states.BY_USER, expired_too=expired_too)
            )

    def canceled(
        self,
        life: Life,
        at: float,
        *,
        reason: str,
        parents_cancel: ChildrenCancel | None = None,
        expired_too: bool = False,
    ) -> Life:
        """Return the life of the run once it is canceled; without an effect if its status is final."""
        life = replace(life, parents_cancel=parents_cancel or life.parents_cancel)
        before = life.state
        if before.final and not (expired_too and before.status == "EXPIRED"):
            return life
        finished_at = parents_cancel.finished_at if parents_cancel else None
        canceled = states.cancel(before, moment(at), reason=reason, finished_at=finished_at)
        life = replace(life.without_plan(), state=canceled, before_cancel=before)
        if before.status not in states.ON_A_WORKER:
            return self._passing_on(life, at)
        after, completed = self.acknowledge_after, self.completes_despite_cancel
        if after is None or after > self.force_after:
            after, completed = self.force_after, False
        return life.then(
            self.time.after(after, at), functools.partial(self._acknowledged, completed=completed)
        )

    def _acknowledged(self, life: Life, at: float, *, completed: bool) -> Life:
        output = self.outcome_at(at).output if completed else UNSET
        state = states.acknowledge(life.state, moment(at), completed=completed, output=output)
        life = replace(life, state=state)
        return life if completed else self._passing_on(life, at)
