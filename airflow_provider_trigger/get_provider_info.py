"""Describe this provider for Airflow, which reads this when it starts."""

from __future__ import annotations

from typing import Any

from airflow_provider_trigger import __version__
from airflow_provider_trigger.defaults import API_URL, DASHBOARD_URL, REQUEST_TIMEOUT, RETRY_FOR

CONNECTION_TYPE = "trigger_dev"
CONNECTION_NAME = "Trigger.dev"

# The fields that the form of every connection has. Airflow 3.2 and newer read them here, older versions from
# the hook.
HIDDEN_FIELDS = ["login", "schema", "port"]
RELABELING = {"host": "API URL", "password": "Secret key"}
PLACEHOLDERS = {
    "host": f"{API_URL} (default), or the URL of your own server",
    "password": "tr_prod_… (Trigger.dev dashboard, API keys)",
    "extra": '{"branch": "my-branch", "dashboard_url": "https://…", '
    f'"timeout": {REQUEST_TIMEOUT:g}, "retry_for": {RETRY_FOR:g}}}',
}


_OPERATORS = ("batch", "cancel", "replay", "run", "waitpoint")
_NOTIFIERS = ("cancel.CancelTriggerRunNotifier", "waitpoint.CompleteWaitpointTokenNotifier")
_SENSORS = ("run", "waitpoint")
_TRIGGERS = ("events", "run", "waitpoint")


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata in the shape of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-trigger",
        "name": CONNECTION_NAME,
        # The link comes last: Airflow 3 shows the word after it as a part of the URL.
        "description": "Start, wait for and cancel runs of `Trigger.dev <https://trigger.dev>`__",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": CONNECTION_NAME,
                "external-doc-url": "https://trigger.dev/docs",
                "tags": ["service"],
            }
        ],
        "hooks": [_modules("airflow_provider_trigger.hooks.trigger_dev")],
        "operators": [_modules(*(f"airflow_provider_trigger.operators.{name}" for name in _OPERATORS))],
        "sensors": [_modules(*(f"airflow_provider_trigger.sensors.{name}" for name in _SENSORS))],
        "triggers": [_modules(*(f"airflow_provider_trigger.triggers.{name}" for name in _TRIGGERS))],
        "extra-links": ["airflow_provider_trigger.links.run.TriggerRunLink"],
        "notifications": [f"airflow_provider_trigger.notifications.{name}" for name in _NOTIFIERS],
        "connection-types": [
            {
                "connection-type": CONNECTION_TYPE,
                "hook-name": CONNECTION_NAME,
                "hook-class-name": "airflow_provider_trigger.hooks.trigger_dev.TriggerDevHook",
                "ui-field-behaviour": {
                    "hidden-fields": HIDDEN_FIELDS,
                    "relabeling": RELABELING,
                    "placeholders": PLACEHOLDERS,
                },
                "conn-fields": _connection_fields(),
            }
        ],
    }


def _modules(*names: str) -> dict[str, Any]:
    return {"integration-name": CONNECTION_NAME, "python-modules": list(names)}


def _connection_fields() -> dict[str, Any]:
    return {
        "branch": _field(
            "Preview branch", "string", "The name of the branch. Required for a preview key (tr_preview_…)."
        ),
        "dashboard_url": _field(
            "Dashboard URL",
            "string",
            f"Where links to runs lead. Empty: {DASHBOARD_URL} for the cloud, otherwise the API URL.",
        ),
        "timeout": _field(
            "Timeout (s)", "number", f"For one request, in seconds. Empty: {REQUEST_TIMEOUT:g}.", minimum=0
        ),
        "retry_for": _field(
            "Retry for (s)",
            "number",
            f"How long one call is retried, in seconds. 0: not at all. Empty: {RETRY_FOR:g}.",
            minimum=0,
        ),
        "verify": _field(
            "Verify TLS",
            "string",
            "true, false, or the path of a CA file, which must exist on every worker. Empty: true.",
        ),
        "proxy": _field(
            "Proxy",
            "string",
            "The URL of a proxy, such as http://proxy.example.com:3128. Empty: the environment's proxy.",
            format="password",
        ),
    }


def _field(label: str, kind: str, description: str, **schema: str | int) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], **schema}}
