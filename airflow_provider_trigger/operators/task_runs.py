"""Base class of operators that start runs of a Trigger.dev task: the options of these runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from airflow_provider_trigger._compat import default_queue, is_mapped_instance
from airflow_provider_trigger.operators.base import RunsOperator
from airflow_provider_trigger.operators.rendering import ChecksRendered
from airflow_provider_trigger.rules import Circumstances, checked, text
from airflow_provider_trigger.run.identity import TAGS_OF_OURS
from airflow_provider_trigger.run.request import OPTIONS, to_api

RULES = {"task_identifier": text("the id of a Trigger.dev task")}
"""Of what is not an option of a run."""

# Airflow's own argument ``queue`` is the executor's, so the attribute has another name.
OPTION_ATTRIBUTES = {name: "run_queue" if name == "queue" else name for name in OPTIONS}
"""The attribute of each option."""


class TaskRunsOperator(ChecksRendered, RunsOperator):
    """
    Start runs of a Trigger.dev task; a subclass says which.

    :param task_identifier: the id of the Trigger.dev task; templated
    :param queue: the name of Trigger.dev's queue; templated. A ``queue`` in ``default_args`` is Airflow's
    :param concurrency_key: limits the queue's concurrency for each value; for servers from 4.8.6 on also a
        dict, ``{"default": …, "a named limit": …}``; templated
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
    _tags_of_ours = TAGS_OF_OURS

    def __init__(
        self,
        *,
        task_identifier: str,
        queue: str | None = None,
        concurrency_key: str | dict[str, str] | None = None,
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
        for name, value in checked(RULES, {"task_identifier": self.task_identifier}, when).items():
            setattr(self, name, value)
        to_api(self._options, when)

    @property
    def _options(self) -> dict[str, Any]:
        options = {name: getattr(self, attribute) for name, attribute in OPTION_ATTRIBUTES.items()}
        return {name: value for name, value in options.items() if value is not None}
