"""
Write ``reference.md``, the connection's fields and the Dag of the Quickstart from the code, as Markdown.

The pages are the same with each supported Airflow and Python.

usage: python docs/reference_tables.py [FOLDER]
"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any, is_typeddict

DOCS = Path(__file__).parent
PACKAGE = "airflow_provider_trigger"

# A heading; a class's module, its name, and which of its members are shown, ``*`` for all. A module without a
# name: a row for each of its errors.
CONTENTS = """
## Operators
operators.run RunTriggerTaskOperator
operators.batch RunTriggerTaskBatchOperator
operators.replay ReplayTriggerRunOperator
operators.cancel CancelTriggerRunOperator
operators.waitpoint CreateWaitpointTokenOperator
operators.waitpoint CompleteWaitpointTokenOperator
### What these share
operators.run OneRunOperator -
operators.batch ManyRunsOperator -
## Sensors
sensors.run TriggerRunSensor
sensors.waitpoint WaitpointTokenSensor
## Triggers
triggers.events TriggerRunEventTrigger
triggers.run TriggerDevRunTrigger
run.wait_outcome WaitEnd
## Link
links.run TriggerRunLink
## Notifiers
notifications.cancel CancelTriggerRunNotifier
notifications.waitpoint CompleteWaitpointTokenNotifier
## Hook
hooks.trigger_dev TriggerDevHook settings get_client test_connection trigger_task wait_for_run get_run \
    list_runs get_output replay_run reschedule_run cancel_run cancel_runs \
    create_waitpoint_token get_waitpoint_token complete_waitpoint_token
hooks.connection Settings run_url
api.http ServerSettings
api.client TriggerDevClient call close
## Results
cancel.outcome CancelResult error to_dict
cancel.outcome CancelOutcome
api.models Run is_final is_success is_canceled is_without_worker is_terminated created_at age \
    has_output output output_url error idempotency_key tags batch_id
api.models ListedRun is_final created_at idempotency_key tags
tokens.complete CompletionResult to_dict
tokens.complete CompletionOutcome
api.tokens CreatedToken
api.tokens WaitpointToken is_completed has_timed_out
api.models RunError
api.statuses RunStatus
## Testing
testing TriggerDevServer *
testing ServerRun created_at updated_at started_at finished_at attempt_count output error status terminated \
    root log cancel schedule cancel_requests
testing ServerToken
testing TaskBehavior
testing Batch
testing BulkAction
testing RunAttributes
testing RequestFilter
testing RequestRecord
testing Environment
## Errors of tasks
exceptions
## Errors
api.errors
hooks.connection
run.output
"""
# What stands below a heading.
TEXTS = {
    "## Operators": 'A duration is given in seconds, as a timedelta, or as a text such as `"5m"`. '
    "In addition, an operator and a sensor take\nAirflow's arguments (`**kwargs`).",
    "## Testing": "See [Test your Dags](testing.md).",
    "## Errors of tasks": "A task without a `retry_policy` is [retried](run.md#how-a-run-ends) after those\n"
    "that are no `AirflowFailException`.",
}
LINES = [line.split() for line in CONTENTS.strip().splitlines()]
CLASSES = {name: rest for _, name, *rest in (line for line in LINES if len(line) > 1 and line[0][0] != "#")}

_FIELD = re.compile(r"^:(param|ivar|raises) (\w+): (.*(?:\n +.*)*)\n?", re.MULTILINE)
_ROLE = re.compile(r":\w+:`(~?)([\w.]+)`")


def _link(match: re.Match[str]) -> str:
    name = match[2].rpartition(".")[2]
    if name in CLASSES:
        return f"[`{name}`](#{'what-these-share' if CLASSES[name] == ['-'] else name.lower()})"
    # Of what is in a class, the class, too; of a module, all.
    whole = re.sub(r"^[a-z_.]+\.(?=[A-Z])", "", match[2])
    return f"`{name if match[1] else whole}`"


def markdown(text: str) -> str:
    """Return a docstring's reStructuredText as Markdown."""
    text = re.sub(r"`([^`<]+) <(\S+)>`__?", r"[\1](\2)", _ROLE.sub(_link, text))
    return re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL).strip()


