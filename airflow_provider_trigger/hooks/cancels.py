"""The hook's methods that cancel runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.cancel.settings import CancelSettings
from airflow_provider_trigger.defaults import MAX_RUNS
from airflow_provider_trigger.hooks.clients import ClientHook
from airflow_provider_trigger.sources.run_ids import RunIds, all_valid, exactly_one
from airflow_provider_trigger.wording import enumeration

if TYPE_CHECKING:
    from airflow_provider_trigger.cancel.cancellation import Cancellation
    from airflow_provider_trigger.cancel.outcome import CancelResult


class CancelsHook(ClientHook):
    """Cancel runs."""

    @contextmanager
    def cancellation(
        self,
        run_ids: Iterable[str],
        settings: CancelSettings,
        *,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Cancellation]:
        """
        Give a cancellation on a client of its own; an error that leaves the ``with`` names the connection.

        :param run_ids: exact run ids; a repeated one counts once
        :param settings: how to cancel
        :param is_stopped: called several times per second; true stops the work within a second
        """
        from airflow_provider_trigger.cancel.cancellation import Cancellation
        from airflow_provider_trigger.hooks.diagnosis import action_for

        action = partial(action_for, settings=self.settings)
        # One more, for a search of further runs.
        with self.client(max_connections=settings.max_concurrency + 1) as client:
            yield Cancellation(client, run_ids, settings, is_stopped=is_stopped, action_for=action)

    def cancel_run(self, run_id: Any) -> CancelResult:
        """
        Cancel one run and return its outcome; for the other errors see :meth:`cancel_runs`.

        :param run_id: a run id, or any value that :meth:`cancel_runs` accepts and that contains exactly one
        :raises ValueError: not a valid run id, or several; nothing is sent then
        """
        return self.cancel_runs([exactly_one(run_id)])[0]

    def cancel_runs(
        self,
        run_ids: Any = None,
        *,
        tags: str | Sequence[str] | None = None,
        batch_ids: str | Sequence[str] | None = None,
        max_runs: int = MAX_RUNS,
    ) -> list[CancelResult]:
        """
        Cancel many runs and return the outcome of each.

        With ``tags`` or ``batch_ids``, the runs are searched for twice, 2.5 s apart, as the server shows a
        new run with a delay. The log names each that is found, and says why the second search failed, or left
        out some. Those of ``run_ids`` are canceled meanwhile, also where the search fails.

        The list has one :class:`~airflow_provider_trigger.cancel.outcome.CancelResult` for each run, in the
        order of the ids; a repeated id counts once. Its ``outcome`` is ``canceled``, ``already_completed``,
        ``not_found`` or ``failed``; for ``failed``, nothing is raised, and its ``error`` says why.

        :param run_ids: run ids in any form that the operator accepts: a list, text, dicts with an ``id``
        :param tags: in addition, the runs that are alive and have all of these
        :param batch_ids: in addition, the runs of these batches that are alive
        :param max_runs: how many runs ``tags`` and ``batch_ids`` may find
        :raises ValueError: a value is not a valid run id, tag or batch id, or nothing is given; nothing is
            canceled. There is no such batch, or more than ``max_runs`` are found; no other run than those of
            ``run_ids`` is canceled
        :raises AuthenticationError: the server rejected the secret key; some runs may be canceled by then
        :raises TriggerDevError: the runs could not be searched for; only those of ``run_ids`` are canceled
        """
        from airflow_provider_trigger.hooks.run_arguments import selection_of
        from airflow_provider_trigger.sources.selected import SelectedRuns

        selection = selection_of(tags=tags, batch_ids=batch_ids, max_runs=max_runs)
        ids = RunIds(found=[] if selection and run_ids is None else all_valid(run_ids))
        selected = SelectedRuns(selection, ids, log=self.log)
        with self.cancellation(ids.found, CancelSettings()) as work:
            results = work.run(selected.search(work.client, needs_all=True) if selection else None)
            if selected.error is not None:
                raise selected.error
        if ids.invalid:
            raise ValueError(f"cancel_runs: {enumeration(ids.invalid, '; ')}")
        return results
