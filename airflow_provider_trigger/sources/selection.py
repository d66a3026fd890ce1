"""The arguments that select runs by what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_trigger.sources.arguments import TakesRunIds
from airflow_provider_trigger.sources.run_ids import RunIds
from airflow_provider_trigger.sources.search_terms import (
    BATCH_IDS,
    TAGS,
    InvalidTermsError,
    Terms,
    read_terms,
)
from airflow_provider_trigger.validation import check_number, is_templated


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


class TakesSelection(TakesRunIds):
    """Take ``tags``, ``batch_ids`` and ``max_runs``, too; each class names them in its own ``__init__``."""

    template_fields: Sequence[str] = (*TakesRunIds.template_fields, "tags", "batch_ids")

    def _take_selection(self, owner: str, *, tags: Any, batch_ids: Any, max_runs: int) -> bool:
        """
        Check the arguments, and keep them; return whether any was given.

        :param owner: whose they are, for the message of an error
        :param tags: as given
        :param batch_ids: as given
        :param max_runs: as given
        :raises ValueError: one of them is invalid
        """
        given = {TAGS: tags, BATCH_IDS: batch_ids}
        self._selecting: list[Terms] = [terms for terms, value in given.items() if value is not None]
        for terms in self._selecting:
            try:
                read_terms(terms, given[terms], is_unknown=is_templated)
            except InvalidTermsError as error:
                raise ValueError(f"{owner}: {error}") from None
        check_number(owner, "max_runs", max_runs, least=1, unit="runs", whole=True)
        self.tags = tags
        self.batch_ids = batch_ids
        self.max_runs = max_runs
        return bool(self._selecting)

    def _selection(self, ids: RunIds) -> Selection:
        """
        Return which runs the arguments select, as rendered.

        :param ids: gets what is invalid by now, such as a template that rendered to None
        """
        found: dict[str, tuple[str, ...]] = {}
        for terms in self._selecting:
            try:
                found[terms.argument] = read_terms(terms, getattr(self, terms.argument))
            except InvalidTermsError as error:
                ids.invalid.append(error.value)
                self.log.error("%s", error)
        return Selection(**found, max_runs=self.max_runs)
