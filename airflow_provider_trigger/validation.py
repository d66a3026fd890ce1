"""Check the arguments of operators, sensors and notifiers: when a Dag is parsed, and as rendered."""

from __future__ import annotations

import re
from collections.abc import Iterator, KeysView, Mapping, ValuesView
from contextlib import AbstractContextManager
from inspect import cleandoc, signature
from os import PathLike
from typing import Any, ClassVar

from airflow_provider_trigger._compat import (
    IS_TASK_DECORATOR,
    AirflowFailException,
    XComArg,
    is_mapped_instance,
    read_sequence,
)
from airflow_provider_trigger.rules import RENDERED, SEQUENCE_TEXT, Circumstances, Rule, checked, naming


def check_arguments(taker: Any, rules: Mapping[str, Rule]) -> None:
    """Check the attributes of an operator, a sensor or a notifier by their rules, and convert them."""
    with arguments_of(taker):
        for name, value in checked(rules, {name: getattr(taker, name) for name in rules}).items():
            setattr(taker, name, value)


def arguments_of(taker: Any, *, are_rendered: bool = False) -> AbstractContextManager[None]:
    """
    Let the error of an invalid argument begin with whose it is.

    Where the task runs, it fails without retries. An instance of a mapped task is constructed only then.
    """
    task_id = getattr(taker, "task_id", None)
    owner = type(taker).__name__ if task_id is None else f"{type(taker).__name__} {task_id!r}"
    return naming(owner, AirflowFailException if are_rendered or is_mapped_instance(taker) else ValueError)


def check_outputs(argument: str, value: object, *, takes_outputs: bool = True) -> None:
    """Check that a value has no task in place of its output; a callback resolves no output either."""
    for part in contents(value):
        task_id = _task_id(part)
        if task_id and not takes_outputs:
            what = f"a task's output in {argument}; use xcom_task_ids={task_id!r}"
            raise ValueError(f"a callback cannot resolve {what}")
        if task_id and not isinstance(part, XComArg):
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


class TakesArguments:
    """
    Render what is a template, and nothing else; comes before Airflow's class in the bases.

    The docstring of each class explains all arguments, those of its bases too.

    A native Dag would make a number of the text '2.10'. To compile 100,000 run ids takes half a minute.

    :param trigger_dev_conn_id: the connection; templated
    """

    get_template_env: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own, *others = (cleandoc(one.__doc__ or "") for one in cls.__mro__ if issubclass(one, TakesArguments))
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
        return super().render_template(content, context, env, *args)  # type: ignore[misc]


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
    if isinstance(value, XComArg):
        value, _ = next(iter(value.iter_references()))
    if getattr(value, IS_TASK_DECORATOR, False):
        return str(value.kwargs["task_id"])
    task_id = getattr(value, "task_id", None)
    return task_id if isinstance(task_id, str) else None


def with_lists(value: Any) -> Any:
    """Return a value with lists in place of Airflow's own sequences, such as a mapped task's output."""
    if isinstance(value, dict):
        return {key: with_lists(part) for key, part in value.items()}
    found = read_sequence(value)
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
        """Check what the server would reject, or ignore without a word."""
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
        """Check what templates and other tasks' outputs have become; a failure is one for good."""
        for attribute in self.rendered_arguments.values():
            setattr(self, attribute, with_lists(getattr(self, attribute)))
        with arguments_of(self, are_rendered=True):
            for name, value in self._rendered.items():
                for text in contents(value):
                    if isinstance(text, str) and (found := SEQUENCE_TEXT.search(text)):
                        raise ValueError(_SEQUENCE_TEXT.format(name, found[0]))
            self._check(RENDERED)
