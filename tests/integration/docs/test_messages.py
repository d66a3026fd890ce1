"""The messages that the pages show are those of the code; its unit tests say when they come."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs_pages import DOCS, ROOT, rows

# What a message is put together from: what differs from one to the next is between these.
BETWEEN = re.compile(r"…|\b[A-Z]{4,}\b|\b\d+\b|[.:;,()]|\bruns\b|this connection|(?:only )?by bulk action")


def texts_of(file: Path) -> Iterator[str]:
    """Return the texts that a module contains."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


PACKAGE = ROOT / "airflow_provider_trigger"
TEXTS = "\n".join(
    text
    for file in sorted(PACKAGE.rglob("*.py"))
    if file.relative_to(PACKAGE).parts[0] != "testing"
    for text in texts_of(file)
)


def missing(shown: str) -> list[str]:
    """Return the phrases of a message, of which ``…`` may be anything, that are in no text of the package."""
    return [phrase for phrase in map(str.strip, BETWEEN.split(shown)) if phrase not in TEXTS]


def messages(page: str, heading: str) -> list[str]:
    """Return what is shown in the first column of a table."""
    return [text for row in rows(page, heading) for text in re.findall(r"`(.+?)`", row[0])]


SHOWN = [
    *messages("connection.md", "| it says | what to do |"),
    *messages("outcomes.md", "| message | what to do |"),
    *messages("outcomes.md", "| message about one run | what it means |"),
    *messages("outcomes.md", "| reason | what to do |"),
    *re.findall(r"`(Waiting … s for the rate limit)`", (DOCS / "limits.md").read_text()),
]


@pytest.mark.parametrize("shown", SHOWN)
def test_a_message_that_a_page_shows_is_one_of_the_code(shown):
    assert missing(shown) == []


@pytest.mark.parametrize("shown", messages("testing.md", "| it says | which means |"))
def test_what_make_real_says_of_a_server(shown):
    assert shown.removesuffix(": …") in "\n".join(texts_of(ROOT / "scripts" / "real.py"))


def test_another_message_is_none_of_the_code():
    assert missing("… answered 403: …") == []
    assert missing("the time limit was exceeded: …") == ["the time limit was exceeded"]
