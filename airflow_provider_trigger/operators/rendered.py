"""What templates and the outputs of tasks have become when a task runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from airflow_provider_trigger._compat.task_instances import read_sequence
from airflow_provider_trigger.run.json_values import path_of
from airflow_provider_trigger.sources.run_ids import SEQUENCE_TEXT

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
    for path, text in _texts(arguments):
        if found := SEQUENCE_TEXT.search(text):
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
