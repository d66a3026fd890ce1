"""Read what runs are searched by: tags, batches, statuses and tasks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from airflow_provider_trigger._compat.task_instances import read_sequence
from airflow_provider_trigger.rules import AS_GIVEN, Skip, is_encodable
from airflow_provider_trigger.sources.run_ids import (
    SEQUENCE_TEXT,
    invalid_value,
    read_literal,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """An argument that takes texts."""

    argument: str
    kind: str
    known: Collection[str] = ()
    """All that a text may be; empty for any."""
    several: bool = True
    """Whether it takes a list as well as one text."""


TAGS = Terms(argument="tags", kind="tag")
BATCH_IDS = Terms(argument="batch_ids", kind="batch id")


def read_terms(terms: Terms, value: Any, *, skip: Skip = AS_GIVEN.skip) -> tuple[str, ...]:
    """
    Return the texts that an argument holds, each once, without those that are not known yet.

    It may be a text, a list or set of texts, the outputs of a mapped task, or what Jinja makes of a list.
    None and an empty list are not valid: without any term, all runs would be found.
    """
    if skip(value):
        return ()
    given = _listed(value) if terms.several else [value]
    if not isinstance(given, (list, tuple)):
        raise _invalid(terms, given, "it must be a string, or a list of strings")
    if not given:
        raise _invalid(terms, given, f"the list must have at least one {terms.kind}")
    texts = [text for text in given if not skip(text)]
    for text in texts:
        if reason := _why_invalid(terms, text):
            raise _invalid(terms, text, reason)
    return tuple(dict.fromkeys(texts))


def given_terms(terms: Terms, value: Any, *, skip: Skip = AS_GIVEN.skip) -> tuple[str, ...]:
    """Return the texts that an argument holds, none where it was not given."""
    return () if value is None else read_terms(terms, value, skip=skip)


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


def _why_invalid(terms: Terms, text: object) -> str | None:
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
    if terms.known and text not in terms.known:
        return f"it must be one of {', '.join(sorted(terms.known))}"
    return None


def _invalid(terms: Terms, value: object, reason: str) -> ValueError:
    return invalid_value(value, source=terms.argument, kind=terms.kind, reason=reason)
