"""What Airflow reads of this provider when it starts."""

from __future__ import annotations

from typing import Any

from airflow_provider_trigger import __version__

CONNECTION_TYPE = "trigger_dev"
CONNECTION_NAME = "Trigger.dev"

# The form's fields that Airflow itself has. Airflow 3.2 and newer read them here, older ones from the hook.
HIDDEN_FIELDS = ["login", "schema", "port"]
RELABELING = {"host": "API URL", "password": "Secret key"}
PLACEHOLDERS = {
    "host": "https://api.trigger.dev (default), or the URL of your own server",
    "password": "tr_prod_… (Trigger.dev dashboard, API keys)",
    "extra": '{"branch": "my-branch", "dashboard_url": "https://…", "timeout": 30, "retry_for": 120}',
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata in the shape of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-trigger",
        "name": CONNECTION_NAME,
        # The link comes last: Airflow 3 glues the word after it to the URL.
        "description": "Cancel runs of `Trigger.dev <https://trigger.dev>`__",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": CONNECTION_NAME,
                "external-doc-url": "https://trigger.dev/docs",
                "tags": ["service"],
            }
        ],
        "hooks": [_modules("airflow_provider_trigger.hooks.trigger_dev")],
        "operators": [_modules("airflow_provider_trigger.operators.cancel")],
        "notifications": ["airflow_provider_trigger.notifications.cancel.CancelTriggerRunNotifier"],
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
            "Preview branch", "string", "The branch's name. Needed with a preview key (tr_preview_…)."
        ),
        "dashboard_url": _field(
            "Dashboard URL",
            "string",
            "Where links to runs lead. Empty: https://cloud.trigger.dev for the cloud, else the API URL.",
        ),
        "timeout": _field("Timeout (s)", "number", "For one request, in seconds. Empty: 30.", minimum=0),
        "retry_for": _field(
            "Retry for (s)",
            "number",
            "How long one call goes on trying when the server fails, in seconds. 0: one try. Empty: 120.",
            minimum=0,
        ),
        "verify": _field(
            "Verify TLS",
            "string",
            "true (also when empty), false, or the path of a CA file to check against, on every worker.",
        ),
        "proxy": _field(
            "Proxy",
            "string",
            "The proxy's URL, such as http://proxy.example.com:3128. Empty: as the environment says.",
            format="password",
        ),
    }


def _field(label: str, kind: str, description: str, **schema: str | int) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], **schema}}
