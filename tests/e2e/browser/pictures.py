"""The pictures of the documentation, which tests take with ``E2E_PICTURES=1``."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Locator
from whole_airflow.versions import AIRFLOW

PICTURES = Path(__file__).parents[3] / "docs" / "_static"
# What the documentation shows: the oldest Airflow, and the newest that is released.
SHOWN = ((2, 11), (3, 3))


def take_picture(name: str, element: Locator) -> None:
    """
    Take a picture for the documentation, or check that there is one, if it shows this Airflow.

    :param name: what the file's name begins with; Airflow's version follows
    :param element: what is seen on it
    """
    if AIRFLOW not in SHOWN:
        return
    path = PICTURES / f"{name}-{AIRFLOW[0]}.{AIRFLOW[1]}.png"
    if os.environ.get("E2E_PICTURES"):
        element.page.evaluate("document.activeElement.blur()")
        element.screenshot(path=path, animations="disabled", caret="hide")
    assert path.exists(), f"{path.name} is missing: run this test with E2E_PICTURES=1"
