"""What a task leaves behind of a run whose end it has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat.assets import add_to_asset_events
from airflow_provider_trigger.operators.results import push
from airflow_provider_trigger.run.facts import run_facts
from airflow_provider_trigger.run.xcom import UnstorableError, for_xcom
from airflow_provider_trigger.xcom_keys import RUN_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.api.models.runs import Run

ASSET_EXTRA = "trigger_dev"
"""The key in the ``extra`` of an asset's event."""


def keep_facts(operator: Any, run: Run | None, context: Context, *, run_id: str, run_url: str) -> None:
    """Push what is known of a run, and add it to the events of the assets that the task updates."""
    facts = run_facts(run, run_id=run_id, run_url=run_url)
    try:
        facts["metadata"] = for_xcom(facts["metadata"], f"The metadata of run {run_id}", log=operator.log)
    except UnstorableError as error:
        operator.log.warning("%s: XCom %r lacks it", error, RUN_KEY)
        facts["metadata"] = None
    push(operator, RUN_KEY, facts, context)
    small = {name: fact for name, fact in facts.items() if name != "metadata"}
    add_to_asset_events(operator.outlets, context, key=ASSET_EXTRA, value=small)
