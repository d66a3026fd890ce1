"""The output of a run that has completed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.endpoints.outputs import fetch_output
from airflow_provider_trigger.api.endpoints.runs import retrieve_run
from airflow_provider_trigger.api.http import encode_json
from airflow_provider_trigger.log import Log

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.models.runs import Run


def output_of(run: Run, client: TriggerDevClient, *, log: Log) -> Any:
    """
    Return a run's output: any JSON, or None where it has none.

    A large one is behind an address that is valid for 300 s (measured); it is fetched without the key.

    :param run: one that has completed
    :param client: for the run's environment
    :param log: where to write what a missing output can mean
    :raises TriggerDevError: it could not be fetched
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
    # The address may have been seen long ago, in another process.
    fresh = client.call(retrieve_run(run.id))
    return client.call(fetch_output(fresh.output_url or run.output_url))


def for_xcom(output: Any, run_id: str, *, max_size: int, log: Log) -> Any:
    """
    Return an output as it goes into XCom: as it is, or a reference where it is too large.

    :param output: any JSON
    :param run_id: the run
    :param max_size: in bytes of JSON
    :param log: where to warn of a reference
    """
    size = len(encode_json(output))
    if size <= max_size:
        return output
    log.warning(
        "The output of run %s has %d bytes, more than max_output_size=%d: XCom gets a reference to it; "
        "TriggerDevHook.get_output(%r) returns the output",
        run_id,
        size,
        max_size,
        run_id,
    )
    return {"run_id": run_id, "output_size": size}
