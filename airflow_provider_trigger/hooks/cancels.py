"""The hook's methods that cancel runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.cancel.settings import CancelSettings
from airflow_provider_trigger.hooks.clients import ClientHook
from airflow_provider_trigger.sources.run_ids import all_valid, exactly_one

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

    def cancel_runs(self, run_ids: Any) -> list[CancelResult]:
        """
        Cancel many runs and return the outcome of each.

        The list has one :class:`~airflow_provider_trigger.cancel.outcome.CancelResult` for each run, in the
        order of the ids; a repeated id counts once. Its ``outcome`` is ``canceled``, ``already_completed``,
        ``not_found`` or ``failed``; for ``failed``, nothing is raised, and its ``error`` says why.

        :param run_ids: run ids in any form that the operator accepts: a list, text, dicts with an ``id``
        :raises ValueError: a value, or None, is not a valid run id; names each, and nothing is sent
        :raises AuthenticationError: the server rejected the secret key; some runs may be canceled by then
        """
        with self.cancellation(all_valid(run_ids), CancelSettings()) as cancellation:
            return cancellation.run()
