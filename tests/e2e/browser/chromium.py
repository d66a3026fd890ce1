"""Debian's ``chromium``, driven by the Python package ``playwright`` (whose own browsers are not needed)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import BrowserContext, sync_playwright
from whole_airflow.versions import PASSWORD, USERNAME

ARGUMENTS = [
    "--no-sandbox",  # it refuses to run as root with one
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def logged_in(url: str, *, asks_for_password: bool = True) -> Iterator[BrowserContext]:
    """
    Yield a browser in which someone has logged in.

    :param url: Airflow's
    :param asks_for_password: whether it asks who it is; an Airflow 3 in which all are admins does not
    """
    chromium = shutil.which("chromium")
    assert chromium, "Chromium is not installed; on Debian: apt-get install chromium"
    with (
        sync_playwright() as playwright,
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
        page.goto(url)
        if asks_for_password:
            page.locator("input[name=username]").fill(USERNAME)
            page.locator("input[name=password]").fill(PASSWORD)
            page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "login" not in url)
        page.close()
        yield context
