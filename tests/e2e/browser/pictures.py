"""The pictures of the documentation, which tests take with ``E2E_PICTURES=1``."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Locator
from whole_airflow.versions import AIRFLOW

PICTURES = Path(__file__).parents[3] / "docs" / "_static"
SHOWN = ((2, 11), (3, 3))
"""The Airflows that the documentation shows: the oldest one, and the newest release."""


def take_picture(name: str, element: Locator) -> None:
    """
    Take a picture for the documentation, or check that there is one.

    :param name: what the file's name begins with; Airflow's version follows
    :param element: what is seen on it
    """
    path = PICTURES / f"{name}-{AIRFLOW[0]}.{AIRFLOW[1]}.png"
    if os.environ.get("E2E_PICTURES"):
        element.page.evaluate("document.activeElement.blur()")
        element.screenshot(path=path, animations="disabled", caret="hide")
    assert path.exists(), f"{path.name} is missing: run this test with E2E_PICTURES=1"
