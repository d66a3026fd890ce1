from __future__ import annotations

import pytest

from airflow_provider_trigger.wording import MAX_NAMED, enumeration


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", 2, None], "a, 2, None"),
        (range(MAX_NAMED), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        (range(MAX_NAMED + 1), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 … and 1 more"),
        (iter(range(25)), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 … and 15 more"),
    ],
)
def test_an_enumeration_shows_the_first_items_and_how_many_more_there_are(items, text: str) -> None:
    assert enumeration(items) == text


def test_its_separator_can_be_another_one() -> None:
    assert enumeration(range(12), "; ") == "0; 1; 2; 3; 4; 5; 6; 7; 8; 9 … and 2 more"
