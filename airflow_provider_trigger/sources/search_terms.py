"""Read what runs are searched by: tags, batches, statuses and tasks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from airflow_provider_trigger._compat.task_instances import read_sequence
from airflow_provider_trigger.sources.run_ids import (
    RUN_ID_PREFIX,
    SEQUENCE_TEXT,
    InvalidValue,
    read_literal,
    show,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """
    An argument that takes texts.

    :param argument: its name
    :param kind: what each text is
    :param known: all that it may be; empty for any
    :param wrong_start: what no text may begin with, and why
    :param several: whether it takes a list as well as one text
    """

    argument: str
    kind: str
    known: Collection[str] = ()
    wrong_start: tuple[str, str] | None = None
    several: bool = True


class InvalidTermsError(ValueError):
    """
    An argument holds a value that it cannot be searched by.

    :param value: says which, and why
    """

    def __init__(self, value: InvalidValue) -> None:
        super().__init__(str(value))
        self.value = value


TAGS = Terms(argument="tags", kind="tag")
BATCH_IDS = Terms(
    argument="batch_ids",
    kind="batch id",
    wrong_start=(RUN_ID_PREFIX, "it is the id of a run, which goes into run_ids"),
)


def never(_: object) -> bool:
    """Return False."""
    return False


def read_terms(terms: Terms, value: Any, *, is_unknown: Callable[[object], bool] = never) -> tuple[str, ...]:
    """
    Return the texts that an argument holds, each once.

    None and an empty list are not valid: without any term, all runs would be found.

    :param terms: the argument
    :param value: a text, a list or set of texts, the outputs of a mapped task, or what Jinja makes of a list
    :param is_unknown: whether a value, or one of a list, is not known yet; it is left out
    :raises InvalidTermsError: a value is not valid
    """
    if is_unknown(value):
        return ()
    given = _listed(value) if terms.several else [value]
    if not isinstance(given, (list, tuple)):
        raise _invalid(terms, given, "it must be a string, or a list of strings")
    if not given:
        raise _invalid(terms, given, f"the list must have at least one {terms.kind}")
    texts = [text for text in given if not is_unknown(text)]
    for text in texts:
        if reason := _why_invalid(terms, text):
            raise _invalid(terms, text, reason)
    return tuple(dict.fromkeys(texts))


def given_terms(
    owner: str, terms: Terms, value: Any, *, is_unknown: Callable[[object], bool] = never
) -> tuple[str, ...]:
    """
    Return the texts that an argument holds, none where it was not given; see :func:`read_terms`.

    :param owner: whose argument it is, for the message
    :param terms: the argument
    :param value: as given
    :param is_unknown: whether a value, or one of a list, is not known yet
    :raises ValueError: a value is not valid
    """
    try:
        return () if value is None else read_terms(terms, value, is_unknown=is_unknown)
    except InvalidTermsError as error:
        raise ValueError(f"{owner}: {error}") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """
    Which runs to find: those with the tags, and those of the batches.

    :param tags: a run has all of these; without any, no run is selected by tags
    :param batch_ids: a run belongs to one of these
    :param max_runs: it is an error if more are found
    """

    tags: tuple[str, ...] = ()
    batch_ids: tuple[str, ...] = ()
    max_runs: int

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
    outputs = read_sequence(value)
    return value if outputs is None else outputs


def _why_invalid(terms: Terms, text: object) -> str | None:
    if not isinstance(text, str):
        return f"it must be a string, not {type(text).__name__}"
    if not text.strip() or "," in text:
        # Where runs are listed, an empty text finds all runs, and a comma separates two texts (measured).
        return "it must not be empty, nor have a comma"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "it has a lone surrogate, which cannot be encoded"
    if text.strip() in ("None", "null"):
        return "a template that finds nothing renders to this"
    if SEQUENCE_TEXT.search(text):
        return "Jinja turned mapped outputs into text; use the task's .output"
    if terms.known and text not in terms.known:
        return f"it must be one of {', '.join(sorted(terms.known))}"
    if terms.wrong_start and text.startswith(terms.wrong_start[0]):
        return terms.wrong_start[1]
    return None


def _invalid(terms: Terms, value: object, reason: str) -> InvalidTermsError:
    return InvalidTermsError(InvalidValue(show(value), terms.argument, reason, kind=terms.kind))
