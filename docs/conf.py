"""Configure Sphinx, which builds the documentation: ``make docs``."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.util import logging

# Autodoc imports Airflow, which creates a home directory: not in that of the user.
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-provider-trigger-docs-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)

from airflow_provider_trigger import __version__  # noqa: E402

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
autodoc_preserve_defaults = True
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
    """Let Sphinx check the links of what it has built."""
    app.connect("build-finished", _check_links)