def cell(text: str) -> str:
    """Return a text as it is written into a table."""
    return " ".join(markdown(text).split()).replace("|", r"\|")


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return a table, nothing without rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    heads = list(heads)
    return ["", f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads), *lines] if lines else []


def shown(value: Any) -> str:
    """Return a default value."""
    if isinstance(value, Enum) and not isinstance(value, str):
        return value.name
    if callable(value):
        return f"{value.__module__}.{value.__name__}"
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def declared(parameter: inspect.Parameter) -> str:
    """Return a parameter's type and default."""
    default = "" if parameter.default is parameter.empty else f" = {shown(parameter.default)}"
    return f"{parameter.annotation}{default}"


def signature(function: Any) -> str:
    """Return what a method takes and returns, as Python writes it."""
    whole = inspect.signature(function)
    written: list[str] = []
    for one in [*whole.parameters.values()][1:]:
        if one.kind is one.KEYWORD_ONLY and "*" not in "".join(written):
            written.append("*")
        name = str(one.replace(annotation=one.empty, default=one.empty))  # with its stars
        written.append(f"{name}: {declared(one)}")
    return f"({', '.join(written)}) -> {whole.return_annotation}"


def documentation(kind: type) -> tuple[str, dict[str, str], dict[str, str]]:
    """Return the text of a class, and what it and its bases say of arguments and of errors, by name."""
    texts = [
        inspect.cleandoc(one.__doc__ or "") for one in kind.__mro__ if one.__module__.startswith(PACKAGE)
    ]
    meanings: dict[str, str] = {}
    errors: dict[str, str] = {}
    for text in texts:
        for what, name, meaning in _FIELD.findall(text):
            (errors if what == "raises" else meanings).setdefault(name, meaning)
    return _FIELD.sub("", texts[0]), meanings, errors


def is_record(kind: type) -> bool:
    """Return whether a class itself, not one of Airflow's above it, is a dataclass or a TypedDict."""
    return "__dataclass_fields__" in vars(kind) or is_typeddict(kind)


