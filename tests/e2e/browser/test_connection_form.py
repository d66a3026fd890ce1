"""The connection form, the Test button and the list of providers, as a person sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from browser.chromium import logged_in
from browser.pictures import SHOWN, take_picture
from browser.user_interface import Airflow2, Field, UserInterface
from browser.web_server import IS_2, WebServer
from playwright.sync_api import BrowserContext, expect
from whole_airflow.versions import AIRFLOW, AIRFLOW_VERSION

import airflow_provider_trigger
from airflow_provider_trigger.get_provider_info import get_provider_info
from airflow_provider_trigger.hooks.connection import read_settings
from airflow_provider_trigger.testing import TriggerDevServer

pytestmark = pytest.mark.skipif(
    AIRFLOW not in SHOWN, reason="tested on the oldest Airflow and on the newest release"
)
# Their Test button refuses each saved connection that has no port: https://github.com/apache/airflow/pull/73298
REFUSES_WITHOUT_PORT = AIRFLOW_VERSION in ("3.3.1", "3.3.2")


@pytest.fixture(scope="module")
def web(home: Path) -> Iterator[WebServer]:
    """Return Airflow's web server."""
    with WebServer(home / "browser") as web:
        yield web


@pytest.fixture(scope="module")
def browser(web: WebServer) -> Iterator[BrowserContext]:
    """Return a browser in which someone has logged in."""
    with logged_in(web.api.url) as browser:
        yield browser


@pytest.fixture
def ui(web: WebServer, browser: BrowserContext) -> Iterator[UserInterface]:
    """Return Airflow's user interface in a page of its own."""
    page = browser.new_page()
    yield (Airflow2 if IS_2 else UserInterface)(page, web.api.url)
    page.close()


def test_form(ui: UserInterface) -> None:
    ui.new_connection()

    (connection_type,) = get_provider_info()["connection-types"]
    placeholders = connection_type["ui-field-behaviour"]["placeholders"]
    expected = {
        "Description": Field(),
        "API URL": Field(placeholder=placeholders["host"]),
        "Secret key": Field(placeholder=placeholders["password"], is_hidden_text=True),
    }
    if IS_2:
        expected["Extra"] = Field()
    else:
        expected |= {
            field["label"]: Field(help=field["description"], is_hidden_text=name == "proxy")
            for name, field in connection_type["conn-fields"].items()
        }
    assert ui.fields() == expected

    extra: dict[str, Any] = {"branch": "my-branch", "timeout": 10, "retry_for": 60}
    if not IS_2:
        extra["verify"] = "/etc/ssl/company-ca.pem"
    ui.fill(
        "trigger_dev_default",
        host="https://trigger.example.com",
        secret_key="tr_preview_notARealSecretKey0",
        extra=extra,
    )
    expect(ui.form().locator("[name=password]")).to_have_attribute("type", "password")
    if not IS_2:
        take_picture("connection-form-extra", ui.form())
        ui.show("Standard Fields")
    take_picture("connection-form", ui.form())


@pytest.mark.skipif(IS_2, reason="its form has one field for all that is extra")
@pytest.mark.parametrize("name", ["timeout", "retry_for"])
def test_a_number_is_not_below_zero(ui: UserInterface, name: str) -> None:
    ui.new_connection()
    ui.show("Extra Fields")
    field = ui.form().locator(f"[name=element_{name}]")

    field.press("ArrowDown")

    expect(field).to_have_value("0")


def test_test_button_says_what_is_wrong(ui: UserInterface, web: WebServer, server: TriggerDevServer) -> None:
    make_connection(ui, web, server, "wrong_key", secret_key="tr_prod_aKeyOfNobody")

    assert ui.test("wrong_key") == (
        f"{server.url} rejected the secret key: GET /api/v1/runs answered 401: Invalid API key; "
        "check the password of this connection"
    )


def test_the_button_says_all_is_well(ui: UserInterface, web: WebServer, server: TriggerDevServer) -> None:
    make_connection(ui, web, server, "right_key", secret_key=server.secret_key)

    assert ui.test("right_key") == f"Connected to {server.url}; the secret key is accepted"


def make_connection(
    ui: UserInterface, web: WebServer, server: TriggerDevServer, connection_id: str, *, secret_key: str
) -> None:
    """Fill in the form; on an Airflow that tests no connection without a port, use the command line."""
    if REFUSES_WITHOUT_PORT:
        host, _, port = server.url.rpartition(":")
        fields = {"conn_type": "trigger_dev", "host": host, "port": int(port), "password": secret_key}
        web.run_command("connections", "add", connection_id, "--conn-json", json.dumps(fields))
        return
    ui.new_connection()
    ui.fill(connection_id, host=server.url, secret_key=secret_key, extra={})
    if not IS_2:
        ui.save()


def test_its_connection_works_in_a_dag(ui: UserInterface, web: WebServer, server: TriggerDevServer) -> None:
    ui.new_connection()
    extra = {"branch": None, "dashboard_url": "https://trigger.example.com", "timeout": 12.5}
    extra |= {"retry_for": None, "verify": "false", "proxy": None}
    ui.fill("made_in_the_form", host=server.url, secret_key=server.secret_key, extra=extra)
    ui.save()

    settings = read_settings(saved_connection(web, "made_in_the_form"))
    assert (settings.base_url, settings.secret_key) == (server.url, server.secret_key)
    assert (settings.branch, settings.dashboard_url) == (None, "https://trigger.example.com")
    assert (settings.timeout, settings.retry_for) == (12.5, 120)
    assert (settings.verify, settings.proxy) == (False, None)
    run = server.add_run()
    web.run_command("dags", "test", "connection_form", "--conf", json.dumps({"trigger_run_id": run.id}))
    assert run.status == "CANCELED"


def saved_connection(web: WebServer, connection_id: str) -> Any:
    """Return a connection as it is in Airflow's database."""
    path = web.home / "connections.json"
    web.run_command("connections", "export", str(path), "--file-format", "json")
    fields = json.loads(path.read_text())[connection_id]
    path.unlink()  # an export holds the key, as it should; no other file may
    assert fields["conn_type"] == "trigger_dev"
    extra = fields["extra"] if isinstance(fields["extra"], str) else json.dumps(fields["extra"])
    return SimpleNamespace(**fields | {"conn_id": connection_id, "extra": extra})


def test_provider_list(ui: UserInterface) -> None:
    row = ui.provider("airflow-provider-trigger")

    expect(row).to_contain_text(airflow_provider_trigger.__version__)
    expect(row).to_contain_text("Start, wait for and cancel runs of Trigger.dev")
    expect(row.get_by_role("link", name="Trigger.dev" if IS_2 else "https://trigger.dev")).to_have_attribute(
        "href", "https://trigger.dev"
    )
