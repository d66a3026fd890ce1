"""The arguments of operators, sensors and notifiers: check, render and keep them, and gather ids by them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, KeysView, Mapping, Sequence, ValuesView
from contextlib import AbstractContextManager
from dataclasses import dataclass
from inspect import cleandoc, signature
from os import PathLike
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_trigger import _compat, rules
from airflow_provider_trigger.rules import Circumstances, Rule
from airflow_provider_trigger.sources.run_ids import (
    RUN_IDS,
    TOKEN_IDS,
    IdKind,
    Reaction,
    RunIds,
    log_sources,
)
from airflow_provider_trigger.sources.xcom import add_xcoms, noting_failure

if TYPE_CHECKING:
    from airflow.sdk import Context


def check_arguments(taker: Any, table: Mapping[str, Rule]) -> None:
    """Check the attributes of an operator, a sensor or a notifier by their rules, and convert them."""
    with arguments_of(taker):
        for name, value in rules.checked(table, {name: getattr(taker, name) for name in table}).items():
            setattr(taker, name, value)


def arguments_of(taker: Any, *, are_rendered: bool = False) -> AbstractContextManager[None]:
    """
    Let the error of an invalid argument begin with whose it is.

    Where the task runs, it fails without retries. An instance of a mapped task is constructed only then.
    """
    task_id = getattr(taker, "task_id", None)
    owner = type(taker).__name__ if task_id is None else f"{type(taker).__name__} {task_id!r}"
    is_in_worker = are_rendered or _compat.is_mapped_instance(taker)
    return rules.naming(owner, _compat.AirflowFailException if is_in_worker else ValueError)


def check_outputs(argument: str, value: object, *, takes_outputs: bool = True) -> None:
    """Check that a value has no task in place of its output, and in a callback, no output either."""
    for part in contents(value):
        task_id = _task_id(part)
        if task_id and not takes_outputs:
            what = f"a task's output in {argument}; use xcom_task_ids={task_id!r}"
            raise ValueError(f"a callback cannot resolve {what}")
        if task_id and not isinstance(part, _compat.XComArg):
            what = f"takes the output of task {task_id!r}, not the task: call it, or give .output"
            raise ValueError(f"{argument} {what}")


def check_task_ids(value: object) -> None:
    """Check ``xcom_task_ids``, one or several."""
    for part in value if isinstance(value, (list, tuple)) else [value]:
        if not isinstance(part, str) or not part.strip():
            what = f"a string that is not empty, not {part!r}"
            if task_id := _task_id(part):
                what = f"not the task {task_id!r} itself, nor its output: give its id, {task_id!r}"
            raise ValueError(f"xcom_task_ids must be a task's id, {what}")


def is_templated(value: object) -> bool:
    """Return whether a value is known only when the task runs: it has Jinja, or is the output of a task."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    # How Airflow itself recognizes what it resolves; a path has a method of that name, too.
    return hasattr(value, "resolve") and not isinstance(value, PathLike)


# An argument or an error in a docstring, and its name.
_FIELD = re.compile(r"^:(?:param|raises) (\w+): .*(?:\n +.*)*", re.MULTILINE)

# An integer as Python writes it, also between the line breaks of a template.
_INTEGER = re.compile(r"\s*(?:0|-?[1-9]\d*)\s*", re.ASCII)


class TakesArguments:
    """
    Render what is a template, and nothing else; comes before Airflow's class in the bases.

    The docstring of each class explains all arguments, those of its bases too.

    A native Dag would make a number of the text '2.10'. To compile 100,000 run ids takes half a minute.
    Of '1_000' and '0x1F' it would make 1000 and 31, which another task may have: they stay texts.

    :param trigger_dev_conn_id: the connection; templated
    """

    get_template_env: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own, *others = (
            cleandoc(kind.__doc__ or "") for kind in cls.__mro__ if issubclass(kind, TakesArguments)
        )
        found: dict[str, str] = {}
        for text in (own, *others):
            for field in _FIELD.finditer(text):
                found.setdefault(field[1], field[0])
        order = [*signature(cls.__init__).parameters]
        names = sorted(found, key=lambda name: order.index(name) if name in order else len(order))
        cls.__doc__ = "\n".join([_FIELD.sub("", own).rstrip(), "", *(found[name] for name in names)])

    def render_template(self, content: Any, context: Any, jinja_env: Any = None, *args: Any) -> Any:
        """Render a value; a text without a template stays as it is."""
        env = jinja_env or self.get_template_env()
        if isinstance(content, str) and all(kind == "data" for _, kind, _ in env.lex(content)):
            return content
        render = super().render_template  # type: ignore[misc]
        found = render(content, context, env, *args)
        if isinstance(content, str) and type(found) is int:
            # Python cannot read a text that begins so, and Jinja gives what it cannot read as it is.
            text = render(f"!{content}", context, env, *args)[1:]
            return found if _INTEGER.fullmatch(text) else text
        return found


