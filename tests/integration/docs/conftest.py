"""How the blocks of the documentation are checked: one fixture ``check_…`` for each way."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import requests
from waiting import until

from airflow_provider_trigger import __version__
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

sys.path.insert(0, str(Path(__file__).parent))

from docs_pages import EXAMPLES, ROOT
from docs_shell import ADDRESS, AIRFLOW, RUN_ID, changed_for_this_airflow, in_a_shell, output_of_local_server
from recipe_checks import *  # noqa: F403

Check = Callable[..., None]


# Commands.


@pytest.fixture
def check_make() -> Check:
    """The targets exist. They are not run: this test is part of one of them."""

    def check(block: Any) -> None:
        targets = re.findall(r"^make (\w+)", block.text, re.MULTILINE)
        makefile = (ROOT / "Makefile").read_text()
        assert len(targets) == len(block.text.splitlines())
        assert all(re.search(rf"^{target}:.*## ", makefile, re.MULTILINE) for target in targets)

    return check


@pytest.fixture
def check_install() -> Check:
    """Nothing is installed: names, versions and extras are the project's, and Airflow is a supported one."""
    project = (ROOT / "pyproject.toml").read_text()
    pinned = [path.read_text() for path in (ROOT / "constraints").glob("airflow-*.txt")]
    wheel = f"./airflow_provider_trigger-{__version__}-py3-none-any.whl"

    def check(block: Any) -> None:
        for line in block.text.splitlines():
            pip, install, *requirements = shlex.split(line)
            assert (pip, install) == ("pip", "install")
            match = re.fullmatch(r"(.+?)(?:\[(\w+)\])?", requirements.pop())
            assert match
            name, extra = match.groups()
            assert name in (".", wheel) or f'\nname = "{name}"\n' in project
            assert not extra or f"\n{extra} = [" in project
            for requirement in requirements:
                assert any(f"{requirement}\n" in constraints for constraints in pinned)

    return check


@pytest.fixture
def check_requirement() -> Check:
    def check(block: Any) -> None:
        assert block.text == f"airflow-provider-trigger=={__version__}\n"

    return check


@pytest.fixture
def check_local_server(tmp_path) -> Check:
    """It prints its runs; its file of tasks is a block of the page."""

    def check(block: Any, *, runs: int, tasks: str | None = None) -> None:
        command = block.text
        if tasks is not None:
            file = tmp_path / "tasks.py"
            file.write_text(block.sibling(tasks).text)
            command = command.replace("FILE.py", str(file))
        printed = output_of_local_server(command)
        assert len(RUN_ID.findall(printed)) == runs
        assert tasks is None or "Its tasks: resize-image, train-model" in printed

    return check


@pytest.fixture
def check_output_of_local_server() -> Check:
    """It is what the page's command prints, but for ids and port."""

    def same(text: str) -> str:
        return ADDRESS.sub("ADDRESS", RUN_ID.sub("ID", text))

    def check(block: Any, *, command: str) -> None:
        assert same(output_of_local_server(block.sibling(command).text)) == same(block.text)

    return check


@pytest.fixture
def check_in_test_a_new_user() -> Check:
    """That file runs it, or compares it with what is printed."""
    tests = (Path(__file__).parent / "test_a_new_user.py").read_text(encoding="utf-8")

    def check(block: Any) -> None:
        assert any(text in block.text for text in re.findall(rf'\("{block.page.name}", "(.+?)"\)', tests))

    return check


# The connection.


@pytest.fixture
def check_connection(monkeypatch) -> Check:
    """The block is run in a shell, and the hook reads the connection that it made."""

    def check(block: Any, **expected: Any) -> None:
        # The rest of the key is the reader's.
        script = block.text.replace("…", "XXXX")
        value = in_a_shell(f'{script}\nprintf %s "$AIRFLOW_CONN_TRIGGER_DEV_DEFAULT"')
        monkeypatch.setenv("AIRFLOW_CONN_TRIGGER_DEV_DEFAULT", value)
        settings = TriggerDevHook().settings
        assert re.fullmatch(r"tr_\w+_XXXX", settings.secret_key)
        assert {name: getattr(settings, name) for name in expected} == expected

    return check


@pytest.fixture
def check_secret(check_connection) -> Check:
    """The block is a secret of a secrets backend, which Airflow reads as it reads its variable."""

    def check(block: Any, **expected: Any) -> None:
        variable = f"AIRFLOW_CONN_TRIGGER_DEV_DEFAULT='{block.text.strip()}'"
        check_connection(replace(block, text=variable), **expected)

    return check


@pytest.fixture
def check_extra(connect, tmp_path) -> Check:
    """The block is a connection's extra; its CA file is one of the test's."""

    def check(block: Any, **expected: Any) -> None:
        ca_file = tmp_path / "ca.pem"
        ca_file.touch()
        connect(**json.loads(block.text) | {"verify": str(ca_file)})
        settings = TriggerDevHook().settings
        assert {name: getattr(settings, name) for name in expected} == expected

    return check


# Dags.


@pytest.fixture
def check_example() -> Check:
    """The page shows or has a file of ``example_dags``, which ``test_example_dags.py`` runs."""
    tests = (ROOT / "tests" / "integration" / "test_example_dags.py").read_text()

    def check(block: Any, *, name: str | None = None) -> None:
        file = EXAMPLES / f"{name}.py" if name else (block.page.parent / block.argument).resolve()
        assert file.parent == EXAMPLES
        assert (not name and file.exists()) or file.read_text() == block.text
        assert f'"{file.stem}"' in tests

    return check


