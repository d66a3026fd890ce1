"""The hook that Airflow and its users know."""

from __future__ import annotations

from typing import Any

from airflow_provider_trigger._compat import AirflowFailException
from airflow_provider_trigger.defaults import CONN_ID
from airflow_provider_trigger.get_provider_info import (
    CONNECTION_NAME,
    CONNECTION_TYPE,
    HIDDEN_FIELDS,
    PLACEHOLDERS,
    RELABELING,
)
from airflow_provider_trigger.hooks.cancels import CancelsHook
from airflow_provider_trigger.hooks.runs import RunsHook


class TriggerDevHook(RunsHook, CancelsHook):
    """
    Turn an Airflow connection into a client of Trigger.dev, and start, check and cancel runs with it.

    If the connection does not exist, its first use raises a ``ConnectionNotFoundError``; if a field is
    missing or invalid, an ``InvalidConnectionError``. Both fail the task without retries.

    :param trigger_dev_conn_id: the id of the connection
    :param connection: the connection itself, if the caller has it already; then it is not fetched
    """

    conn_name_attr = "trigger_dev_conn_id"
    default_conn_name = CONN_ID
    conn_type = CONNECTION_TYPE
    hook_name = CONNECTION_NAME

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the connection form's settings for Airflow up to 3.1; newer ones read the provider info."""
        # Airflow searches this class for it, not its bases.
        return {"hidden_fields": HIDDEN_FIELDS, "relabeling": RELABELING, "placeholders": PLACEHOLDERS}

    def test_connection(self) -> tuple[bool, str]:
        """Test the connection; return whether it works, and one line that says why."""
        from airflow_provider_trigger.hooks.diagnosis import MAX_TIMEOUT, try_connection

        try:
            timeout = min(self.settings.timeout, MAX_TIMEOUT)
        except AirflowFailException as error:
            return False, str(error)
        with self.get_client(timeout=timeout, retry_for=0) as client:
            return try_connection(client, self.settings)