def holds_templated(value: object) -> bool:
    """Return whether a value, or anything in it, is known only when the task runs."""
    return any(map(is_templated, contents(value)))


def read_once(value: Any) -> Any:
    """Return a list of what could be read for the first Dag run only, or has no order."""
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    return list(value) if isinstance(value, (Iterator, KeysView, ValuesView)) else value


def contents(value: object) -> Iterator[object]:
    """Yield what is in lists and dicts, at any depth; any other value itself."""
    parts = value.values() if isinstance(value, Mapping) else value
    if isinstance(parts, (list, tuple, ValuesView)):
        for part in parts:
            yield from contents(part)
    else:
        yield value


def _task_id(value: Any) -> str | None:
    """Return the id of the task that a value is, or is the output of; None if it is neither."""
    if isinstance(value, str):  # as nearly all are, of many run ids
        return None
    if isinstance(value, _compat.XComArg):
        value, _ = next(iter(value.iter_references()))
    if getattr(value, _compat.IS_TASK_DECORATOR, False):
        return str(value.kwargs["task_id"])
    task_id = getattr(value, "task_id", None)
    return task_id if isinstance(task_id, str) else None


def with_lists(value: Any) -> Any:
    """Return a value with lists in place of Airflow's own sequences, such as a mapped task's output."""
    if isinstance(value, dict):
        return {key: with_lists(part) for key, part in value.items()}
    found = _compat.read_sequence(value)
    return [with_lists(part) for part in found] if isinstance(found, (list, tuple)) else found


_NONE_TEXT = (
    "The template %r rendered to the text 'None': it found nothing, or a task returned None. Check the task "
    "ids and the key in it; a task's .output in its place gives None itself"
)
_SEQUENCE_TEXT = (
    "{} must not contain {!r}, which is what the template made of a mapped task's outputs. Give the task's "
    ".output in place of the template, or set render_template_as_native_obj=True on the Dag"
)


class ChecksRendered(TakesArguments):
    """Check templated arguments twice; a subclass says how."""

    rendered_arguments: ClassVar[dict[str, str]]
    """All that can be templated but the connection: the attribute of each argument."""

    log: Any

    def render_template(self, content: Any, context: Any, jinja_env: Any = None, *args: Any) -> Any:
        """Render a value; a warning names a template of which the text ``None`` became."""
        found = super().render_template(content, context, jinja_env, *args)
        if is_templated(content) and isinstance(found, str) and found.strip() == str(None):
            self.log.warning(_NONE_TEXT, content)
        return found

    def _check(self, when: Circumstances) -> None:
        raise NotImplementedError

    def _check_given(self) -> None:
        """Check the arguments as they are when the Dag is parsed, and keep those with templates."""
        with arguments_of(self):
            self._check(Circumstances(skip=is_templated))
        self._as_given = {name: value for name, value in self._rendered.items() if holds_templated(value)}

    @property
    def _rendered(self) -> dict[str, Any]:
        return {name: getattr(self, attribute) for name, attribute in self.rendered_arguments.items()}

    def _check_rendered(self) -> None:
        """Check what templates and tasks' outputs have become; an error fails the task without retries."""
        for attribute in self.rendered_arguments.values():
            setattr(self, attribute, with_lists(getattr(self, attribute)))
        with arguments_of(self, are_rendered=True):
            for name, value in self._rendered.items():
                for text in contents(value):
                    if isinstance(text, str) and (found := rules.SEQUENCE_TEXT.search(text)):
                        raise ValueError(_SEQUENCE_TEXT.format(name, found[0]))
            self._check(rules.RENDERED)


class TakesIds(TakesArguments):
    """
    Take ids, ``xcom_task_ids`` and ``xcom_key``; comes before Airflow's class in the bases.

    Airflow reads the names of an operator's arguments in its ``__init__``. So each class that takes them
    names the three there, and hands them to :meth:`_take_ids`.

    :param xcom_task_ids: the tasks whose XCom holds ids, of a mapped one all instances', but in its own
        callback and within a mapped task group its own instance's; in addition to those given; templated
    """

    _id_kind: ClassVar[IdKind]
    _takes_outputs: ClassVar[bool] = True  # Airflow resolves none in a callback
    # Airflow keeps the arguments as given: an iterator among them cannot be deep-copied.
    shallow_copy_attrs: Sequence[str] = (_compat.INIT_ARGUMENTS,)

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
            # A value of a mapped task may be None: this instance has no runs.
            if not _compat.is_mapped_instance(self):
                if xcom_key and xcom_task_ids is None:
                    raise ValueError("xcom_key needs xcom_task_ids: it is the key of their XCom")
                if required and value is None and not xcom_task_ids and not has_others:
                    raise ValueError(f"give one or more of {', '.join((argument, 'xcom_task_ids', *others))}")
            check_outputs(argument, value, takes_outputs=self._takes_outputs)
            if xcom_task_ids is not None:
                check_task_ids(xcom_task_ids)
        setattr(self, argument, value)
        self.xcom_task_ids = xcom_task_ids
        self.xcom_key = xcom_key
        self._has_value = value is not None or (xcom_task_ids is None and not has_others)
        # `xcom_task_ids=[]` counts as an empty source only if nothing else was given.
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
        # An argument that was given at parse counts as given, also if it has rendered to nothing.
        if value is not None or self._has_value:
            with noting_failure(ids, argument):
                # Reading it at once takes one request for the outputs of a mapped task.
                ids.add(_compat.read_sequence(value), source=argument)
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


