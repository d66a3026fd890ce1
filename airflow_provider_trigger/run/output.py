"""The output of a run that has completed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.endpoints.outputs import fetch_output
from airflow_provider_trigger.api.errors import OversizeError, TriggerDevError
from airflow_provider_trigger.api.http import encode_json
from airflow_provider_trigger.log import Log

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.models.runs import Run


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
        log.info(
            "Run %s has no output: its task returned nothing, or the output was too large for a server that "
            "has no object store",
            run.id,
        )
        return None
    try:
        return client.call(fetch_output(run.output_url))
    except OversizeError as error:
        limit, size = error.limit, error.size
    raise OutputTooLargeError(run.id, limit=limit, size=size)
