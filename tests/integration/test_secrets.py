"""The secret key is nowhere but in the Authorization header that our own server gets."""

from __future__ import annotations

import base64
import logging
import os
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest

from airflow_provider_trigger.testing import TriggerDevServer

KEY = "tr_prod_MARKER+/=0123456789abcdef"
FORMS = (KEY, quote(KEY, safe=""), base64.b64encode(KEY.encode()).decode()[:40], KEY[8:])

ENDINGS = [
    "works",
    "rejected",
    "echoed",
    "echoed_in_a_page",
    "redirected",
    "refused",
    "untrusted",
    "disconnected",
]

DAG = """
try:
    from airflow.sdk import DAG
except ImportError:
    from airflow.models.dag import DAG
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

with DAG(dag_id="secrets", schedule=None, params={"runs": {}}):
    for ending in %r:
        CancelTriggerRunOperator(
            task_id=ending,
            run_ids="{{ params.runs." + ending + " }}",
            trigger_dev_conn_id=ending,
            on_failure_callback=CancelTriggerRunNotifier(run_ids=["run_b"], trigger_dev_conn_id=ending),
        )
"""


@pytest.fixture
def server():
    with TriggerDevServer(secret_key=KEY) as server:
        yield server


@pytest.fixture
def untrusted(certificate):
    with TriggerDevServer(
        secret_key=KEY, ssl_certfile=certificate.file, ssl_keyfile=certificate.key
    ) as server:
        yield server


@pytest.fixture
def run_ids(server, untrusted, connect):
    """For each way a task can end, a connection of that name and the id of a run that brings it about."""
    runs = {ending: server.add_run().id for ending in ENDINGS}
    for ending in ENDINGS:
        connect(conn_id=ending, retry_for=0.5)
    connect(conn_id="refused", host="http://127.0.0.1:9", retry_for=0.5)
    connect(conn_id="untrusted", host=untrusted.url, retry_for=0.5)
    server.fail_next(None, 401, path=runs["rejected"], body={"error": f"Invalid API key {KEY}"})
    server.echo_key_next(None, 500, path=runs["echoed"])
    server.malformed_next(None, f"<h1>{KEY}</h1>", path=runs["echoed_in_a_page"], status=400)
    server.redirect_next(
        None, f"https://example.com/login?key={quote(KEY, safe='')}", path=runs["redirected"]
    )
    server.disconnect_next(None, path=runs["disconnected"])
    return runs


def places_with_the_key(texts):
    return [name for name, text in texts.items() if any(form in text for form in FORMS)]


def test_nothing_that_dag_runs_leave_holds_the_key(server, run_ids, run_dag, said, caplog):
    caplog.set_level(logging.DEBUG)
    result = run_dag(DAG % ENDINGS, {"runs": run_ids})
    assert {ending: states for ending, states in result.states.items() if states == ["success"]} == {
        "works": ["success"]
    }
    home = Path(os.environ["AIRFLOW_HOME"])
    left = {str(file): file.read_bytes().decode("latin-1") for file in home.rglob("*") if file.is_file()}
    assert any("airflow.db" in name and run_ids["works"] in text for name, text in left.items())
    # Airflow 3.0 itself shows, at level debug, what it is to mask.
    text = "\n".join(line for line in said.text.splitlines() if "msg=MaskSecret(" not in line)
    left |= {"said": text, "records": "\n".join(str(vars(record)) for record in caplog.records)}
    assert run_ids["echoed"] in left["said"]
    assert places_with_the_key(left) == []
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_error_result_or_line_holds_the_key(ending, run_ids, cancel, said, caplog):
    # Without a task around it, nothing of Airflow's own masks anything.
    caplog.set_level(logging.DEBUG)
    result = cancel(run_ids[ending], trigger_dev_conn_id=ending)
    assert (result.error is None) is (ending == "works")
    shown = {"results": str(result.results), "said": said.text}
    if result.error:
        shown |= {
            "error": f"{result.error} {result.error!r}",
            "traceback": "".join(traceback.format_exception(result.error)),
        }
    assert run_ids[ending] in shown["said"]
    assert places_with_the_key(shown) == []


def test_no_repr_holds_the_key(run_ids, make_operator, execute):
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

    operator = make_operator(run_ids["works"])
    hook = TriggerDevHook("works")
    execute(operator)
    with hook.get_client() as client:
        things = {"operator": operator, "hook": hook, "settings": hook.settings, "client": client}
        shown = {name: f"{thing!r} {thing}" for name, thing in things.items()}
        shown["fields of the operator"] = str(vars(operator))
    assert places_with_the_key(shown) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_error_of_the_client_leads_to_the_key(ending, run_ids, texts_behind):
    from airflow_provider_trigger.api.errors import TriggerDevError
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

    texts = []
    with TriggerDevHook(ending).get_client() as client:
        try:
            client.cancel_run(run_ids[ending])
        except TriggerDevError as error:
            texts = [str(error), repr(error), *texts_behind(error)]
    assert bool(texts) is (ending != "works")
    assert places_with_the_key(dict(enumerate(texts))) == []


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_test_button_does_not_show_the_key(ending, server, run_ids):
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

    server.clear_faults()
    server.echo_key_next(None, 401 if ending == "rejected" else 500)
    _, message = TriggerDevHook(ending).test_connection()
    assert places_with_the_key({"message": message}) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_a_key_that_is_echoed_in_another_encoding_is_not_shown(encoding, server, connection, cancel, said):
    echo = f'{{"error": "Refused: Bearer {KEY}"}}'.encode(encoding)
    server.malformed_next(None, echo, "application/json", status=403)
    result = cancel(server.add_run())
    shown = {"results": str(result.results), "said": said.text, "error": str(result.error)}
    assert "answered 403" in shown["error"]
    assert places_with_the_key(shown) == []


@pytest.mark.parametrize("key", ["d", "run", "local"])
def test_a_key_as_short_as_no_real_one_does_no_harm(key, connect, cancel):
    with TriggerDevServer(secret_key=key) as server:
        connect(host=server.url, key=key)
        result = cancel(server.add_run())
    assert (result.error, result.outcomes) == (None, ["canceled"])


@pytest.mark.parametrize("variable", ["NETRC", "HOME"])
def test_a_netrc_does_not_replace_the_key(variable, server, connection, cancel, monkeypatch, tmp_path):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password another-secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv(variable, str(netrc if variable == "NETRC" else tmp_path))
    assert cancel(server.add_run()).outcomes == ["canceled"]
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_redirect_to_another_host_does_not_carry_the_key(status, method, server, cancel):
    with TriggerDevServer(host="127.0.0.2") as elsewhere:
        server.redirect_next(None, f"{elsewhere.url}/api/v3/runs/run_a", status=status, method=method)
        assert cancel(server.add_run()).outcomes == ["failed"]
        assert elsewhere.requests == []


def test_the_key_of_one_connection_is_not_sent_for_another(server, connect, cancel):
    with TriggerDevServer(secret_key="tr_prod_another") as other:
        connect(conn_id="other", host=other.url, key="tr_prod_another")
        cancel(server.add_run())
        cancel(other.add_run(), trigger_dev_conn_id="other")
        assert {request.headers["authorization"] for request in other.requests} == {"Bearer tr_prod_another"}
