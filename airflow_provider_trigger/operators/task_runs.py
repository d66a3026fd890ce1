"""Base class of operators that start runs of a Trigger.dev task: the options of these runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_trigger._compat import default_queue, is_mapped_instance
from airflow_provider_trigger.operators.base import ATTRIBUTES, RunsOperator
from airflow_provider_trigger.operators.rendering import ChecksRendered
from airflow_provider_trigger.rules import Circumstances, checked, text
from airflow_provider_trigger.run.identity import TAGS_OF_OURS
from airflow_provider_trigger.run.request import OPTIONS, to_api

RULES = {"task_identifier": text("the id of a Trigger.dev task")}
"""Of what is not an option of a run."""

OPTION_ATTRIBUTES = {name: ATTRIBUTES.get(name, name) for name in OPTIONS}
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

    if TYPE_CHECKING:
        task_identifier: str
        run_queue: str | None

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
