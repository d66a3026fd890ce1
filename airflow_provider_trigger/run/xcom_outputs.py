"""Outputs as they go into XCom: as they are, or references to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.log import Log
from airflow_provider_trigger.run.batch.outputs import Outputs
from airflow_provider_trigger.wording import enumeration

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient


def reference(run_id: str, size: int | None) -> dict[str, Any]:
    """Return what goes into XCom in place of an output; the size is in bytes of JSON, None if not known."""
    return {"run_id": run_id, "output_size": size}


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
        return reference(run_id, outputs.sizes[run_id])
    return outputs.values.get(run_id)
