"""Configure Sphinx, which builds the documentation: ``make docs``."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

# Autodoc imports Airflow, which creates a home directory: not in that of the user.
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-provider-trigger-docs-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)

from airflow_provider_trigger import __version__  # noqa: E402

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

html_theme = "furo"
html_title = f"airflow-provider-trigger {release}"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
