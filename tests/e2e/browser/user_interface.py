"""What a person sees and does in Airflow's user interface, in 2.11 and in 3, under the same names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Locator, Page, expect

CONNECTION_TYPE = "Trigger.dev"


@dataclass(frozen=True)
class Field:
    """
    A field of the form, as it is seen.

    :param placeholder: what stands in it while it is empty
    :param help: what stands below it
    :param is_hidden_text: whether dots stand for what is typed
    """

    placeholder: str = ""
    help: str = ""
    is_hidden_text: bool = False


def _field(control: Locator, help: str) -> Field:
    return Field(
        placeholder=control.get_attribute("placeholder") or "",
        help=help,
        is_hidden_text=control.get_attribute("type") == "password",
    )


class UserInterface:
    """
    Airflow's user interface, of Airflow 3.

    :param page: of a browser in which someone has logged in
    :param url: the API server's, or the web server's
    """

    _providers = "providers"

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url

    def new_connection(self) -> None:
        """Open the form for a new connection and choose our type."""
        self.page.goto(f"{self.url}/connections")
        self.page.get_by_role("button", name="Add Connection").first.click()
        self.form().get_by_role("combobox").click()
        self.page.get_by_role("option", name=CONNECTION_TYPE).click()
        self.show("Standard Fields")

    def form(self) -> Locator:
        """Return the form, for a picture of it."""
        return self.page.get_by_role("dialog")

    def show(self, section: str) -> None:
        """Open a section of the form; the others close."""
        button = self.form().get_by_role("button", name=section, exact=True)
        if button.get_attribute("aria-expanded") != "true":
            button.click()
        expect(self.section(section)).to_be_visible()
        expect(self.form().get_by_role("region")).to_have_count(1)

    def section(self, name: str) -> Locator:
        """Return the content of a section of the form."""
        button = self.page.get_by_role("button", name=name, exact=True)
        item = self.form().locator("[data-scope=accordion][data-part=item]", has=button)
        return item.locator("[data-part=item-content]")

    def fields(self) -> dict[str, Field]:
        """Return the fields that are seen, by their labels, but for the connection's id and type."""
        found = {}
        for section in ("Standard Fields", "Extra Fields"):
            self.show(section)
            for row in self.section(section).locator("[data-scope=field][data-part=root]").all():
                help = row.locator("[data-part=helper-text]")
                text = help.inner_text() if help.count() else ""
                found[row.locator("label").inner_text().strip()] = _field(row.locator("input,textarea"), text)
        return found

    def fill(self, connection_id: str, *, host: str, secret_key: str, extra: dict[str, Any]) -> None:
        """Fill in the form; None in ``extra`` is for a field that is filled in and emptied again."""
        self.form().get_by_label("Connection ID").fill(connection_id)
        self.show("Standard Fields")
        self.form().locator("[name=host]").fill(host)
        self.form().locator("[name=password]").fill(secret_key)
        self.show("Extra Fields")
        for name, value in extra.items():
            field = self.form().locator(f"[name=element_{name}]")
            field.fill("1" if value is None else str(value))
            if value is None:
                field.fill("")

    def save(self) -> None:
        """Press Save, and wait until it is done."""
        self.form().get_by_role("button", name="Save").click()
        expect(self.form()).to_have_count(0)

    def test(self, connection_id: str) -> str:
        """Press Test: in 2.11's form, or in 3's list, where the connection is saved; return the answer."""
        self.page.goto(f"{self.url}/connections")
        row = self.page.get_by_role("row").filter(has_text=connection_id)
        row.get_by_role("button", name="Test Connection").click()
        answer = self.page.locator("[data-scope=toast][data-part=root]", has_text="Test Connection")
        title, text = answer.inner_text().strip().split("\n", 1)
        assert title in ("Test Connection Successful", "Test Connection Failed")
        return text.strip()

    def provider(self, package: str) -> Locator:
        """Return the package's row in the list of providers."""
        self.page.goto(f"{self.url}/{self._providers}")
        return self.page.get_by_role("row").filter(has_text=package)


class Airflow2(UserInterface):
    """The same in Airflow 2.11."""

    _providers = "provider"

    def new_connection(self) -> None:
        self.page.goto(f"{self.url}/connection/add")
        self.page.locator("#select2-conn_type-container").click()
        self.page.locator(".select2-results__option", has_text=CONNECTION_TYPE).click()
        expect(self.page.locator("#select2-conn_type-container")).to_contain_text(CONNECTION_TYPE)

    def form(self) -> Locator:
        return self.page.locator(".panel", has=self.page.locator("#model_form"))

    def fields(self) -> dict[str, Field]:
        found = {}
        for row in self.page.locator("#model_form tr:visible").all():
            label = row.locator("label")
            name = label.get_attribute("for")
            if name not in ("conn_id", "conn_type"):
                control = row.locator(f"#{name}")
                # An editor takes the place of the text area, and shows no placeholder.
                shown = control if control.is_visible() else row.locator(".CodeMirror")
                found[label.inner_text().strip()] = _field(shown, row.locator(".help-block").inner_text())
        return found

    def fill(self, connection_id: str, *, host: str, secret_key: str, extra: dict[str, Any]) -> None:
        self.page.locator("#conn_id").fill(connection_id)
        self.page.locator("#host").fill(host)
        self.page.locator("#password").fill(secret_key)
        self.page.locator(".CodeMirror").click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(json.dumps(extra, indent=2))

    def save(self) -> None:
        with self.page.expect_navigation():
            self.page.get_by_role("button", name="Save").click()
        expect(self.page.get_by_text("Added Row")).to_be_visible()

    def test(self, connection_id: str) -> str:
        with self.page.expect_response("**/connections/test"):
            self.page.locator("#test-connection").click()
        answer = self.page.locator(".alert:visible", has_text="secret key")
        return answer.inner_text().strip()
