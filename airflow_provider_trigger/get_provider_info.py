"""Describe this provider for Airflow, which reads this when it starts."""

from __future__ import annotations

from typing import Any

from airflow_provider_trigger import __version__
from airflow_provider_trigger.defaults import API_URL, DASHBOARD_URL, REQUEST_TIMEOUT, RETRY_FOR

CONNECTION_TYPE = "trigger_dev"
CONNECTION_NAME = "Trigger.dev"

_TEXT = {"type": ["string", "null"]}
_SECONDS = {"type": ["number", "null"], "minimum": 0}

FORM: dict[str, Any] = {
    "hidden-fields": ["login", "schema", "port"],
    "relabeling": {"host": "API URL", "password": "Secret key"},
    "placeholders": {
        "host": f"{API_URL} (default), or the URL of your own server",
        "password": "tr_prod_… (Trigger.dev dashboard, API keys)",
        "extra": '{"branch": "my-branch", "dashboard_url": "https://…", '
        f'"timeout": {REQUEST_TIMEOUT:g}, "retry_for": {RETRY_FOR:g}}}',
    },
}
"""
The fields that the form of every connection has.

Airflow 3.2 and newer read them here, older versions from the hook.
"""

# For each field of the extra: its label, its meaning, and its type.
_EXTRA_FIELDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "branch": (
        "Preview branch",
        "The name of the branch. Required for a preview key (tr_preview_…).",
        _TEXT,
    ),
    "dashboard_url": (
        "Dashboard URL",
        f"Where links to runs lead. Empty: {DASHBOARD_URL} for the cloud, otherwise the API URL.",
        _TEXT,
    ),
    "timeout": ("Timeout (s)", f"For one request, in seconds. Empty: {REQUEST_TIMEOUT:g}.", _SECONDS),
    "retry_for": (
        "Retry for (s)",
        f"How long one call is retried, in seconds. 0: not at all. Empty: {RETRY_FOR:g}.",
        _SECONDS,
    ),
    "verify": (
        "Verify TLS",
        "true, false, or the path of a CA file, which must exist on every worker. Empty: true.",
        _TEXT,
    ),
    "proxy": (
        "Proxy",
        "The URL of a proxy, such as http://proxy.example.com:3128. Empty: the environment's proxy.",
        _TEXT | {"format": "password"},
    ),
}


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
        "hooks": _modules("hooks", "trigger_dev"),
        "operators": _modules("operators", "batch", "cancel", "replay", "run", "waitpoint"),
        "sensors": _modules("sensors", "run", "waitpoint"),
        "triggers": _modules("triggers", "events", "run", "waitpoint"),
        "extra-links": ["airflow_provider_trigger.links.run.TriggerRunLink"],
        "notifications": [
            "airflow_provider_trigger.notifications.cancel.CancelTriggerRunNotifier",
            "airflow_provider_trigger.notifications.waitpoint.CompleteWaitpointTokenNotifier",
        ],
        "connection-types": [
            {
                "connection-type": CONNECTION_TYPE,
                "hook-name": CONNECTION_NAME,
                "hook-class-name": "airflow_provider_trigger.hooks.trigger_dev.TriggerDevHook",
                "ui-field-behaviour": FORM,
                "conn-fields": {
                    name: {"label": label, "description": description, "schema": schema}
                    for name, (label, description, schema) in _EXTRA_FIELDS.items()
                },
            }
        ],
    }


def _modules(folder: str, *names: str) -> list[dict[str, Any]]:
    modules = [f"airflow_provider_trigger.{folder}.{name}" for name in names]
    return [{"integration-name": CONNECTION_NAME, "python-modules": modules}]
