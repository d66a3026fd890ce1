"""What completed runs have returned, and what of it goes into XCom; a size is in bytes of JSON."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.endpoints.outputs import fetch_output
from airflow_provider_trigger.api.endpoints.runs import ended_run, retrieve_run
from airflow_provider_trigger.api.errors import (
    OversizeError,
    ResponseError,
    TriggerDevError,
    is_internal_error,
)
from airflow_provider_trigger.api.http import MAX_BODY_BYTES, encode_json
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.checks import in_threads
from airflow_provider_trigger.wording import counted, enumeration

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.models.runs import Run

_WITHOUT = "task returned nothing, or the output was too large for a server that has no object store"
_TOO_LARGE = "XCom gets a reference. %s"


class OutputTooLargeError(TriggerDevError):
    """
    The output of a run is larger than any answer that is read.

    :param run_id: the run
    :param limit: how many bytes are read at most
    :param size: how many the output has, None where the object store did not say
    """

    def __init__(self, run_id: str, *, limit: int, size: int | None) -> None:
        has = "more bytes" if size is None else f"{size} bytes, more"
        super().__init__(
            f"The output of run {run_id} has {has} than the {limit // 1024 // 1024} MB that are read; "
            f"download it from TriggerDevHook.get_run({run_id!r}).output_url, which is valid for 300 s"
        )
        self.run_id = run_id
        self.size = size


def size_of(output: Any, run_id: str) -> int:
    """Return the bytes of JSON of an output; TriggerDevError if it is none, so that XCom cannot have it."""
    try:
        return len(encode_json(output))
    except ValueError:  # Python reads what JSON does not have
        text = "is not JSON: it has NaN, or a number above 1.8e308"
    raise TriggerDevError(f"The output of run {run_id} {text}; correct what its Trigger.dev task returns")


def output_of(run: Run, client: TriggerDevClient, *, log: Log) -> Any:
    """
    Return a run's output: any JSON, or None where it has none.

    A large one is behind an address that is valid for 300 s (measured); it is fetched without the key.
    """
    if run.has_output:
        return run.output
    if not run.output_url:
        log.info("Run %s has no output: its %s", run.id, _WITHOUT)
        return None
    try:
        return client.call(fetch_output(run.output_url))
    except OversizeError as error:
        limit, size = error.limit, error.size
    raise OutputTooLargeError(run.id, limit=limit, size=size)


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
        self.runs: dict[str, Run] = {}
        """The runs as they were when their outputs were fetched, without what can be large."""
        self._max_size = max_size
        self._lock = threading.Lock()

    @property
    def are_too_large(self) -> bool:
        """Whether they are larger together than XCom may get them."""
        return self.total > self._max_size

    def fetch(self, run_ids: Sequence[str], client: TriggerDevClient, *, log: Log) -> None:
        """Fetch the outputs of runs that have completed, each given once; raise an error that may pass."""
        for run_id, error in in_threads(partial(self._fetch, client, log), run_ids):
            if isinstance(error, OutputTooLargeError):
                log.warning(_TOO_LARGE, error)
            elif error is not None:
                self.errors[run_id] = error
            elif run_id not in self.sizes:
                self.missing.append(run_id)
        if self.missing:
            runs = counted(len(self.missing), "run")
            log.info("%s without an output: the %s: %s", runs, _WITHOUT, enumeration(self.missing))

    def _fetch(self, client: TriggerDevClient, log: Log, run_id: str) -> TriggerDevError | None:
        """Fetch and keep an output, if the run has one; return why it can never be fetched."""
        try:
            run = client.call(ended_run(retrieve_run(run_id)))
            self.runs[run_id] = run.without_contents()
            if not run.has_output and not run.output_url:
                return None
            value = output_of(run, client, log=log)
        except OutputTooLargeError as error:
            self._count(run_id, error.size)
            return error
        except TriggerDevError as error:
            # A broken output is always answered with 500 (measured); a run, or its output, can be deleted.
            if is_internal_error(error) or (isinstance(error, ResponseError) and error.status == 404):
                return error
            raise
        try:
            size = size_of(value, run_id)
        except TriggerDevError as error:
            return error
        self.values[run_id] = value
        self._count(run_id, size)
        return None

    def _count(self, run_id: str, size: int | None) -> None:
        """Count an output as soon as it is fetched: those before it may come much later."""
        with self._lock:
            self.sizes[run_id] = size
            self.total += MAX_BODY_BYTES if size is None else size
            if self.are_too_large:
                self.values.clear()


def fetch_outputs(run_ids: Sequence[str], client: TriggerDevClient, *, max_size: int, log: Log) -> list[Any]:
    """
    Fetch the outputs of runs that have ended, and return them in their order; None for a run that has none.

    Above ``max_size`` bytes of JSON for all of them together, references take their places.
    """
    outputs = Outputs(max_size=max_size)
    outputs.fetch(run_ids, client, log=log)
    if outputs.errors:
        named = enumeration((f"{run_id}: {error}" for run_id, error in outputs.errors.items()), "; ")
        raise TriggerDevError(f"{len(outputs.errors)} of {len(run_ids)} outputs cannot be fetched: {named}")
    return outputs_for_xcom(run_ids, outputs, max_size=max_size, log=log)


def outputs_for_xcom(run_ids: Sequence[str], outputs: Outputs, *, max_size: int, log: Log) -> list[Any]:
    """Return outputs in the order of their runs, as :func:`fetch_outputs` does."""
    if outputs.are_too_large:
        log.warning(
            "The outputs of %d runs have %d bytes together, more than max_output_size=%d: XCom gets "
            "references to them; TriggerDevHook.get_output(run_id) returns an output",
            len(outputs.sizes),
            outputs.total,
            max_size,
        )
    return [_value(outputs, run_id) for run_id in run_ids]


def _value(outputs: Outputs, run_id: str) -> Any:
    if run_id in outputs.sizes and run_id not in outputs.values:
        return _reference(run_id, outputs.sizes[run_id])
    return outputs.values.get(run_id)


def output_for_xcom(run: Run, client: TriggerDevClient, *, max_size: int, log: Log) -> Any:
    """Return the output of a run, or a reference to one above so many bytes of JSON."""
    try:
        output = output_of(run, client, log=log)
    except OutputTooLargeError as error:
        log.warning(_TOO_LARGE, error)
        return _reference(run.id, error.size)
    size = size_of(output, run.id)
    if size <= max_size:
        return output
    log.warning(
        "The output of run %s has %d bytes, more than max_output_size=%d: XCom gets a reference to it; "
        "TriggerDevHook.get_output(%r) returns the output",
        run.id,
        size,
        max_size,
        run.id,
    )
    return _reference(run.id, size)


def _reference(run_id: str, size: int | None) -> dict[str, Any]:
    return {"run_id": run_id, "output_size": size}
