"""Base class of operators that start runs of a Trigger.dev task: the options of these runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_trigger._compat import AirflowFailException, default_queue, is_mapped_instance
from airflow_provider_trigger._compat.task_instances import read_sequence
from airflow_provider_trigger.operators.base import RunsOperator
from airflow_provider_trigger.rules import Circumstances, checked, naming, text
from airflow_provider_trigger.run.identity import TAGS_OF_OURS
from airflow_provider_trigger.run.request import OPTIONS, path_of, to_api
from airflow_provider_trigger.sources.run_ids import SEQUENCE_TEXT
from airflow_provider_trigger.validation import arguments_of, is_templated, owner_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.run.identity import RunKey, TaskInstanceIdentity

# One expression, and nothing before or after it.
_LONE_EXPRESSION = re.compile(r"\s*\{\{(?:(?!\{\{|\}\}).)*\}\}\s*", re.DOTALL)


def with_lists(value: Any) -> Any:
    """Return a value with lists in place of Airflow's own sequences, such as a mapped task's output."""
    if isinstance(value, dict):
        return {key: with_lists(part) for key, part in value.items()}
    found = read_sequence(value)
    if found is None and isinstance(value, (list, tuple)):
        found = list(value)
    return value if found is None else [with_lists(part) for part in found]


def lone_expressions(arguments: Mapping[str, Any]) -> frozenset[str]:
    """Return the places that hold a template of one expression only, such as ``payload['a']``."""
    return frozenset(path for path, text in _texts(arguments) if _LONE_EXPRESSION.fullmatch(text))


def check_sequence_texts(arguments: Mapping[str, Any]) -> None:
    """Check that no template has turned the outputs of a mapped task into the name of a Python object."""
    for path, value in _texts(arguments):
        if found := SEQUENCE_TEXT.search(value):
            raise ValueError(
                f"{path} must not contain {found[0]!r}, which is what the template made of a mapped "
                "task's outputs. Give the task's .output in place of the template, or set "
                "render_template_as_native_obj=True on the Dag"
            )


def none_texts(arguments: Mapping[str, Any], expressions: Collection[str]) -> list[str]:
    """Return those of the :func:`lone_expressions` that rendered to the text ``None``."""
    return [path for path, text in _texts(arguments) if path in expressions and text.strip() == str(None)]


def _texts(arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in arguments.items():
        yield from _texts_in(name, value)


def _texts_in(path: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _texts_in(path_of(path, key), part)
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield from _texts_in(path_of(path, index), part)


RULES = {"task_identifier": text("the id of a Trigger.dev task")}
"""Of what is not an option of a run."""

# Airflow's own argument ``queue`` is the executor's, so the attribute has another name.
OPTION_ATTRIBUTES = {name: "run_queue" if name == "queue" else name for name in OPTIONS}
"""The attribute of each option."""

_NONE_TEXT = (
    "%s rendered to the text 'None', and is sent so: its template found nothing, or a task returned None. "
    "Check the task ids and the key in the template; a task's .output in its place gives None itself"
)


class TaskRunsOperator(RunsOperator):
    """
    Start runs of a Trigger.dev task; a subclass says which.

    It takes the arguments of :class:`~airflow_provider_trigger.operators.base.RunsOperator`, too.

    :param task_identifier: the id of the Trigger.dev task; templated
    :param queue: the name of Trigger.dev's queue; templated. A ``queue`` in ``default_args`` is Airflow's
    :param concurrency_key: limits the queue's concurrency for each value; templated
    :param delay: when to start: a duration such as ``"1h30m"``, a timedelta, a time, an ISO date; templated
    :param ttl: how long the run may wait for its start: ``"10m"``, seconds, or a timedelta; templated. It
        never expires while no worker asks for runs (measured): set ``timeout``, too
    :param tags: up to 7, of up to 128 characters, without a comma; templated
    :param metadata: a dict of JSON, up to 256 KB; templated
    :param max_attempts: how many attempts the run has, which are Trigger.dev's own retries; templated
    :param max_duration: how long an attempt may compute, in seconds, 5 or more; templated
    :param machine: the machine preset: ``micro``, ``small-1x``, ``small-2x``, ``medium-1x``, ``medium-2x``,
        ``large-1x`` or ``large-2x``; templated
    :param priority: moves the run forward in its queue, as if it was created so many seconds earlier;
        templated
    :param region: where it runs; templated
    :param lock_to_version: the version of the task to run; templated
    :raises ValueError: when the Dag is parsed: an argument is invalid; where it is templated, or in a mapped
        task, when it runs: then it fails without retries, before anything is sent
    """

    rendered_arguments: ClassVar[dict[str, str]] = {"task_identifier": "task_identifier"} | OPTION_ATTRIBUTES
    """All that can be templated but the connection: the attribute of each argument."""

    def __init__(
        self,
        *,
        task_identifier: str,
        queue: str | None = None,
        concurrency_key: str | None = None,
        delay: str | timedelta | datetime | None = None,
        ttl: str | int | timedelta | None = None,
        tags: str | Sequence[str] | None = None,
        metadata: dict[str, Any] | str | None = None,
        max_attempts: int | str | None = None,
        max_duration: int | str | None = None,
        machine: str | None = None,
        priority: float | str | None = None,
        region: str | None = None,
        lock_to_version: str | None = None,
        **kwargs: Any,
    ) -> None:
        queue = self._own_queue(queue, kwargs)
        super().__init__(**kwargs)
        self.task_identifier = task_identifier
        self.run_queue = queue
        self.concurrency_key = concurrency_key
        self.delay = delay
        self.ttl = ttl
        self.tags = tags
        self.metadata = metadata
        self.max_attempts = max_attempts
        self.max_duration = max_duration
        self.machine = machine
        self.priority = priority
        self.region = region
        self.lock_to_version = lock_to_version

    def _own_queue(self, queue: str | None, kwargs: dict[str, Any]) -> str | None:
        """Return the run's queue; one that Airflow passes on by itself goes to Airflow's arguments."""
        # Up to Airflow 3.2, ``partial()`` adds its default to the arguments of a mapped task.
        added = [default_queue()] if is_mapped_instance(self) else []
        if queue is None or queue not in [kwargs["default_args"].get("queue"), *added]:
            return queue
        kwargs["queue"] = queue
        return None

    def _check(self, when: Circumstances) -> None:
        """Check what the server would reject, or ignore without a word."""
        checked(RULES, {"task_identifier": self.task_identifier}, when)
        to_api(self._options, when)

    def _check_given(self) -> None:
        """Check the arguments as they are when the Dag is parsed."""
        with arguments_of(self):
            self._check(Circumstances(skip=is_templated, tags_of_ours=TAGS_OF_OURS))
        self._lone_expressions = lone_expressions(self._rendered)

    @property
    def _options(self) -> dict[str, Any]:
        options = {name: getattr(self, attribute) for name, attribute in OPTION_ATTRIBUTES.items()}
        return {name: value for name, value in options.items() if value is not None}

    @property
    def _rendered(self) -> dict[str, Any]:
        return {name: getattr(self, attribute) for name, attribute in self.rendered_arguments.items()}

    def _check_rendered(self, *, is_retry: bool) -> Circumstances:
        """Check what templates and other tasks' outputs have become; a failure is one for good."""
        # A time that was to come in the first try may have passed: the run starts at once then (measured).
        earliest = datetime.min.replace(tzinfo=UTC) if is_retry else None
        when = Circumstances(now=earliest, tags_of_ours=TAGS_OF_OURS)
        for attribute in self.rendered_arguments.values():
            setattr(self, attribute, with_lists(getattr(self, attribute)))
        for place in none_texts(self._rendered, self._lone_expressions):
            self.log.warning(_NONE_TEXT, place)
        with naming(owner_of(self), AirflowFailException):
            check_sequence_texts(self._rendered)
            self._check(when)
        return when

    def _run_key(
        self, context: Context, identity: TaskInstanceIdentity | None, *, content: str = ""
    ) -> RunKey | None:
        """
        Return the key of this execution, None where it has no task instance; call it once.

        The content distinguishes it where a task executes operators by hand, in any order.
        """
        from airflow_provider_trigger.sources.context import key_of

        if identity is None:
            return None
        # Where a task executes it by hand, that has the retries. The task itself may be a copy (3.0).
        task: Any = context.get("task", self)
        is_own = self.task_id == identity.task_id and isinstance(task, type(self))
        own_content = "" if is_own else content
        retries = task.retries or 0
        return key_of(context, identity, operator_id=self.task_id, retries=retries, content=own_content)
