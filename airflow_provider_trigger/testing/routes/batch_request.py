"""The body of a request that triggers a batch, and what is invalid in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..engine.batches import NOT_TRIGGERED, BatchItem
from ..engine.engine import Engine
from ..engine.unset import UNSET
from .json_body import InvalidBodyError, kind_of, read_json
from .trigger_checks import check_size, check_triggerable
from .trigger_request import TOO_LARGE, find_issues, make_request

# 1 MB was not tried, but 1.25 MB.
_LARGEST_BODY = 1_000_000
_MOST_ITEMS = 500


def read_items(engine: Engine, body: bytes) -> list[BatchItem]:
    """
    Read the body of a request that triggers a batch; without items it is valid, too.

    :raises InvalidBodyError: for an invalid one
    """
    if len(body) > _LARGEST_BODY:
        raise InvalidBodyError(TOO_LARGE, status=413)
    given = read_json(body)
    issues = list(_issues(given))
    if issues:
        raise InvalidBodyError(f"Validation error: {'; '.join(issues)}")
    items = given["items"]
    if len(items) > _MOST_ITEMS:
        most = f"Maximum allowed batch size is {_MOST_ITEMS}."
        raise InvalidBodyError(f"Batch size of {len(items)} is too large. {most}")
    # How the server words this for a batch was not recorded.
    check_size(engine, items)
    return [make_item(engine, item) for item in items]


def make_item(engine: Engine, given: dict[str, Any]) -> BatchItem:
    """Return an item of a batch, in which :func:`issues_of_item` has found nothing."""
    try:
        wanted = make_request(given)
        check_triggerable(engine, wanted)
    except InvalidBodyError:
        return BatchItem(
            task_identifier=given["task"], payload=given.get("payload", UNSET), failure=NOT_TRIGGERED
        )
    return BatchItem(task_identifier=given["task"], payload=wanted.payload, options=wanted.options)


def issues_of_item(given: Any, *, place: str) -> Iterator[str]:
    """
    Yield what is invalid in the form of a batch's item.

    :param place: its place in the body, such as ``items[0]``
    """
    if isinstance(given, dict) and "task" not in given:
        yield f'Required at "{place}.task"'
    elif isinstance(given, dict) and not isinstance(given["task"], str):
        yield f'Expected string, received {kind_of(given["task"])} at "{place}.task"'
    yield from find_issues(given, place=place)


def _issues(given: Any) -> Iterator[str]:
    if not isinstance(given, dict):
        yield f"Expected object, received {kind_of(given)}"
    elif "items" not in given:
        yield 'Required at "items"'
    elif not isinstance(given["items"], list):
        yield f'Expected array, received {kind_of(given["items"])} at "items"'
    else:
        for index, item in enumerate(given["items"]):
            yield from issues_of_item(item, place=f"items[{index}]")
