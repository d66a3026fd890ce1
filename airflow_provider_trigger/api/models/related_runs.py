"""Runs that a run has started, and the run that has started it: what ``relatedRuns`` shows of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_trigger.api.models.statuses import RunStatus, meaning_of
from airflow_provider_trigger.api.responses import read_text, read_time


@dataclass(frozen=True, slots=True)
class ChildRun:
    """A run that another one has started."""

    id: str
    status: str
    parent_id: str
    is_current: bool = False
    """Whether the status is up to date, as in the answer to a check, unlike a query's."""
    started_at: datetime | None = None
    """When a worker first took it, where the status is up to date."""

    @property
    def may_need_cancel(self) -> bool:
        """Whether it is alive, or CANCELED, so that a worker may still have it."""
        return not meaning_of(self.status).is_final or self.status == RunStatus.CANCELED

    @property
    def is_suspended(self) -> bool:
        """Whether it waits without a worker, as far as is known."""
        return self.is_current and self.status == RunStatus.WAITING


def children_of(run_id: str, attributes: Mapping[str, Any]) -> list[ChildRun]:
    """Return the runs that a run has started itself: one level only, with up-to-date statuses (measured)."""
    children = _related(attributes, "children")
    found = []
    for child in children if isinstance(children, list) else []:
        match child:
            case {"id": str(child_id), "status": str(status)} if child_id and status:
                started_at = read_time(child.get("startedAt"))
                found.append(ChildRun(child_id, status, run_id, is_current=True, started_at=started_at))
    return found


def root_id_of(attributes: Mapping[str, Any]) -> str | None:
    """Return the id of the run at the top of a run's tree, None for a run that no other one has started."""
    return read_text(_related_run(attributes, "root").get("id"))


def _related(attributes: Mapping[str, Any], name: str) -> Any:
    related = attributes.get("relatedRuns")
    return related.get(name) if isinstance(related, dict) else None


def _related_run(attributes: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return what is shown of the parent or the root, nothing where there is none."""
    shown = _related(attributes, name)
    return shown if isinstance(shown, dict) else {}
