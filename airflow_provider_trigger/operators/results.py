"""What an operator leaves behind although its task fails."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.xcom_keys import RETURN_VALUE_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context


def push_results(operator: Any, results: Iterable[Any], context: Context) -> None:
    """Push the results to XCom although the task fails; Airflow itself pushes only those of a success."""
    ti: Any = context.get("ti")
    if not operator.do_xcom_push or ti is None:
        return
    try:
        ti.xcom_push(key=RETURN_VALUE_KEY, value=[result.to_dict() for result in results])
    except Exception as error:
        # Any error: an XCom backend may raise anything, and must not hide why the task fails.
        operator.log.error("The results are not in XCom: %s: %s", type(error).__name__, error)
