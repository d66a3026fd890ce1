"""The body of a request for a bulk action, and what is invalid in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .json_body import InvalidBodyError, kind_of, read_json

_MOST_RUN_IDS = 500
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """
    A valid request to cancel runs.

    :param run_ids: the runs that it names
    :param tag: one of these tags, with commas, is what its runs have; ``None`` if it names them
    :param name: the name for the bulk action
    """

    run_ids: list[str]
    tag: str | None
    name: str | None


def read_request(body: bytes) -> BulkRequest:
    """
    Read the body of a request for a bulk action.

    :raises InvalidBodyError: for an invalid one; 501 for one that only the real server can process
    """
    given = read_json(body)
    issues = list(_issues(given))
    if issues:
        raise InvalidBodyError(f"Validation error: {'; '.join(issues)}")
    wanted = given.get("filter", {})
    if given["action"] == "replay" or wanted.keys() - {"tag"}:
        raise InvalidBodyError("The local server only cancels runs by their ids or a tag", status=501)
    run_ids = given.get("runIds", [])
    if len(run_ids) > _MOST_RUN_IDS:
        most = f"Maximum is {_MOST_RUN_IDS}. Use a filter to select more runs."
        raise InvalidBodyError(f"Too many runIds ({len(run_ids)}). {most}")
    return BulkRequest(run_ids=run_ids, tag=wanted.get("tag"), name=given.get("name"))


def _issues(given: Any) -> Iterator[str]:
    if not isinstance(given, dict):
        yield f"Expected object, received {kind_of(given)}"
        return
    if given.get("action") not in ("cancel", "replay"):
        yield "Invalid discriminator value. Expected 'cancel' | 'replay' at \"action\""
        return
    checks = {"runIds": _issues_of_ids, "filter": _issues_of_filter, "name": _issues_of_name}
    found = [issue for key, check in checks.items() if key in given for issue in check(given[key])]
    if not found and ("runIds" in given) == ("filter" in given):
        yield "Exactly one of filter or runIds must be provided"
    yield from found


def _issues_of_ids(given: Any) -> Iterator[str]:
    if not isinstance(given, list):
        yield f'Expected array, received {kind_of(given)} at "runIds"'
    elif not given:
        yield 'Array must contain at least 1 element(s) at "runIds"'
    else:
        for index, run_id in enumerate(given):
            if not isinstance(run_id, str):
                yield f'Expected string, received {kind_of(run_id)} at "runIds[{index}]"'


def _issues_of_filter(given: Any) -> Iterator[str]:
    if not isinstance(given, dict):
        yield f'Expected object, received {kind_of(given)} at "filter"'
    elif not given:
        yield 'At least one filter must be provided at "filter"'


def _issues_of_name(given: Any) -> Iterator[str]:
    if not isinstance(given, str):
        yield f'Expected string, received {kind_of(given)} at "name"'
    elif len(given) > _LONGEST_NAME:
        yield f'Name must be less than {_LONGEST_NAME} characters at "name"'
