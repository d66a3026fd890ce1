"""Configure Sphinx, which builds the documentation: ``make docs``."""

from __future__ import annotations

import atexit
import inspect
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, is_typeddict
from urllib.parse import unquote, urlsplit

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

# Autodoc imports Airflow, which creates a home directory: not in that of the user.
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-provider-trigger-docs-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)

from airflow_provider_trigger import __version__  # noqa: E402
from airflow_provider_trigger.get_provider_info import get_provider_info  # noqa: E402

logger = logging.getLogger(__name__)

project = "airflow-provider-trigger"
author = "The airflow-provider-trigger authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 80
viewcode_line_numbers = True
viewcode_follow_imported_members = False

html_theme = "furo"
html_title = f"airflow-provider-trigger {release}"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}


_PARAMETER = re.compile(r"^:param (\w+): (.*(?:\n +.*)*)\n?", re.MULTILINE)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return a table in reStructuredText."""
    lines = ["", ".. list-table::", "   :header-rows: 1", ""]
    for row in (heads, *rows):
        first, *others = row
        lines += [f"   * - {first}", *(f"     - {cell}" for cell in others)]
    return [*lines, ""]


def _shown(default: Any) -> str:
    if default is inspect.Parameter.empty:
        return "required"
    if isinstance(default, float):
        return f"``{default:g}``"
    return f"``{json.dumps(default, ensure_ascii=False) if isinstance(default, str) else default}``"


def _arguments(kind: type) -> Iterator[tuple[str, str, str]]:
    """Yield name, default and meaning of each argument of a class, then of its bases."""
    for one in kind.__mro__:
        if not one.__module__.startswith("airflow_provider_trigger.") or "__init__" not in vars(one):
            continue
        meanings = dict(_PARAMETER.findall(inspect.cleandoc(one.__doc__ or "")))
        parameters = inspect.signature(vars(one)["__init__"]).parameters.values()
        named = [each for each in parameters if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)]
        if missing := {each.name for each in named} - {"self"} ^ set(meanings):
            logger.warning("docstring and arguments of %s differ: %s", one.__name__, sorted(missing))
        for each in named:
            if each.name in meanings:
                yield f"``{each.name}``", _shown(each.default), " ".join(meanings[each.name].split())


def _make_table(_app: Sphinx, what: str, _name: str, item: Any, _options: Any, lines: list[str]) -> None:
    """
    Put one table with defaults in the place of a class's parameters, with those that it inherits.

    Base classes have none: their parameters are in the tables of all that inherit them.
    """
    text = "\n".join(lines)
    # No user makes one.
    is_result = "__dataclass_fields__" in getattr(item, "__dict__", ()) or is_typeddict(item)
    if what != "class" or is_result or not (first := _PARAMETER.search(text)):
        return
    rows = [] if item.__subclasses__() else sorted(_arguments(item), key=lambda row: row[1] != "required")
    table = _table(("argument", "default", "meaning"), rows) if rows else []
    others = _PARAMETER.sub("", text[first.start() :])
    lines[:] = [*text[: first.start()].splitlines(), *table, *others.splitlines()]


class _ConnectionFields(SphinxDirective):
    """The fields in the extra of a connection, as the form shows them."""

    def run(self) -> list[nodes.Node]:
        [kind] = get_provider_info()["connection-types"]
        rows = [
            (f"``{name}``", field["label"], re.sub(r"(\w)_", r"\1\_", field["description"]))
            for name, field in kind["conn-fields"].items()
        ]
        lines = _table(("field of the extra", "in the form", "meaning"), rows)
        return self.parse_text_to_nodes("\n".join(lines))


class _Page(HTMLParser):
    """What a page links to, and the places in it that have a name."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str | None] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [link for name in ("href", "src") if (link := given.get(name))]
        self.names |= {given.get("id"), given.get("name")}


def _check_links(app: Sphinx, error: Exception | None) -> None:
    """Warn of each link between the built pages that leads nowhere: Sphinx itself makes some."""
    pages = {} if error else {path: _Page(path) for path in Path(app.outdir).resolve().rglob("*.html")}
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            is_named = not url.fragment or target not in pages or unquote(url.fragment) in pages[target].names
            if not target.exists() or not is_named:
                logger.warning("dead link in %s: %s", path.relative_to(app.outdir), link)


def setup(app: Sphinx) -> None:
    """Let Sphinx make the tables, and check the links of what it has built."""
    app.add_directive("connection-fields", _ConnectionFields)
    app.connect("autodoc-process-docstring", _make_table)
    app.connect("build-finished", _check_links)
