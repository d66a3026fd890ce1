"""The items of a batch: what is given, checked, and read. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_trigger.rules import Circumstances, naming
from airflow_provider_trigger.run.request import OPTIONS, PAYLOAD, to_api
from airflow_provider_trigger.wording import MAX_NAMED

_PARTS = {"payload", "options"}
_ITEM = (
    "a dict of 'payload' and 'options', such as {'payload': 1, 'options': {'tags': ['a']}}; a list of bare "
    "payloads goes into payloads"
)


def check_items(name: str, given: Any, when: Circumstances) -> None:
    """Check a list of ``payloads`` or ``items``; the error names each that is invalid by its index."""
    if when.skip(given):
        return
    is_list = isinstance(given, (list, tuple))
    if not is_list:
        kind = "None" if given is None else f"a {type(given).__name__}"
        raise ValueError(
            f"{name} must be a list with one entry for each run, not {kind}; if it is a template or a "
            "task's output, check what that returns"
        )
    invalid: dict[int, str] = {}
    for index, item in enumerate(given):
        try:
            (PAYLOAD if name == "payloads" else _check_item)(f"{name}[{index}]", item, when)
        except ValueError as error:
            invalid[index] = str(error)
    if invalid:
        raise ValueError(_describe(invalid, len(given), name))


def _check_item(name: str, item: Any, when: Circumstances) -> None:
    if when.skip(item):
        return
    is_dict = isinstance(item, dict)
    if not is_dict or not item.keys() <= _PARTS:
        kind = f"one with {sorted(map(str, item))}" if is_dict else f"a {type(item).__name__}"
        raise ValueError(f"{name} must be {_ITEM}, not {kind}")
    PAYLOAD(f"{name}['payload']", item.get("payload"), when)
    _check_own_options(f"{name}['options']", item.get("options"), when)


def _check_own_options(name: str, options: Any, when: Circumstances) -> None:
    if options is None or when.skip(options):
        return
    is_dict = isinstance(options, dict)
    if not is_dict:
        raise ValueError(f"{name} must be a dict, not a {type(options).__name__}")
    if unknown := [option for option in options if option not in OPTIONS]:
        raise ValueError(f"{name} has no option {unknown[0]!r}; the options are {', '.join(OPTIONS)}")
    with naming(name):
        to_api(options, when)


def _describe(invalid: Mapping[int, str], count: int, name: str) -> str:
    reasons = list(invalid.values())
    if len(invalid) == 1:
        return reasons[0]
    text = f"{len(invalid)} of {count} {name} are invalid: " + "; ".join(reasons[:MAX_NAMED])
    if others := list(invalid)[MAX_NAMED:]:
        text += f"; and those with the index {', '.join(map(str, others))}"
    return text


def read_items(
    name: str, given: Sequence[Any], options: Mapping[str, Any], when: Circumstances
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """
    Yield the payload and the options, as the API takes them, of each item that is checked already.

    ``options`` are those of all items, by name; those of an item take their place.
    """
    for item in given:
        one = {"payload": item} if name == "payloads" else item
        yield one.get("payload"), to_api({**options, **(one.get("options") or {})}, when)
