"""What the tests of the API share: a search for the secret key in an error and in all that it leads to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

SECRET_KEY = "tr_prod_marker/of+the=test"
TESTS = Path(__file__).parents[1]


def texts_of(value: object, seen: set[int]) -> Iterator[str]:
    """Yield every text that a value leads to: its own, those of errors within it, and of their frames."""
    if isinstance(value, BaseException):
        yield from texts_of_error(value, seen)
    else:
        yield repr(value)


def texts_of_error(error: BaseException, seen: set[int]) -> Iterator[str]:
    if id(error) in seen:
        return
    seen.add(id(error))
    yield from (str(error), repr(error), repr(error.args))
    for value in (*error.args, *vars(error).values(), error.__cause__, error.__context__):
        yield from texts_of(value, seen)
    traceback = error.__traceback__
    while traceback:
        if TESTS not in Path(traceback.tb_frame.f_code.co_filename).parents:  # a test's own frame has the key
            for value in traceback.tb_frame.f_locals.values():
                yield from texts_of(value, seen)
        traceback = traceback.tb_next


@pytest.fixture(scope="session")
def key_in() -> Callable[..., list[str]]:
    """Return a function that finds the texts an error leads to and that show the key; none should."""

    def find(error: BaseException, key: str = SECRET_KEY) -> list[str]:
        spellings = (key, quote(key), quote(key, safe=""))
        return [text for text in texts_of(error, set()) if any(spelling in text for spelling in spellings)]

    return find
