"""Read what runs are searched by: tags, batches, statuses and tasks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from airflow_provider_trigger._compat.task_instances import read_sequence
from airflow_provider_trigger.rules import Circumstances, Rule, is_encodable
from airflow_provider_trigger.sources.run_ids import (
    SEQUENCE_TEXT,
    invalid_value,
    read_literal,
)


def terms(kind: str, known: Collection[str] = (), *, several: bool = True) -> Rule:
    """
    Return a rule that takes texts, of those that are known if any are, and returns each once, in a tuple.

    It takes one text; if it takes several, also a list or set, the outputs of a mapped task, or what Jinja
    makes of a list. None and an empty list are not valid: without any term, all runs would be found.
    """

    def check(name: str, value: Any, when: Circumstances) -> tuple[str, ...]:
        given = _listed(value) if several else [value]
        if not isinstance(given, (list, tuple)) or not given:
            what = f"it must be a string, or a list of at least one {kind}"
            raise invalid_value(given, source=name, kind=kind, reason=what)
        found = [text for text in given if not when.skip(text)]
        for text in found:
            if reason := _why_invalid(text, known):
                raise invalid_value(text, source=name, kind=kind, reason=reason)
        return tuple(dict.fromkeys(found))

    return check


BATCH_ID = "batch id"
SELECTING = {"tags": terms("tag"), "batch_ids": terms(BATCH_ID)}
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


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        if not value.strip().startswith("["):
            return [value]
        try:
            return read_literal(value)
        except ValueError:
            return [value]  # a tag may begin with a bracket
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    return read_sequence(value)


def _why_invalid(text: object, known: Collection[str]) -> str | None:
    if not isinstance(text, str):
        return f"it must be a string, not {type(text).__name__}"
    if not text.strip() or "," in text:
        # Where runs are listed, an empty text finds all runs, and a comma separates two texts (measured).
        return "it must not be empty, nor have a comma"
    if not is_encodable(text):
        return "it has a lone surrogate, which cannot be encoded"
    if text.strip() in ("None", "null"):
        return "a template that finds nothing renders to this"
    if SEQUENCE_TEXT.search(text):
        return "Jinja turned mapped outputs into text; use the task's .output"
    if known and text not in known:
        return f"it must be one of {', '.join(sorted(known))}"
    return None
