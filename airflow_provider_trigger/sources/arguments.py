"""The arguments that say which runs or tokens are meant, for an operator, a sensor or a notifier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_trigger._compat import INIT_ARGUMENTS, is_mapped_instance
from airflow_provider_trigger._compat.task_instances import read_sequence
from airflow_provider_trigger.sources.run_ids import (
    RUN_IDS,
    TOKEN_IDS,
    IdKind,
    Reaction,
    RunIds,
    log_sources,
)
from airflow_provider_trigger.sources.xcom import add_xcoms, noting_failure
from airflow_provider_trigger.validation import TakesArguments, arguments_of, check_sources

if TYPE_CHECKING:
    from airflow.sdk import Context


class TakesIds(TakesArguments):
    """
    Take ids, ``xcom_task_ids`` and ``xcom_key``; comes before Airflow's class in the bases.

    Airflow reads the names of an operator's arguments in its ``__init__``. So each class that takes them
    names the three there, and hands them to :meth:`_take_ids`.
    """

    _id_kind: ClassVar[IdKind]
    # Airflow keeps the arguments as given: an iterator among them cannot be deep-copied.
    shallow_copy_attrs: Sequence[str] = (INIT_ARGUMENTS,)

    if TYPE_CHECKING:
        log: Any

    def _take_ids(
        self,
        value: Any,
        *,
        xcom_task_ids: Any,
        xcom_key: str | None,
        is_callback: bool = False,
        required: bool = True,
        others: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Check the arguments, and keep them; ``others`` can be given instead."""
        has_others = any(value is not None for value in others.values())
        argument = self._id_kind.argument
        # One of the values of a mapped task may be None: that instance has no runs.
        if value is not None or xcom_task_ids or not is_mapped_instance(self):
            with arguments_of(self):
                value, xcom_task_ids = check_sources(
                    argument,
                    value,
                    xcom_task_ids=xcom_task_ids,
                    takes_outputs=not is_callback,
                    required=required and not has_others,
                    others=list(others),
                )
        setattr(self, argument, value)
        self.xcom_task_ids = xcom_task_ids
        self.xcom_key = xcom_key
        self._has_value = value is not None or (xcom_task_ids is None and not has_others)
        # An empty list of tasks is a source without ids only if it is the only one.
        self._has_tasks = bool(xcom_task_ids) or (xcom_task_ids is not None and value is None)

    def _gather_ids(self, context: Context, *, on_empty: Reaction, origin: str = "") -> RunIds:
        ids = RunIds(kind=self._id_kind)
        for _ in self._reading_ids(ids, context, on_empty=on_empty, origin=origin):
            pass
        return ids

    def _reading_ids(
        self, ids: RunIds, context: Context, *, on_empty: Reaction, origin: str
    ) -> Iterator[list[str]]:
        """Add the ids, and yield all so far after each source; at last, log what else these held."""
        argument = self._id_kind.argument
        value = getattr(self, argument)
        # What was given when the Dag was parsed counts also where it has rendered to nothing.
        if value is not None or self._has_value:
            with noting_failure(ids, argument):
                # Reading it at once takes one request for the outputs of a mapped task.
                ids.add(read_sequence(value), source=argument)
            yield ids.found
        if self.xcom_task_ids or self._has_tasks:
            yield from add_xcoms(ids, context, self.xcom_task_ids, self.xcom_key)
        log_sources(self.log, ids, on_empty=on_empty, origin=origin)


class TakesRunIds(TakesIds):
    """Take ``run_ids``, and the tasks that have pushed some."""

    template_fields: Sequence[str] = ("run_ids", "xcom_task_ids", "xcom_key")
    _id_kind = RUN_IDS

    if TYPE_CHECKING:
        run_ids: Any


class TakesTokenIds(TakesIds):
    """
    Take ``token_ids``, and the tasks that have pushed some.

    Airflow shows ``***`` for them as rendered, as it does for each argument with "token" in its name.
    """

    template_fields: Sequence[str] = ("token_ids", "xcom_task_ids", "xcom_key")
    _id_kind = TOKEN_IDS

    if TYPE_CHECKING:
        token_ids: Any
