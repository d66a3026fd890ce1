"""The arguments that say which runs or tokens are meant, and by what runs are searched for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_trigger._compat import INIT_ARGUMENTS, is_mapped_instance, read_sequence
from airflow_provider_trigger.rules import SEQUENCE_TEXT, Circumstances, Rule, invalid, word
from airflow_provider_trigger.sources.context import add_xcoms, noting_failure
from airflow_provider_trigger.sources.run_ids import (
    RUN_IDS,
    TOKEN_IDS,
    IdKind,
    Reaction,
    RunIds,
    log_sources,
    read_list,
)
from airflow_provider_trigger.validation import (
    TakesArguments,
    arguments_of,
    check_outputs,
    check_task_ids,
    read_once,
)

if TYPE_CHECKING:
    from airflow.sdk import Context


class TakesIds(TakesArguments):
    """
    Take ids, ``xcom_task_ids`` and ``xcom_key``; comes before Airflow's class in the bases.

    Airflow reads the names of an operator's arguments in its ``__init__``. So each class that takes them
    names the three there, and hands them to :meth:`_take_ids`.

    :param xcom_task_ids: the tasks whose XCom holds ids, of a mapped one all instances', but in its own
        callback and within a mapped task group its own instance's; in addition to those given; templated
    """

    _id_kind: ClassVar[IdKind]
    _takes_outputs: ClassVar[bool] = True
    """Whether Airflow resolves the outputs of tasks in it: not in a callback."""
    # Airflow keeps the arguments as given: an iterator among them cannot be deep-copied.
    shallow_copy_attrs: Sequence[str] = (INIT_ARGUMENTS,)

    log: Any

    def _take_ids(
        self,
        value: Any,
        *,
        xcom_task_ids: Any,
        xcom_key: str | None,
        required: bool = True,
        others: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Check the arguments, and keep them; ``others`` can be given instead."""
        has_others = any(other is not None for other in others.values())
        argument = self._id_kind.argument
        value, xcom_task_ids = read_once(value), read_once(xcom_task_ids)
        with arguments_of(self):
            # One of the values of a mapped task may be None: that instance has no runs.
            has_any = value is not None or xcom_task_ids or has_others or is_mapped_instance(self)
            if required and not has_any:
                raise ValueError(f"give one or more of {', '.join((argument, 'xcom_task_ids', *others))}")
            check_outputs(argument, value, takes_outputs=self._takes_outputs)
            if xcom_task_ids is not None:
                check_task_ids(xcom_task_ids)
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
        if self._has_tasks:
            yield from add_xcoms(ids, context, self.xcom_task_ids, self.xcom_key)
        log_sources(self.log, ids, on_empty=on_empty, origin=origin)


class TakesRunIds(TakesIds):
    """
    Take ``run_ids``, and the tasks that have pushed some.

    :param run_ids: a list, a text, the output of tasks, mapped ones too; templated
    :param xcom_key: the key of that XCom; None for the runs that a task of this provider's operators has
        started, and the return value of any other task; templated
    """

    template_fields: Sequence[str] = ("run_ids", "xcom_task_ids", "xcom_key")
    _id_kind = RUN_IDS

    run_ids: Any


class TakesTokenIds(TakesIds):
    """
    Take ``token_ids``, and the tasks that have pushed some.

    Airflow shows ``***`` for them as rendered, as it does for each argument with "token" in its name.

    :param token_ids: a list, a text, the output of tasks, mapped ones too, also ``{"id", "url"}`` and the
        addresses of tokens; templated
    :param xcom_key: the key of that XCom; None for the return value; templated
    """

    template_fields: Sequence[str] = ("token_ids", "xcom_task_ids", "xcom_key")
    _id_kind = TOKEN_IDS

    token_ids: Any


def terms(kind: str, known: Collection[str] = ()) -> Rule:
    """
    Return a rule that takes texts, of those that are known if any are, and returns each once, in a tuple.

    It takes one text, a list or set, the outputs of a mapped task, or what Jinja makes of a list. None and an
    empty list are not valid: without any term, all runs would be found.
    """

    def check(name: str, value: Any, when: Circumstances) -> tuple[str, ...]:
        given = read_list(read_sequence(value))
        if not isinstance(given, (list, tuple)) or not given:
            raise invalid(name, f"a string, or a list of at least one {kind}", value)
        found = [word(name, text, when) for text in given if not when.skip(text)]
        for text in found:
            if text.strip() in ("None", "null") or SEQUENCE_TEXT.search(text):
                why = "a template that finds nothing, or a mapped task's outputs, renders to this"
                raise ValueError(f"{name} must not be {text!r}: {why}")
            if known and text not in known:
                raise invalid(name, f"one of {', '.join(sorted(known))}", text)
        return tuple(dict.fromkeys(found))

    return check


SELECTING = {"tags": terms("tag"), "batch_ids": terms("batch id")}
"""By what runs are selected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which runs to find: those with all of the tags, and those of any of the batches."""

    tags: tuple[str, ...] = ()
    batch_ids: tuple[str, ...] = ()
    max_runs: int
    """It is an error if more are found."""

    def __bool__(self) -> bool:
        """Return whether it can select any run."""
        return bool(self.tags or self.batch_ids)

    def __str__(self) -> str:
        parts = {"tags": list(self.tags), "batch_ids": list(self.batch_ids)}
        return " and ".join(f"{name}={terms!r}" for name, terms in parts.items() if terms)
