"""What the lists of runs and of bulk actions share: a page's size, and the error for an invalid query."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from ..http.answers import json_answer

_LARGEST_PAGE = 100


class QueryError(ValueError):
    """An invalid query; it carries the details that the answer shows."""

    def __init__(self, details: list[dict[str, Any]]) -> None:
        super().__init__("Query Error")
        self.details = details


def query_error(error: QueryError) -> Response:
    """
    Return the answer to an invalid query.

    :param error: what is wrong with it
    """
    return json_answer({"error": str(error), "details": error.details}, status=400)


def page_size(given: str | None) -> int:
    """
    Return the size of a page.

    :param given: the value of ``page[size]``
    :raises QueryError: for an invalid size
    """
    path = ["page[size]"]
    if given is None:
        return 25
    number = {"type": "number", "exact": False, "path": path}
    if not given.lstrip("-").isdigit():
        nan = {"code": "invalid_type", "expected": "number", "received": "nan"}
        raise QueryError([{**nan, "path": path, "message": "Expected number, received nan"}])
    if int(given) < 1:
        small = {"code": "too_small", **number}
        more = {"minimum": 0, "inclusive": False, "message": "Number must be greater than 0"}
        least = {"minimum": 1, "inclusive": True, "message": "Number must be greater than or equal to 1"}
        raise QueryError([small | more, small | least])
    if int(given) > _LARGEST_PAGE:
        most = {"maximum": _LARGEST_PAGE, "inclusive": True}
        text = f"Number must be less than or equal to {_LARGEST_PAGE}"
        raise QueryError([{"code": "too_big", **number, **most, "message": text}])
    return int(given)
