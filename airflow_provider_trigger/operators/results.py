"""What an operator leaves behind although its task fails."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.xcom_keys import RETURN_VALUE_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context


def push_results(operator: Any, results: Iterable[Any], context: Context) -> None:
    """Push the results to XCom although the task fails; Airflow itself pushes only those of a success."""
    push(operator, RETURN_VALUE_KEY, [result.to_dict() for result in results], context)


def push(operator: Any, key: str, value: Any, context: Context) -> None:
    """Push an XCom; whether that is possible has no effect on the task."""
    ti: Any = context.get("ti")
    if not operator.do_xcom_push or ti is None:
        return
    try:
        ti.xcom_push(key=key, value=value)
    except Exception as error:
        # Any error: an XCom backend may raise anything, and must not hide how the runs have ended.
        operator.log.error("XCom %r could not be stored: %s: %s", key, type(error).__name__, error)