def arguments(kind: type, meanings: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield name, type with default, and meaning of each argument of a class, the required ones first."""
    is_data = is_record(kind)
    parameters = {} if is_typeddict(kind) else dict(inspect.signature(kind).parameters)
    if not is_data and (odd := {*parameters} - {"kwargs", "args"} ^ {*meanings}):
        raise ValueError(f"docstring and arguments of {kind.__name__} differ: {sorted(odd)}")
    for name, annotation in inspect.get_annotations(kind).items() if is_data else ():
        text = getattr(annotation, "__forward_arg__", annotation)
        parameters.setdefault(name, inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=text))
    named = [one for one in parameters.values() if one.name in meanings]
    for one in sorted(named, key=lambda one: one.default is not one.empty):
        yield f"`{one.name}`", f"`{cell(declared(one))}`", cell(meanings[one.name])


def errors_raised(errors: dict[str, str]) -> list[str]:
    """Return a line for each error that is raised."""
    return (
        ["", *(f"- raises `{name}`: {cell(meaning)}" for name, meaning in errors.items())] if errors else []
    )


def member(kind: type, name: str) -> tuple[str, list[str]]:
    """Return a line for an attribute, or the lines of a method."""
    found = inspect.getattr_static(kind, name)
    if name in inspect.get_annotations(kind):
        return f"- `{name}: {inspect.get_annotations(kind)[name]}`", []
    if isinstance(found, property | cached_property):
        function: Any = found.fget if isinstance(found, property) else found.func
        type_shown = inspect.signature(function).return_annotation
        return f"- `{name}: {type_shown}`: {cell(found.__doc__ or '')}", []
    text = inspect.cleandoc(found.__doc__ or "")
    fields: list[tuple[str, str, str]] = _FIELD.findall(text)
    lines = ["", f"#### {name}", "", f"`{name}{signature(found)}`", "", markdown(_FIELD.sub("", text))]
    given = [f"- `{one}`: {cell(meaning)}" for what, one, meaning in fields if what == "param"]
    raised = errors_raised({one: meaning for what, one, meaning in fields if what == "raises"})
    return "", [*lines, *([""] if given else []), *given, *(raised if not given else raised[1:])]


def members(kind: type, names: Sequence[str]) -> list[str]:
    """Return the attributes of a class, then its methods."""
    if names == ("*",):
        public = {name: inspect.getattr_static(kind, name) for name in dir(kind) if name[0] != "_"}
        names = [name for name, one in public.items() if isinstance(one, property | FunctionType)]
    found = [member(kind, name) for name in names]
    attributes = [line for line, _ in found if line]
    return [*([""] if attributes else []), *attributes, *(line for _, lines in found for line in lines)]


def class_lines(module: str, name: str, *names: str) -> list[str]:
    """Return all lines of a class; of one whose arguments are in the tables of others, only what it says."""
    kind = getattr(import_module(f"{PACKAGE}.{module}"), name)
    text, meanings, errors = documentation(kind)
    if names == ("-",):
        return ["", f"`{name}`: {markdown(text)}"]
    path = Path(inspect.getsourcefile(kind) or "").relative_to(DOCS.parent).as_posix()
    lines = ["", f"### {name}", "", f"`from {PACKAGE}.{module} import {name}` ([source](../{path}))"]
    lines += ["", markdown(text)]
    if issubclass(kind, Enum) and "``" not in text:
        lines += ["", ", ".join(f"`{one.value}`" for one in kind)]
    what = "attribute" if is_record(kind) and name != "TriggerDevServer" else "argument"
    lines += table((what, "type = default", "meaning"), arguments(kind, meanings) if meanings else [])
    return [*lines, *errors_raised(errors), *members(kind, names)]


def error_lines(module_name: str) -> list[str]:
    """Return a row for each error of a module, with its attributes."""
    module = import_module(f"{PACKAGE}.{module_name}")
    rows = []
    for name, kind in vars(module).items():
        if inspect.isclass(kind) and issubclass(kind, Exception) and kind.__module__ == module.__name__:
            text = inspect.cleandoc(kind.__doc__ or "")
            attributes = [f"`{one}`: {cell(meaning)}" for _, one, meaning in _FIELD.findall(text)]
            bases = ", ".join(f"`{one.__name__}`" for one in kind.__bases__)
            rows.append((f"`{name}`", bases, "<br>".join([cell(_FIELD.sub("", text)), *attributes])))
    return ["", f"In `{module.__name__}`:", *table(("error", "is a", "meaning"), rows)]


def reference() -> str:
    """Return the page."""
    lines = ["# Reference", "", "<!-- written by reference_tables.py: make docs -->", ""]
    lines.append("The [public](versioning.md#what-is-public) classes, as `help()` shows them.")
    for line in LINES:
        if line[0].startswith("#"):
            heading = " ".join(line)
            lines += ["", heading, *(["", TEXTS[heading]] if heading in TEXTS else [])]
        else:
            lines += class_lines(*line) if len(line) > 1 else error_lines(*line)
    return "\n".join(lines) + "\n"


def connection_fields() -> str:
    """Return the table of what the extra of a connection may have."""
    [kind] = import_module(f"{PACKAGE}.get_provider_info").get_provider_info()["connection-types"]
    rows = [(f"`{name}`", one["label"], one["description"]) for name, one in kind["conn-fields"].items()]
    return "\n".join(table(("field of the extra", "in the form", "meaning"), rows)).strip()


def example(name: str) -> str:
    """Return an example's file as a block."""
    text = (DOCS.parent / "example_dags" / name).read_text(encoding="utf-8")
    return f"```python\n{text}```"


# What stands between the marks of each name.
PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "connection.md": {"fields": connection_fields},
    "quickstart.md": {"run_and_wait.py": partial(example, "run_and_wait.py")},
}


def write(folder: Path) -> None:
    """Write all pages into a folder."""
    (folder / "reference.md").write_text(reference(), encoding="utf-8")
    for page, parts in PARTS.items():
        text = (DOCS / page).read_text(encoding="utf-8")
        for name, made in parts.items():
            begin, end = f"<!-- begin {name}: written by reference_tables.py -->", f"<!-- end {name} -->"
            before, rest = text.split(begin)
            _, after = rest.split(end)
            text = f"{before}{begin}\n\n{made()}\n\n{end}{after}"
        (folder / page).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        # Airflow makes a home directory when it is imported: not in that of the user.
        os.environ |= {"AIRFLOW_HOME": home, "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING"}
        # Airflow 2.11 and 3.0.4 have no base class for watchers.
        vars(import_module(f"{PACKAGE}._compat"))["BaseEventTrigger"] = object
        write(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
