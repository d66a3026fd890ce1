"""The button that leads from a task to its run in Trigger.dev's dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_trigger._compat import BaseOperatorLink, link_key, may_have_pushed, xcom_of
from airflow_provider_trigger.defaults import RUN_URL_KEY

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context
    from airflow.sdk.types import TaskInstanceKey


class TriggerRunLink(BaseOperatorLink):
    """
    Link a task to its run in Trigger.dev's dashboard.

    It leads to the address that the task has pushed as XCom ``run_url``, also while the task runs.
    """

    name = "Trigger.dev run"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """
        Return the address, empty where the task has no run yet.

        :param operator: the task's operator
        :param ti_key: of the task instance
        """
        # Airflow 3 calls this in the process that has run the task, Airflow 2 in the webserver.
        url: Any = getattr(operator, RUN_URL_KEY, None)
        if not url and may_have_pushed(ti_key):
            url = xcom_of(ti_key, key=RUN_URL_KEY)
        return url if isinstance(url, str) else ""


def push_link(operator: Any, url: str, context: Context) -> None:
    """Set where the link of a task leads, also while the task runs; its operator keeps the address."""
    operator.run_url = url
    ti: Any = context.get("ti")
    if ti is None:  # an operator that is executed by hand
        return
    try:
        ti.xcom_push(key=RUN_URL_KEY, value=url)
        # Airflow 3 looks here, and writes the link itself only when the task ends or is deferred.
        ti.xcom_push(key=link_key(TriggerRunLink), value=url)
    except Exception as error:
        # Any error: an XCom backend may raise anything, and a link is not worth a failure.
        text = "Could not store the link to %s in XCom; only the button is missing: %s: %s"
        operator.log.warning(text, url, type(error).__name__, error)
