"""
Airflow's web server and a browser that a person is logged in with.

The browser is Debian's ``chromium``, driven by the Python package ``playwright``, which downloads none of its
own then. With ``E2E_PICTURES=1`` the tests take the documentation's pictures (``docs/_static``) anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from whole_airflow import versions

sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")

from browser.user_interface import Airflow2, Airflow3, UserInterface  # noqa: E402
from browser.web_server import IS_2, WebServer  # noqa: E402

HERE = Path(__file__).parent
PICTURES = HERE.parents[2] / "docs" / "_static"
CHROMIUM_PACKAGE = "chromium"  # Debian's
ARGUMENTS = [
    "--no-sandbox",  # it refuses to run as root with one
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def web(home: Path) -> Iterator[WebServer]:
    """Return the web server."""
    with WebServer(home / "browser") as web:
        yield web


@pytest.fixture(scope="module")
def browser_context(web: WebServer) -> Iterator[sync_api.BrowserContext]:
    """Return a browser in which someone has logged in."""
    chromium = shutil.which("chromium")
    assert chromium, f"Chromium is not installed; on Debian: apt-get install {CHROMIUM_PACKAGE}"
    with (
        sync_api.sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS) as browser,
        browser.new_context(
            viewport={"width": 1000, "height": 1300},
            locale="en-US",
            timezone_id="UTC",
            color_scheme="light",
            reduced_motion="reduce",
        ) as context,
    ):
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.goto(web.api.url)
        page.locator("input[name=username]").fill(versions.USERNAME)
        page.locator("input[name=password]").fill(versions.PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "login" not in url)
        page.close()
        yield context


@pytest.fixture
def ui(web: WebServer, browser_context: sync_api.BrowserContext) -> Iterator[UserInterface]:
    """Return Airflow's user interface in a page of its own."""
    page = browser_context.new_page()
    yield (Airflow2 if IS_2 else Airflow3)(page, web.api.url)
    page.close()


@pytest.fixture
def take_picture() -> Callable[[str, sync_api.Locator], None]:
    """Return a function that takes a picture for the documentation, or sees that there is one."""

    def take(name: str, element: sync_api.Locator) -> None:
        path = PICTURES / f"{name}-{versions.AIRFLOW[0]}.{versions.AIRFLOW[1]}.png"
        if os.environ.get("E2E_PICTURES"):
            element.screenshot(path=path, animations="disabled", caret="hide")
        assert path.exists(), f"{path.name} is missing: run this test with E2E_PICTURES=1"

    return take
