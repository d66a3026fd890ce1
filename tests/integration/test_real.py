"""What ``make real`` says of a server, here of the local one."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import until

SCRIPT = Path(__file__).parents[2] / "scripts" / "real.py"
JSON = "application/json"


@pytest.fixture
def started(server) -> None:
    """A task whose last run has completed."""
    server.on_task("work", output={"a": 1})
    ended, _ = server.trigger("work")
    until(lambda: ended.status == "COMPLETED", "the run has completed")


def settings(server, key: str) -> dict[str, str]:
    return {"URL": server.url, "KEY": key, "TASK": "work", "no_proxy": "127.0.0.1"}


@pytest.fixture
def runs_here(started, server, monkeypatch, capsys):
    """Return a function that runs it in this process, and returns its exit code and what it printed."""
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setenv("AIRFLOW_CONN_MAKE_REAL", "")  # which the script sets

    def run(key=server.secret_key) -> tuple[Any, str]:
        for name, value in settings(server, key).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return end.value.code, capsys.readouterr().out

    yield run
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def says(runs_here, server):
    """Return a function that runs it, and returns its exit code and its lines by the call they are about."""

    def says(*key: str) -> tuple[Any, dict[str, str]]:
        code, output = runs_here(*key)
        assert not any(secret in output for secret in (server.secret_key, *key))
        calls = json.loads(SCRIPT.with_name("real_calls.json").read_text())
        lines = output.splitlines()
        return code, {
            call: line.split(maxsplit=len(call.split()) + 1)[-1]
            for call in calls
            for line in lines
            if line.startswith(f"{call}  ")
        }

    return says


def are_canceled(server) -> bool:
    return {run.status for run in list(server.runs.values())[1:]} == {"CANCELED"}


def test_the_local_server_answers_as_the_recordings(says, server) -> None:
    code, said = says()
    assert code == 0
    assert len(said) == 16
    assert not {text.split(":")[0] for text in said.values()} - {"same shape", "more fields"}
    assert are_canceled(server)


def test_a_field_that_the_provider_reads_and_an_answer_lacks(says, server) -> None:
    server.malformed_next(None, '{"events": [{"message": "a", "startTime": "1"}]}', JSON, path="/events")
    code, said = says()
    assert code == 1
    assert said.pop("list events") == "DIFFERENCE: events[].level is missing"
    assert not [text for text in said.values() if "DIFFERENCE" in text]


def test_what_the_key_may_not_is_no_difference(says, server) -> None:
    scopes = ["trigger:tasks", "batchTrigger:tasks", "read:runs", "write:runs"]
    code, said = says(server.add_key(scopes=scopes))
    assert code == 0
    may_not = {call for call, text in said.items() if text == "the key may not"}
    assert may_not == {"query runs", "reschedule a run", "create a token"}
    assert are_canceled(server)


def test_with_a_key_that_may_not_cancel_nothing_is_started(runs_here, server) -> None:
    error, _ = runs_here(server.add_key(scopes=["trigger:tasks"]))
    assert str(error).startswith("error: no run is started, as none could be canceled")
    assert len(server.runs) == 1


def test_what_was_started_is_canceled_after_a_stop(started, server) -> None:
    server.hang_next(path="/reschedule")
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT)],
        env=os.environ | settings(server, server.secret_key),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    until(lambda: [one for one in server.requests if "/reschedule" in one.path], "the run is rescheduled")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Canceled 3 of 3 runs of the tag make-real-" in output
    assert are_canceled(server)
