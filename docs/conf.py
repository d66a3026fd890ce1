"""Configure Sphinx, which builds the documentation: ``make docs``."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.util import logging

from airflow_provider_trigger import __version__

logger = logging.getLogger(__name__)

project = "airflow-provider-trigger"
author = "The airflow-provider-trigger authors"
version = release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 3

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
    """Check the links of what Sphinx has built."""
    app.connect("build-finished", _check_links)