class SelectsRuns(TakesRunIds):
    """Take ``tags`` and ``batch_ids``, too, which runs are searched by; a subclass documents them."""

    template_fields: Sequence[str] = (*TakesRunIds.template_fields, "tags", "batch_ids")

    tags: Any
    batch_ids: Any
    max_runs: int

    def _take_runs(self, given: Mapping[str, Any]) -> None:
        """Check these arguments, and keep them; ``given`` are the local variables of ``__init__``."""
        tags, default_args = given["tags"], given["kwargs"].get("default_args") or {}
        if tags is not None and tags is default_args.get("tags"):
            with arguments_of(self):
                raise ValueError(
                    "tags must not come from default_args, which are for runs that are started: give the "
                    "task its own tags, or tags=None"
                )
        selecting = {name: given[name] for name in SELECTING}
        self.tags, self.batch_ids, self.max_runs = tags, given["batch_ids"], given["max_runs"]
        self._selecting = [name for name, value in selecting.items() if value is not None]
        with arguments_of(self):
            rules.checked_given(SELECTING, selecting, Circumstances(skip=is_templated))
        self._take_ids(
            given["run_ids"],
            xcom_task_ids=given["xcom_task_ids"],
            xcom_key=given["xcom_key"],
            others=selecting,
        )

    def _selection(self, ids: RunIds) -> Selection:
        """Return which runs they select, as rendered; ``ids`` gets what is invalid, such as a None."""
        found: dict[str, tuple[str, ...]] = {}
        # A value of a mapped argument may be None: unlike an argument that was not given, it is an error.
        given = getattr(self, _compat.INIT_ARGUMENTS) if _compat.is_mapped_instance(self) else {}
        for name in [name for name in SELECTING if name in self._selecting or name in given]:
            try:
                found |= rules.checked(SELECTING, {name: getattr(self, name)})
            except ValueError as error:
                ids.invalid.append(str(error))
                self.log.error("%s", error)
        return Selection(**found, max_runs=self.max_runs)


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

    None and an empty list are not valid: without any term, all runs would be found.
    """

    def check(name: str, value: Any, when: Circumstances) -> tuple[str, ...]:
        given = rules.read_list(_compat.read_sequence(value))
        if not isinstance(given, (list, tuple)) or not given:
            raise rules.invalid(name, f"a string, or a list of at least one {kind}", value)
        found = [rules.word(name, text, when) for text in given if not when.skip(text)]
        for text in found:
            if text.strip() in ("None", "null") or rules.SEQUENCE_TEXT.search(text):
                why = "a template that finds nothing, or a mapped task's outputs, renders to this"
                raise ValueError(f"{name} must not be {text!r}: {why}")
            if known and text not in known:
                raise rules.invalid(name, f"one of {', '.join(sorted(known))}", text)
        return tuple(dict.fromkeys(found))

    return check


def batch_ids(name: str, value: Any, when: Circumstances) -> tuple[str, ...]:
    """Take the ids of batches, but not those of runs."""
    found: tuple[str, ...] = terms("batch id")(name, value, when)
    for batch_id in found:
        if batch_id.startswith(RUN_IDS.prefix):
            raise ValueError(f"{name} must not be {batch_id!r}: it is the id of a run; use run_ids")
    return found


SELECTING = {"tags": terms("tag"), "batch_ids": batch_ids}


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which runs to find: those with all of the tags, and those of any of the batches."""

    tags: tuple[str, ...] = ()
    batch_ids: tuple[str, ...] = ()
    max_runs: int  # it is an error if more are found

    def __bool__(self) -> bool:
        return bool(self.tags or self.batch_ids)

    def __str__(self) -> str:
        parts = {"tags": list(self.tags), "batch_ids": list(self.batch_ids)}
        return " and ".join(f"{name}={terms!r}" for name, terms in parts.items() if terms)
