"""What a new user does with the pages: the commands of the Quickstart, and the tests of ``testing.md``."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs_pages import BLOCKS, EXAMPLES, Block
from docs_shell import ADDRESS, BEHIND_A_PROXY, RUN_ID, changed_for_this_airflow, with_airflow

from airflow_provider_trigger.testing import TriggerDevServer

# A page, and a text that only one of its blocks has: the commands, in their order.
MIGRATE = ("quickstart.md", "airflow db migrate")
START = ("quickstart.md", "dags test run_and_wait")
CANCEL = ("quickstart.md", "dags test cancel_at_the_end")
CONNECTIONS = ("connection.md", "airflow connections add")
COMMANDS = (MIGRATE, START, CANCEL, CONNECTIONS)
LOG_OF_START = ("quickstart.md", "Starting a run")
LOG_OF_CANCEL = ("quickstart.md", "Canceling 2")
RUNS = ("EXECUTING", "COMPLETED")  # that are canceled


def block_of(page: str, text: str) -> Block:
    (found,) = [block for block in BLOCKS if block.page.name == page and text in block.text]
    return found


def script_of_a_new_user(server: TriggerDevServer) -> str:
    """
    Return all commands as one script, for a user without any Airflow, who copies the Dags.

    The local server is on another port than on the page. The last commands give its address and key.
    """
    steps = [block_of(*command).text for command in COMMANDS]
    mine = f"--conn-host {server.url} --conn-password {server.secret_key}"
    steps[-1] = "unset ${!AIRFLOW_CONN@}\n" + steps[-1].replace("--conn-password 'tr_prod_…'", mine)
    assert mine in steps[-1]
    script = ADDRESS.sub(server.url, "\n".join(["unset ${!AIRFLOW@}", *steps]))
    dags = shlex.join(str(EXAMPLES / f"{name}.py") for name in re.findall(r"dags test (\w+)", script))
    return script.replace("mkdir -p ~/airflow/dags\n", f"mkdir -p ~/airflow/dags\ncp {dags} ~/airflow/dags\n")


def test_the_commands_of_the_pages_print_what_the_pages_show(tmp_path):
    with TriggerDevServer(acknowledge_after=0.05) as server:
        for run_id, status in zip(RUN_ID.findall(block_of(*CANCEL).text), RUNS, strict=True):
            server.add_run(status, run_id=run_id)
        printed = with_airflow(script_of_a_new_user(server), HOME=str(tmp_path), **BEHIND_A_PROXY)
        (started,) = [run for run in server.runs.values() if run.task_identifier == "resize-image"]
        shown = RUN_ID.sub(started.id, block_of(*LOG_OF_START).text) + block_of(*LOG_OF_CANCEL).text
        assert [line for line in ADDRESS.sub(server.url, shown).splitlines() if line not in printed] == []
        assert printed.count("Connection success!") == 1
        assert server.requests[-1].status == 200
        assert server.secret_key not in printed


def test_the_runs_that_are_canceled_are_those_of_the_log_and_none_that_has_completed():
    canceled = RUN_ID.findall(block_of(*CANCEL).text)
    assert canceled == list(dict.fromkeys(RUN_ID.findall(block_of(*LOG_OF_CANCEL).text)))
    assert not {*canceled} & {*RUN_ID.findall(block_of(*LOG_OF_START).text)}


# The tests that a user is shown: all Python of the page is one project.


PYTHON = [block.text for block in BLOCKS if block.page.name == "testing.md" and block.language == "python"]
NAMES = ["conftest.py", *(f"test_{number}.py" for number in range(1, len(PYTHON)))]
TESTS = {
    node.name
    for text in PYTHON
    for node in ast.parse(text).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
}


def results_of_tests(folder: Path) -> str:
    """Run the tests in a process of their own; they make themselves an Airflow."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", f"--rootdir={folder}", folder],
        env=environment | BEHIND_A_PROXY | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def project(tmp_path) -> Path:
    (tmp_path / "dags").mkdir()
    for dag_id in ("cancel_at_the_end", "batch_some_fail"):
        shutil.copy(EXAMPLES / f"{dag_id}.py", tmp_path / "dags")
    for name, text in zip(NAMES, PYTHON, strict=True):
        (tmp_path / name).write_text(changed_for_this_airflow(text))
    return tmp_path


def test_the_tests_of_the_page_pass(project):
    passed = re.findall(r"::(\w+) PASSED", results_of_tests(project))
    assert sorted(passed) == sorted(TESTS)
