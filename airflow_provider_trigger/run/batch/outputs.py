"""What several runs have returned, fetched several at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.endpoints.runs import ended_run, retrieve_run
from airflow_provider_trigger.api.errors import TriggerDevError, is_internal_error
from airflow_provider_trigger.api.http import MAX_BODY_BYTES
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.checks import in_threads
from airflow_provider_trigger.run.output import OutputTooLargeError, output_of, size_of
from airflow_provider_trigger.wording import counted, enumeration

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient


@dataclass(frozen=True, kw_only=True, slots=True)
class _Output:
    """An output, or that a run has none; its value is None once it is not needed."""

    exists: bool
    value: Any = None
    size: int | None = None


class Outputs:
    """What runs returned; above ``max_size`` bytes of JSON for all together, only their sizes are kept."""

    def __init__(self, *, max_size: int) -> None:
        self.values: dict[str, Any] = {}
        """The outputs by run id; none of them once they are too large together."""
        self.sizes: dict[str, int | None] = {}
        """Of all outputs by run id, in bytes of JSON; None for one that is not known."""
        self.total = 0
        """The size of all; one that is not known counts as large as any that is read."""
        self.errors: dict[str, TriggerDevError] = {}
        """Why an output can never be fetched, by run id."""
        self.missing: list[str] = []
        """The runs that have none."""
        self._max_size = max_size
        self._lock = threading.Lock()

    @property
    def are_too_large(self) -> bool:
        """Whether they are larger together than XCom may get them."""
        return self.total > self._max_size

    def fetch(self, run_ids: Sequence[str], client: TriggerDevClient, *, log: Log) -> None:
        """Fetch the outputs of runs that have completed, each given once; raise an error that may pass."""
        for run_id, reply in in_threads(partial(self._fetch, client, log), run_ids):
            self._add(run_id, reply, log)
        if self.missing:
            log.info(
                "%s without an output: the task returned nothing, or the output was too large for a server "
                "that has no object store: %s",
                counted(len(self.missing), "run"),
                enumeration(self.missing),
            )

    def _fetch(self, client: TriggerDevClient, log: Log, run_id: str) -> _Output | TriggerDevError:
        try:
            run = client.call(ended_run(retrieve_run(run_id)))
            if not run.has_output and not run.output_url:
                return _Output(exists=False)
            value = output_of(run, client, log=log)
        except OutputTooLargeError as error:
            self._count(error.size)
            return error
        except TriggerDevError as error:
            if is_internal_error(error):  # a broken output is always answered so (measured)
                return error
            raise
        try:
            size = size_of(value, run_id)
        except TriggerDevError as error:
            return error
        self._count(size)
        return _Output(exists=True, value=None if self.are_too_large else value, size=size)

    def _count(self, size: int | None) -> None:
        """Count an output as soon as it is fetched: those before it may come much later."""
        with self._lock:
            self.total += MAX_BODY_BYTES if size is None else size

    def _add(self, run_id: str, reply: _Output | TriggerDevError, log: Log) -> None:
        if isinstance(reply, OutputTooLargeError):
            log.warning("XCom gets a reference. %s", reply)
            self.sizes[run_id] = reply.size
        elif isinstance(reply, TriggerDevError):
            self.errors[run_id] = reply
        elif not reply.exists:
            self.missing.append(run_id)
        else:
            self.values[run_id] = reply.value
            self.sizes[run_id] = reply.size
        if self.are_too_large:
            self.values.clear()
