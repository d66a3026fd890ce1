"""The secret key is nowhere but in the Authorization header that our own server gets."""

from __future__ import annotations

import base64
import logging
import os
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
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

IMPORTS = """
try:
    from airflow.sdk import DAG
except ImportError:
    from airflow.models.dag import DAG
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.replay import ReplayTriggerRunOperator
from airflow_provider_trigger.operators.run import RunTriggerTaskOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor
"""

# Each task of Trigger.dev is named as the way its Airflow task ends.
RUNS = """
with DAG(dag_id="secret_runs", schedule=None, params={"runs": {}}):
    for ending in %r:
        common = {"trigger_dev_conn_id": ending}
        for deferrable in (False, True):
            RunTriggerTaskOperator(
                task_id=f"run_{ending}_{deferrable}",
                task_identifier=ending,
                payload={"text": "{{ params.runs." + ending + " }}"},
                deferrable=deferrable,
                poll_interval=0.1,
                timeout=5,
                on_failure_callback=CancelTriggerRunNotifier(timeout=0.5, **common),
                **common,
            )
        run_id = "{{ params.runs." + ending + " }}"
        ReplayTriggerRunOperator(
            task_id=f"replay_{ending}", run_id=run_id, wait_for_completion=False, **common
        )
        if ending in ("works", "rejected"):
            TriggerRunSensor(
                task_id=f"wait_{ending}", run_ids=run_id, timeout=0.3, poke_interval=0.1, **common
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
    elsewhere = f"https://example.com/login?key={quote(KEY, safe='')}"
    for paths in (runs, {ending: f"/tasks/{ending}/" for ending in ENDINGS}):
        server.fail_next(None, 401, path=paths["rejected"], body={"error": f"Invalid API key {KEY}"})
        server.echo_key_next(None, 500, path=paths["echoed"])
        server.malformed_next(None, f"<h1>{KEY}</h1>", path=paths["echoed_in_a_page"], status=400)
        server.redirect_next(None, elsewhere, path=paths["redirected"])
        server.disconnect_next(None, path=paths["disconnected"])
    return runs


def places_with_the_key(texts):
    return [name for name, text in texts.items() if any(form in text for form in FORMS)]


@pytest.fixture
def left(said, caplog):
    """Return all that Dag runs have left by now: files, the database, what was logged and printed."""

    def collect():
        home = Path(os.environ["AIRFLOW_HOME"])
        left = {str(file): file.read_bytes().decode("latin-1") for file in home.rglob("*") if file.is_file()}
        # Airflow 3.0 itself shows, at level debug, what it is to mask.
        text = "\n".join(line for line in said.text.splitlines() if "msg=MaskSecret(" not in line)
        return left | {"said": text, "records": "\n".join(str(vars(record)) for record in caplog.records)}

    caplog.set_level(logging.DEBUG)
    return collect


def test_nothing_that_dag_runs_leave_holds_the_key(server, run_ids, run_dag, left):
    server.on_task("works", output={"n": 1})
    server.runs[run_ids["works"]].status = "COMPLETED"
    result = run_dag(IMPORTS + RUNS % ENDINGS, {"runs": run_ids})
    succeeded = [task_id for task_id, states in result.states.items() if states == ["success"]]
    assert sorted(succeeded) == ["replay_works", "run_works_False", "run_works_True", "wait_works"]
    things = left()
    assert any("airflow.db" in name and run_ids["works"] in text for name, text in things.items())
    assert all(f"'{ending}'" in things["said"] for ending in ENDINGS)
    assert places_with_the_key(things) == []
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}


def texts_behind(error: BaseException) -> list[str]:
    """Return all texts that an error leads to: attributes, causes, contexts, but not its frames."""
    seen: dict[int, Any] = {}
    todo: list[Any] = [error]
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing
        if hasattr(thing, "__dict__") and not isinstance(thing, type):
            todo += vars(thing).values()
        if isinstance(thing, BaseException):
            todo += [thing.__cause__, thing.__context__, *thing.args]
        elif isinstance(thing, dict):
            todo += [*thing, *thing.values()]
        elif isinstance(thing, (list, tuple, set)):
            todo += thing
    return [str(thing) for thing in seen.values() if isinstance(thing, (str, bytes))]


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_error_result_line_or_answer_of_the_test_button_holds_the_key(
    ending, server, run_ids, make_operator, run_try, said, caplog
):
    # Without a task around it, nothing of Airflow's own masks anything.
    caplog.set_level(logging.DEBUG)
    operator = make_operator(run_ids[ending], trigger_dev_conn_id=ending)
    result = run_try(operator)
    assert (result.error is None) is (ending == "works")
    hook, shown = TriggerDevHook(ending), [str(result.results), str(vars(operator))]
    if result.error:
        shown += [f"{result.error!r}", *traceback.format_exception(result.error)]
    try:
        hook.get_run(run_ids[ending])
    except TriggerDevError as error:
        shown += [str(error), repr(error), *texts_behind(error)]
    with hook.get_client() as client:
        shown += [f"{one!r} {one}" for one in (operator, hook, hook.settings, client)]
    server.clear_faults()
    server.echo_key_next(None, 401 if ending == "rejected" else 500)
    shown += [str(hook.test_connection()), said.text]
    assert run_ids[ending] in shown[-1]
    assert places_with_the_key(dict(enumerate(shown))) == []


def test_a_netrc_does_not_replace_the_key(server, connection, cancel, monkeypatch, tmp_path):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password another-secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert cancel(server.add_run()).outcomes == ["canceled"]
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_redirect_to_another_host_does_not_carry_the_key(method, server, cancel):
    with TriggerDevServer(host="127.0.0.2") as elsewhere:
        server.redirect_next(None, f"{elsewhere.url}/api/v3/runs/run_a", status=307, method=method)
        assert cancel(server.add_run()).outcomes == ["failed"]
        assert elsewhere.requests == []


def test_the_key_of_one_connection_is_not_sent_for_another(server, connect, cancel):
    with TriggerDevServer(secret_key="tr_prod_another") as other:
        connect(conn_id="other", host=other.url, key="tr_prod_another")
        cancel(server.add_run())
        cancel(other.add_run(), trigger_dev_conn_id="other")
        assert {request.headers["authorization"] for request in other.requests} == {"Bearer tr_prod_another"}
