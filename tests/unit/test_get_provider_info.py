"""What Airflow reads of this provider when it starts."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import airflow
import airflow_has
import pytest

import airflow_provider_trigger
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

SCHEMA = Path(airflow.__file__).parent / "provider_info.schema.json"
# What some Airflow reads; older schemas do not mention all.
KEYS = {"package-name", "name", "description", "versions", "integrations", "hooks", "operators"}
KEYS |= {"sensors", "triggers", "connection-types", "extra-links", "notifications"}
# All that is documented; other modules of these folders are internal.
MODULES = {
    "hooks": ["hooks.trigger_dev"],
    "operators": [f"operators.{name}" for name in ("batch", "cancel", "replay", "run", "waitpoint")],
    "sensors": ["sensors.run", "sensors.waitpoint"],
    "triggers": ["triggers.events", "triggers.run", "triggers.waitpoint"],
}
CLASSES = {
    "extra-links": ["links.run.TriggerRunLink"],
    "notifications": [
        "notifications.cancel.CancelTriggerRunNotifier",
        "notifications.waitpoint.CompleteWaitpointTokenNotifier",
    ],
}
PACKAGE = "airflow_provider_trigger"


@pytest.fixture(scope="module")
def info() -> dict[str, Any]:
    """Return what Airflow gets by the entry point."""
    module = f"{PACKAGE}.get_provider_info"
    [entry_point] = importlib.metadata.entry_points(group="apache_airflow_provider", module=module)
    found: dict[str, Any] = entry_point.load()()
    return found


@pytest.mark.skipif(not SCHEMA.exists(), reason="this Airflow has no schema with it")
def test_it_is_what_airflows_own_schema_asks_for(info) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(info, json.loads(SCHEMA.read_text()))


def test_each_public_module_and_class_is_listed_and_can_be_imported(info) -> None:
    assert info.keys() == KEYS
    for kind, modules in MODULES.items():
        [listed] = info[kind]
        assert listed["python-modules"] == [f"{PACKAGE}.{module}" for module in modules]
        for module in listed["python-modules"]:
            if airflow_has.WATCHERS or not module.endswith(".triggers.events"):
                importlib.import_module(module)
    for kind, names in CLASSES.items():
        assert info[kind] == [f"{PACKAGE}.{name}" for name in names]
        for listed in info[kind]:
            module, _, attribute = listed.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute)


def test_the_version_is_the_packages(info) -> None:
    assert info["versions"] == [airflow_provider_trigger.__version__]
    assert importlib.metadata.version("airflow-provider-trigger") == airflow_provider_trigger.__version__


def test_the_connection_type_is_the_hooks_and_its_form_has_all_fields(info, world, connection_to) -> None:
    hook, [found] = TriggerDevHook, info["connection-types"]
    assert (found["connection-type"], found["hook-name"]) == (hook.conn_type, hook.hook_name)
    assert found["hook-class-name"] == f"{hook.__module__}.{hook.__qualname__}"
    _ = TriggerDevHook(connection_to(world.server, "mine", unknown=1)).settings
    assert world.log.of("warning")[0].endswith(" the known fields are " + ", ".join(found["conn-fields"]))
    for name, field in found["conn-fields"].items():
        assert field["label"], name
        assert field["description"].endswith("."), name
        assert "null" in field["schema"]["type"], name
    assert found["conn-fields"]["proxy"]["schema"]["format"] == "password"


def test_the_form_shows_the_defaults_also_in_older_airflows(info) -> None:
    [found] = info["connection-types"]
    fields, behaviour = found["conn-fields"], found["ui-field-behaviour"]
    assert fields["timeout"]["description"].endswith("Empty: 30.")
    assert fields["retry_for"]["description"].endswith("Empty: 120.")
    assert "Empty: https://cloud.trigger.dev for the cloud" in fields["dashboard_url"]["description"]
    assert behaviour["placeholders"]["host"].startswith("https://api.trigger.dev (default)")
    extra = json.loads(behaviour["placeholders"]["extra"])
    assert (extra["timeout"], extra["retry_for"]) == (30, 120)
    assert extra.keys() <= fields.keys()
    older = TriggerDevHook.get_ui_field_behaviour()
    assert older == {name.replace("-", "_"): value for name, value in behaviour.items()}


def test_the_hook_brings_no_http_library_until_it_is_used(parse) -> None:
    imported = parse("from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook")
    assert not {"requests", "urllib3", "tenacity"} & set(imported)


def test_the_operators_that_are_durable_are_marked_for_airflows_registry() -> None:
    """It reads the mark by the name of the class itself; a replay is started again by a retry."""
    kinds = (RunTriggerTaskOperator, RunTriggerTaskBatchOperator, ReplayTriggerRunOperator)
    marks = [getattr(kind, f"_{kind.__name__}__supports_durable_execution", None) for kind in kinds]
    assert marks == [True, True, None]
