from __future__ import annotations

import importlib
import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import airflow
import pytest

import airflow_provider_trigger
from airflow_provider_trigger.get_provider_info import get_provider_info
from airflow_provider_trigger.hooks import connection
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

SCHEMA = Path(airflow.__file__).parent / "provider_info.schema.json"
# What Airflow 3.2 and newer know, and older schemas do not mention.
KEYS = {"package-name", "name", "description", "versions", "integrations", "hooks", "operators"}
KEYS |= {"sensors", "triggers", "connection-types", "extra-links", "notifications"}


# What only this package itself imports.
INTERNAL = {
    "hooks.connection",
    "hooks.diagnosis",
    "hooks.fetching",
    "hooks.run_arguments",
    "hooks.urls",
}
INTERNAL |= {"operators.base", "operators.conclusion", "operators.one_run", "operators.rendered"}
INTERNAL |= {"operators.many_runs", "operators.task_runs"}
INTERNAL |= {"triggers.background", "triggers.cancels", "triggers.ended"}
INTERNAL |= {"triggers.watch", "triggers.watch_clients"}


def dotted_names() -> Iterator[str]:
    info = get_provider_info()
    for group in ("hooks", "operators", "sensors", "triggers"):
        for modules in info.get(group, []):
            yield from modules["python-modules"]
    yield from (*info["notifications"], *info["extra-links"])
    yield from (connection_type["hook-class-name"] for connection_type in info["connection-types"])


@pytest.mark.skipif(not SCHEMA.exists(), reason="this Airflow has no schema with it")
def test_it_is_what_airflows_own_schema_asks_for() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(get_provider_info(), json.loads(SCHEMA.read_text()))


def test_it_holds_only_keys_that_some_airflow_reads() -> None:
    assert get_provider_info().keys() <= KEYS


@pytest.mark.parametrize("name", list(dotted_names()))
def test_every_name_can_be_imported(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute)


def test_every_module_with_something_for_airflow_is_listed() -> None:
    package = Path(airflow_provider_trigger.__file__).parent
    for group in ("hooks", "operators", "notifications", "sensors", "triggers", "links"):
        for path in (package / group).glob("*.py"):
            name = f"{group}.{path.stem}"
            if path.stem != "__init__":
                module = f"airflow_provider_trigger.{name}"
                is_listed = any(one == module or one.startswith(f"{module}.") for one in dotted_names())
                assert is_listed != (name in INTERNAL), name


def test_airflow_finds_it_by_its_entry_point() -> None:
    [entry_point] = importlib.metadata.entry_points(
        group="apache_airflow_provider", module="airflow_provider_trigger.get_provider_info"
    )
    assert entry_point.load() is get_provider_info


def test_the_version_is_the_packages() -> None:
    assert get_provider_info()["versions"] == [airflow_provider_trigger.__version__]
    assert importlib.metadata.version("airflow-provider-trigger") == airflow_provider_trigger.__version__


def connection_type() -> dict[str, Any]:
    [connection_type] = get_provider_info()["connection-types"]
    return connection_type


def test_the_connection_type_is_the_hooks_and_its_form_has_the_fields_that_are_read() -> None:
    hook = TriggerDevHook
    assert connection_type()["connection-type"] == hook.conn_type
    assert connection_type()["hook-name"] == hook.hook_name
    assert connection_type()["hook-class-name"] == f"{hook.__module__}.{hook.__qualname__}"
    assert tuple(connection_type()["conn-fields"]) == connection.EXTRA_FIELDS


def test_each_field_has_a_label_and_a_description_and_may_be_empty_and_a_password_is_hidden() -> None:
    for name, field in connection_type()["conn-fields"].items():
        assert field["label"], name
        assert field["description"].endswith("."), name
        assert "null" in field["schema"]["type"], name
    assert connection_type()["conn-fields"]["proxy"]["schema"]["format"] == "password"


def test_the_form_shows_the_defaults() -> None:
    fields = connection_type()["conn-fields"]
    assert fields["timeout"]["description"].endswith("Empty: 30.")
    assert fields["retry_for"]["description"].endswith("Empty: 120.")
    assert "Empty: https://cloud.trigger.dev for the cloud" in fields["dashboard_url"]["description"]
    placeholders = connection_type()["ui-field-behaviour"]["placeholders"]
    assert placeholders["host"].startswith("https://api.trigger.dev (default)")
    extra = json.loads(placeholders["extra"])
    assert (extra["timeout"], extra["retry_for"]) == (30, 120)
    assert extra.keys() <= set(connection.EXTRA_FIELDS)
