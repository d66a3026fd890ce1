"""Run ids from the XComs of other tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import pull_xcom

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.sources.run_ids import RunIds


def add_pushed(ids: RunIds, context: Context, *, task_ids: str | Iterable[str], key: str) -> None:
    """
    Take in the run ids that tasks pushed.

    Of a mapped task those of all its instances count. Not so in the callback of a mapped task that names
    itself, and between tasks of one mapped task group: there an instance takes what is its own, as its
    siblings' runs are their business.

    :param ids: where they go
    :param context: of the task, or of the callback
    :param task_ids: one or more
    :param key: of the XCom
    """
    ti: Any = context["ti"]
    dag: Any = context.get("dag")  # none where an operator is executed by hand

    def pull(task_id: str) -> object:
        return pull_xcom(ti, task_id, key, dag=dag, map_index=_own_map_index(context, task_id))

    ids.add_from_xcom(task_ids, key=key, known_task_ids=dag.task_ids if dag else None, pull=pull)


def _own_map_index(context: Context, task_id: str) -> int | None:
    """Return which instance's XCom is meant, None for that of all."""
    ti: Any = context["ti"]
    dag: Any = context.get("dag")
    index = getattr(ti, "map_index", -1)
    # With a reason it is a callback of the Dag, whose task instance is any.
    if dag is None or "reason" in context or not isinstance(index, int) or index < 0:
        return None
    if task_id == ti.task_id:
        return index
    group, own_group = (dag.get_task(one).get_closest_mapped_task_group() for one in (task_id, ti.task_id))
    return index if group and own_group and group.group_id == own_group.group_id else None
