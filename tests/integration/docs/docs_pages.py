"""The pages of the documentation, their code blocks and their tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "example_dags"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
# The version of Airflow that each file of constraints pins, by the name that ``make`` knows.
PINNED = {
    path.stem.removeprefix("airflow-"): re.findall(r"^apache-airflow==(.+)$", path.read_text(), re.MULTILINE)[
        0
    ]
    for path in (ROOT / "constraints").glob("airflow-*.txt")
}
FENCE = re.compile(r"^```(\S*)[ ]*([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its place, the words after its fence, and its text."""

    page: Path
    line: int
    language: str
    argument: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}-{self.language or 'none'}"

    def sibling(self, text: str) -> Block:
        """The block of the same page that has a text in it."""
        (found,) = [block for block in BLOCKS if block.page == self.page and text in block.text]
        return found


def blocks_of(page: Path) -> Iterator[Block]:
    whole = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(whole):
        line = whole.count("\n", 0, match.start()) + 1
        yield Block(page=page, line=line, language=match[1], argument=match[2], text=match[3])


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the table whose first line is given."""
    text = (DOCS / page).read_text(encoding="utf-8")
    (table,) = re.findall(rf"^{re.escape(heading)}\n\|[-| :]+\|\n((?:\|.*\|\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]


def matches(shown: str, said: str) -> bool:
    """Whether a message is as the page shows it, where ``…`` may be anything."""
    return re.search(".*".join(map(re.escape, shown.strip("`").split("…"))), said) is not None
