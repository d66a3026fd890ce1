"""Check arguments that are templated: as given when the Dag is parsed, and as rendered when the task runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_trigger._compat import AirflowFailException
from airflow_provider_trigger._compat.task_instances import read_sequence
from airflow_provider_trigger.rules import Circumstances, naming
from airflow_provider_trigger.run.request import path_of
from airflow_provider_trigger.sources.run_ids import SEQUENCE_TEXT
from airflow_provider_trigger.validation import RendersTemplates, arguments_of, is_templated, owner_of

# One expression, and nothing before or after it.
_LONE_EXPRESSION = re.compile(r"\s*\{\{(?:(?!\{\{|\}\}).)*\}\}\s*", re.DOTALL)


def with_lists(value: Any) -> Any:
    """Return a value with lists in place of Airflow's own sequences, such as a mapped task's output."""
    if isinstance(value, dict):
        return {key: with_lists(part) for key, part in value.items()}
    found = read_sequence(value)
    return [with_lists(part) for part in found] if isinstance(found, (list, tuple)) else found


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


_NONE_TEXT = (
    "%s rendered to the text 'None', and is sent so: its template found nothing, or a task returned None. "
    "Check the task ids and the key in the template; a task's .output in its place gives None itself"
)


class ChecksRendered(RendersTemplates):
    """Check templated arguments twice; a subclass says how."""

    rendered_arguments: ClassVar[dict[str, str]]
    """All that can be templated but the connection: the attribute of each argument."""
    _tags_of_ours: ClassVar[int] = 0

    if TYPE_CHECKING:
        log: Any

    def _check(self, when: Circumstances) -> None:
        """Check what the server would reject, or ignore without a word."""
        raise NotImplementedError

    def _check_given(self) -> None:
        """Check the arguments as they are when the Dag is parsed."""
        with arguments_of(self):
            self._check(Circumstances(skip=is_templated, tags_of_ours=self._tags_of_ours))
        self._lone_expressions = lone_expressions(self._rendered)

    @property
    def _rendered(self) -> dict[str, Any]:
        return {name: getattr(self, attribute) for name, attribute in self.rendered_arguments.items()}

    def _check_rendered(self, *, is_retry: bool = False) -> Circumstances:
        """Check what templates and other tasks' outputs have become; a failure is one for good."""
        # A time that was to come in the first try may have passed: the run starts at once then (measured).
        earliest = datetime.min.replace(tzinfo=UTC) if is_retry else None
        when = Circumstances(now=earliest, tags_of_ours=self._tags_of_ours, is_rendered=True)
        for attribute in self.rendered_arguments.values():
            setattr(self, attribute, with_lists(getattr(self, attribute)))
        for place in none_texts(self._rendered, self._lone_expressions):
            self.log.warning(_NONE_TEXT, place)
        with naming(owner_of(self), AirflowFailException):
            check_sequence_texts(self._rendered)
            self._check(when)
        return when