@pytest.fixture
def check_dag(connection, server, run_dag) -> Check:
    """The block is a Dag's file, and runs."""

    def check(block: Any) -> None:
        runs = [server.add_run() for _ in range(3)]
        result = run_dag(changed_for_this_airflow(block.text), {"run_ids": [run.id for run in runs]})
        assert result.state == "success"
        assert {run.status for run in runs} == {"CANCELED"}

    return check


@pytest.fixture
def check_dag_that_starts(connection, server, run_dag) -> Check:
    """The block's Dag succeeds, and has started so many runs of a task, all of which are completed."""

    def check(block: Any, *, task: str, runs: int) -> None:
        result = run_dag(changed_for_this_airflow(block.text))
        assert result.state == "success"
        shown = [(run.task_identifier, run.status) for run in server.runs.values()]
        assert shown == [(task, "COMPLETED")] * runs

    return check


@pytest.fixture
def check_list_of_runs(connection, server, capsys) -> Check:
    """The block prints the runs that have all of its tags and its status, and no other."""

    def check(block: Any) -> None:
        tags, statuses = (re.findall(r'"(.+?)"', named) for named in re.findall(r"=\[(.+?)\]", block.text))
        listed = server.add_run(statuses[0], tags=tags)
        server.add_run(statuses[0], tags=tags[:1])
        server.add_run("EXECUTING", tags=tags)
        exec(block.text, {})
        printed = capsys.readouterr().out.splitlines()  # Airflow 2 logs there, too
        assert [line for line in printed if "run_" in line] == [f"{listed.id} {statuses[0]}"]

    return check


@pytest.fixture
def check_requests_of_http_operators(server) -> Check:
    """
    What its operators request, in their order, starts a run, sees it complete, and gets its output.

    The operators are those of another provider, which is not installed here: their arguments are read.
    """

    def check(block: Any) -> None:
        server.on_task("resize-image", output={"width": 100})
        calls = [node for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.Call)]
        given: list[dict[str, Any]] = [
            {str(one.arg): eval(ast.unparse(one.value), {"json": json}) for one in call.keywords}
            for call in calls
            if getattr(call.func, "id", "") in ("HttpOperator", "HttpSensor")
        ]
        headers = {"Authorization": f"Bearer {server.secret_key}"}

        def request(arguments: dict[str, Any], run_id: str = "") -> requests.Response:
            endpoint = arguments["endpoint"].replace("{{ ti.xcom_pull('start') }}", run_id)
            method = arguments.get("method", "GET" if "response_check" in arguments else "POST")
            response = requests.request(
                method,
                f"{server.url}/{endpoint}",
                data=arguments.get("data"),
                headers=headers | arguments.get("headers", {}),
                timeout=10,
            )
            response.raise_for_status()
            return response

        start, wait, output = given
        run_id = start["response_filter"](request(start))
        until(lambda: wait["response_check"](request(wait, run_id)), "the run has ended")
        assert output["response_filter"](request(output, run_id)) == {"width": 100}
        assert server.runs[run_id].options == {"maxAttempts": 2}

    return check


@pytest.fixture
def check_on_kill(connect, server, meanwhile, monkeypatch) -> Check:
    """Its operator, when killed, sends one cancel, requests no connection, and raises nothing."""

    def reject(*_: Any) -> None:
        raise AssertionError("requested a connection from Airflow")

    def check(block: Any) -> None:
        connect(timeout=30, retry_for=30)
        assert "get_client(timeout=2, retry_for=0)" in block.text  # Airflow kills the process after 5 s
        namespace: dict[str, Any] = {}
        source = changed_for_this_airflow(block.text)
        assert "time.sleep(10)" in source
        exec(source.replace("time.sleep(10)", "time.sleep(0.1)"), namespace)
        for becomes in ("CANCELED", "EXECUTING"):
            if becomes == "EXECUTING":
                server.fail_next(status=503, method="POST")
            run, seen = server.add_run(), list[str]()
            operator = namespace["WaitForRun"](task_id="wait", trigger_run_id=run.id)

            def kill(run: Any = run, operator: Any = operator, seen: list[str] = seen) -> None:
                with monkeypatch.context() as patch:
                    patch.setattr(TriggerDevHook, "get_connection", reject)
                    operator.on_kill()
                seen.append(run.status)
                run.cancel()  # so that the operator ends

            meanwhile(lambda run=run: any(run.id in sent.path for sent in list(server.requests)), kill)
            with pytest.raises(RuntimeError, match=f"{run.id} is CANCELED"):
                operator.execute({})
            assert seen == [becomes]
            cancels = [sent.path for sent in server.requests if sent.method == "POST"]
            assert cancels.count(f"/api/v2/runs/{run.id}/cancel") == 1

    return check


@pytest.fixture
def check_deadline(connection, server) -> Check:
    """
    Its deadline's callback is awaited, with the context that the triggerer has; the e2e tests run such a Dag.

    ``dag.test()`` can't: on Airflow 3.3.2 it fails at the end of any Dag that has a deadline.
    """

    def check(block: Any) -> None:
        if AIRFLOW < (3, 2):
            pytest.skip("this Airflow has no deadline alerts, as the page says")
        run, other = server.add_run(), server.add_run()
        namespace: dict[str, Any] = {}
        exec(block.text.replace("\n):\n", "\n) as dag:\n"), namespace)
        (deadline,) = namespace["dag"].deadline
        module, _, name = deadline.callback.path.rpartition(".")
        context = {"dag_run": {"dag_run_id": "manual_1", "conf": {"run_ids": [run.id]}}, "deadline": {}}

        async def alert() -> None:
            await getattr(import_module(module), name)(**deadline.callback.kwargs, context=context)

        asyncio.run(alert())
        assert (run.status, other.status) == ("CANCELED", "EXECUTING")

    return check
