"""The arguments that editors, type checkers and ``help`` show of public classes: all, also those of bases."""

from __future__ import annotations

import ast
import inspect
import pydoc
import re
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from airflow_provider_trigger._compat import BaseOperator
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.notifications.waitpoint import CompleteWaitpointTokenNotifier
from airflow_provider_trigger.operators.batch import RunTriggerTaskBatchOperator
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.operators.waitpoint import (
    CompleteWaitpointTokenOperator,
    CreateWaitpointTokenOperator,
)
from airflow_provider_trigger.sensors.run import TriggerRunSensor
from airflow_provider_trigger.sensors.waitpoint import WaitpointTokenSensor
from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger
from airflow_provider_trigger.triggers.waitpoint import WaitpointTokenTrigger

PUBLIC = (
    RunTriggerTaskOperator,
    RunTriggerTaskBatchOperator,
    ReplayTriggerRunOperator,
    CancelTriggerRunOperator,
    CreateWaitpointTokenOperator,
    CompleteWaitpointTokenOperator,
    TriggerRunSensor,
    WaitpointTokenSensor,
    CancelTriggerRunNotifier,
    CompleteWaitpointTokenNotifier,
    TriggerDevRunTrigger,
    WaitpointTokenTrigger,
)


def shown(kind: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(kind).parameters)


# The source: what Python executes, and what only type checkers and editors read


@cache
def functions_of(kind: type) -> dict[str, ast.FunctionDef]:
    """Return the functions of a class by their names; ``shown`` is the one under ``if TYPE_CHECKING:``."""
    tree = ast.parse(Path(inspect.getfile(kind)).read_text(encoding="utf-8"))
    [body] = [
        node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    ]
    unseen = [one for node in body if isinstance(node, ast.If) for one in node.body]
    found = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    return found | dict(("shown", node) for node in unseen if isinstance(node, ast.FunctionDef))


def arguments(function: ast.FunctionDef) -> dict[str, str]:
    """Return how each argument is written, by its name."""
    written = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return {
        argument.arg: ast.unparse(argument) + (f" = {ast.unparse(default)}" if default else "")
        for argument, default in written
    }


def taken(kind: type) -> dict[str, str]:
    """Return all that a class and its bases take, as it is written where it is used."""
    found: dict[str, str] = {}
    for one in kind.__mro__:
        functions = functions_of(one) if one.__module__.startswith("airflow_provider_trigger.") else {}
        if used := functions.get("_init") or functions.get("__init__"):
            found |= {name: text for name, text in arguments(used).items() if name not in found}
    return dict(sorted(found.items(), key=lambda item: " = " in item[1]))  # the required ones first


def corrections(kind: type) -> list[str]:
    """Return what is to be written where, so that the class shows all that it takes."""
    functions, wanted = functions_of(kind), taken(kind)
    given = arguments(functions.get("shown") or functions["__init__"])
    steps = [f"remove `{text},`" for name, text in given.items() if name not in wanted]
    before = "*"
    for name, text in wanted.items():
        if name not in given:
            steps.append(f"add `{text},` after `{before},`")
        elif given[name] != text:
            steps.append(f"write `{text},` in place of `{given[name]},`")
        before = text
    if not steps and list(given) != list(wanted):
        steps.append(f"put them in this order: {', '.join(wanted)}")
    where = f"{inspect.getfile(kind)}, class {kind.__name__}, __init__ under `if TYPE_CHECKING:`"
    return [f"{where}: {step}" for step in steps]


@pytest.mark.parametrize("kind", PUBLIC)
def test_what_editors_and_type_checkers_read_is_what_it_takes(kind: type) -> None:
    if steps := corrections(kind):
        pytest.fail("\n".join(steps))


@pytest.mark.parametrize("kind", PUBLIC)
def test_a_signature_has_all_arguments_with_types_and_defaults_and_then_airflows(kind: type) -> None:
    found = shown(kind)
    airflows = found.pop("kwargs", None)
    assert {name: f"{one.name}: {one.annotation}" for name, one in found.items()} == {
        name: text.partition(" = ")[0] for name, text in taken(kind).items()
    }
    required = [name for name, one in found.items() if one.default is one.empty]
    assert required == [name for name, text in taken(kind).items() if " = " not in text]
    takes_airflows = issubclass(kind, BaseOperator)
    assert str(airflows) == ("**kwargs: 'Any'" if takes_airflows else "None")


@pytest.mark.parametrize("kind", PUBLIC)
def test_its_types_can_be_read(kind: Any) -> None:
    assert get_type_hints(kind.__init__)["return"] is type(None)


def test_help_shows_it() -> None:
    text = re.sub(r"[\s|]", "", pydoc.plain(pydoc.render_doc(RunTriggerTaskOperator)))
    begin = (
        "RunTriggerTaskOperator(*,task_identifier:'str',payload:'Any'=None,idempotency_key:'strNone'='auto',"
    )
    assert begin in text
    assert "pending_version_timeout:'Duration'=300.0,cancel_on_kill:'bool'=True," in text


@pytest.mark.parametrize("kind", PUBLIC)
def test_help_explains_each_argument_once(kind: type) -> None:
    explained = re.findall(r"^:param (\w+): ", inspect.getdoc(kind) or "", re.MULTILINE)
    assert sorted(explained) == sorted({*shown(kind)} - {"kwargs"})


class Orders(RunTriggerTaskOperator):
    """
    Hands on what it does not know.

    :param orders: what to ship
    :param timeout: of all orders
    """

    def __init__(self, *, orders: list[int], timeout: str = "1h", **kwargs: Any) -> None:
        super().__init__(payload=orders, timeout=timeout, **kwargs)


class Nightly(Orders):
    """Takes nothing of its own."""


class Closed(TriggerRunSensor):
    """Takes nothing but its own."""

    def __init__(self, task_id: str, only: int = 1) -> None:
        super().__init__(task_id=task_id, run_ids=f"run_{only}")


@pytest.mark.parametrize("kind", [Orders, Nightly])
def test_a_class_of_a_user_shows_its_own_arguments_too(kind: type) -> None:
    found = shown(kind)
    assert list(found)[:2] == ["orders", "task_identifier"]
    assert found["timeout"].default == "1h"
    assert set(found) == {"orders", *shown(RunTriggerTaskOperator)}
    text = inspect.getdoc(Orders) or ""
    assert ":param timeout: of all orders\n" in text
    assert [text.count(f":param {name}: ") for name in found if name != "kwargs"] == [1] * (len(found) - 1)


def test_a_class_of_a_user_that_hands_nothing_on_shows_its_own_arguments_only() -> None:
    assert list(shown(Closed)) == ["task_id", "only"]


def test_an_instance_that_can_be_called_shows_how() -> None:
    assert list(shown(CancelTriggerRunNotifier())) == ["args"]
