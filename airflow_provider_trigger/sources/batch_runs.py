"""Find the runs of batches, those that their items share with earlier batches, too."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from airflow_provider_trigger.api.endpoints.batches import retrieve_batch
from airflow_provider_trigger.api.endpoints.runs import check_run
from airflow_provider_trigger.api.errors import AuthenticationError, NotFoundError, TriggerDevError
from airflow_provider_trigger.api.models.batches import Batch
from airflow_provider_trigger.api.models.runs import ListedRun
from airflow_provider_trigger.run.checks import call_each
from airflow_provider_trigger.run.find import RunFilter
from airflow_provider_trigger.sources.run_ids import InvalidValue, RunIds
from airflow_provider_trigger.sources.search_terms import BATCH_IDS

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient

_CREATING = ("PENDING", "PROCESSING")


class BatchRuns:
    """
    Find the runs of batches; ``note`` gets what is wrong with one, ``found`` has them as last seen.

    A batch names runs of earlier batches, too, that its items got by their keys, and which the list does not
    show with it; the list shows runs that a large batch does not name yet (measured).
    """

    def __init__(self, note: Callable[[RunIds], None]) -> None:
        self.found: dict[str, Batch] = {}
        self._note = note
        self._unknown: set[str] = set()
        self._ended: set[str] = set()
        self._unlisted: set[str] = set()

    @property
    def incomplete(self) -> list[Batch]:
        """Those of which the server may still start runs."""
        return [
            batch
            for batch in self.found.values()
            if batch.status in _CREATING and len(batch.run_ids) < batch.run_count
        ]

    def runs_of(self, batch_id: str, client: TriggerDevClient, *, skip: Collection[str]) -> list[ListedRun]:
        """Return the runs of a batch, some ended, in its items' order; those in ``skip`` may be missing."""
        batch = self._retrieve(batch_id, client)
        if batch is None:
            return []
        named, listed = dict.fromkeys(batch.run_ids), self._listed(batch, client)
        runs = {run_id: run for run_id, run in listed.items() if run_id in named}
        unsure = [one for one in (*named, *listed) if one not in runs and one not in skip]
        runs |= self._checked(batch, [one for one in unsure if one not in self._ended], client)
        return [runs[run_id] for run_id in dict.fromkeys((*named, *listed)) if run_id in runs]

    def _retrieve(self, batch_id: str, client: TriggerDevClient) -> Batch | None:
        try:
            self.found[batch_id] = client.call(retrieve_batch(batch_id))
        except NotFoundError:
            reason = "the environment of the secret key has no such batch"
            if batch_id not in self._unknown:
                self._unknown.add(batch_id)
                unknown = InvalidValue(repr(batch_id), BATCH_IDS.argument, reason, kind=BATCH_IDS.kind)
                self._note(RunIds(invalid=[unknown]))
            return None
        return self.found[batch_id]

    def _listed(self, batch: Batch, client: TriggerDevClient) -> dict[str, ListedRun]:
        """Return none where the list fails, as the batch names most."""
        try:
            return _listed(client, batch)
        except AuthenticationError:
            raise
        except TriggerDevError as error:
            # It reads a database of its own, which can be down while all else works (measured).
            if len(batch.run_ids) < batch.run_count and batch.id not in self._unlisted:
                text = f"batch {batch.id!r} names {len(batch.run_ids)} of its {batch.run_count} runs"
                self._note(RunIds(failed=[f"{text}, and the list could not be searched for others: {error}"]))
            self._unlisted.add(batch.id)
            return {}

    def _checked(self, batch: Batch, run_ids: list[str], client: TriggerDevClient) -> dict[str, ListedRun]:
        """Return those of the runs that belong to a batch."""
        runs: dict[str, ListedRun] = {}
        for run_id, run in call_each(client, check_run, run_ids).items():
            if isinstance(run, AuthenticationError):
                raise run
            if isinstance(run, NotFoundError):
                continue  # it was named, but never made (measured)
            if isinstance(run, TriggerDevError) and run_id in batch.run_ids:
                runs[run_id] = ListedRun(id=run_id, status="", task_identifier="", attributes={})
            elif isinstance(run, TriggerDevError):
                text = f"run {run_id} is not canceled, as it may not belong to batch {batch.id!r}"
                self._note(RunIds(failed=[f"{text}: {run}"]))
            elif run_id in batch.run_ids or run.batch_id == batch.id:
                runs[run_id] = run
                self._ended |= {run_id} if run.is_final else set()
        return runs


def _listed(client: TriggerDevClient, batch: Batch) -> dict[str, ListedRun]:
    listed: dict[str, ListedRun] = {}
    for page in RunFilter(batch_id=batch.id).pages(client):
        listed |= {run.id: run for run in page}
        if len(listed) > max(batch.run_count, len(batch.run_ids)):
            return {}  # a server that does not know the filter lists all runs
    return listed
