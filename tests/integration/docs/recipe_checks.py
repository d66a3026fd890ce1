"""How the blocks of ``docs/recipes.md`` are checked: fixtures, as those of ``conftest.py``."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from docs_shell import AIRFLOW, changed_for_this_airflow, in_a_shell

from airflow_provider_trigger.testing import UNSET
from airflow_provider_trigger.testing.engine.settings import VERSION


def changes_of(server: Any) -> list[Any]:
    """Return what was sent to change something, each answered 200."""
    sent = [request for request in server.requests if request.method != "GET"]
    assert {request.status for request in sent} == {200}
    return [json.loads(request.body) for request in sent]


@pytest.fixture
def recipe(connect, connection, server, run_dag, monkeypatch) -> Callable[..., Any]:
    """Run a block's Dag, whose run has an output, beside a connection and a variable that recipes name."""
    server.on_task("resize-image", output={"width": 100})
    connect(conn_id="trigger_dev_staging", key=server.environments.find("staging").secret_key)
    monkeypatch.setenv("AIRFLOW_VAR_TRIGGER_VERSION", VERSION)

    def run(block: Any, conf: Any = None, *, state: str = "success", changes: Any = None, **more: Any) -> Any:
        source = changed_for_this_airflow(block.text)
        for old, new in (changes or {}).items():
            assert old in source
            source = source.replace(old, new)
        result = run_dag(source, conf, **more)
        assert result.state == state
        return result

    return run


@pytest.fixture
def check_runs_of_a_dag(recipe, server) -> Callable[..., None]:
    """The Dag's runs have these attributes, given as patterns."""

    def check(block: Any, **expected: list[str]) -> None:
        recipe(block)
        for name, patterns in expected.items():
            shown = [getattr(run, name) for run in server.runs.values()]
            texts = ["" if value is UNSET else str(value) for value in shown]
            assert len(texts) == len(patterns)
            assert all(map(re.fullmatch, patterns, texts)), texts

    return check


@pytest.fixture
def check_named_instances(recipe) -> Callable[..., None]:
    """Airflow's database has the names of the instances."""

    def check(block: Any, *, names: list[str]) -> None:
        result = recipe(block)
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session

        with create_session() as session:
            instances = session.query(TaskInstance).filter_by(dag_id=result.dag_id).all()
            assert sorted(instance.rendered_map_index for instance in instances) == names

    return check


@pytest.fixture
def check_setup_and_teardown(recipe, server) -> Callable[..., None]:
    """The change is taken back, whether the work between succeeds or fails."""

    def check(block: Any, *, changes: dict[str, list[Any]]) -> None:
        server.add_queue("exports", limit=50)
        recipe(block)
        (docstring,) = re.findall(r'""".*"""', block.text)
        recipe(block, state="failed", changes={docstring: "raise RuntimeError"})
        ((name, values),) = changes.items()
        assert [change.get(name) for change in changes_of(server)] == values * 2
        for queue in server.queues_in(server.environment):
            assert (queue.override, queue.paused_at(time.time())) == (None, False)

    return check


@pytest.fixture
def check_backlog(recipe, server, meanwhile) -> Callable[..., None]:
    """The sensor waits while runs are queued."""

    def check(block: Any) -> None:
        server.on_task("resize-image", start_after=None)
        runs = [server.trigger("resize-image")[0] for _ in range(3)]
        meanwhile(lambda: len(server.requests) > 1, runs[0].cancel)
        recipe(block, changes={"poke_interval=60": "poke_interval=0.1", '"reschedule"': '"poke"'})
        assert len(server.requests) > 2

    return check


@pytest.fixture
def check_label(recipe, server) -> Callable[..., None]:
    """The run has what was added, and what it had before."""

    def check(block: Any) -> None:
        run = server.add_run("EXECUTING", tags=["a"], metadata={"rows": 3})
        recipe(block, {"trigger_run_id": run.id})
        assert changes_of(server)
        assert (run.tags, run.metadata) == (("a", "audited"), {"rows": 3, "audit": "passed"})

    return check


@pytest.fixture
def check_lineage(connection, server, dags_folder, tmp_path) -> Callable[..., None]:
    """The run's metadata name its task as the events of OpenLineage's provider do."""

    def check(block: Any, *, job: str) -> None:
        (dags_folder / "lineage.py").write_text(changed_for_this_airflow(block.text))
        events = tmp_path / "events"
        transport = {"type": "file", "log_file_path": str(events), "append": True}
        # The plugin is read once in a process.
        in_a_shell("airflow dags test lineage", AIRFLOW__OPENLINEAGE__TRANSPORT=json.dumps(transport))
        sent = [json.loads(line) for line in events.read_text().splitlines()]
        (run,) = server.runs.values()
        of_task = [(each["eventType"], each["run"]["runId"]) for each in sent if each["job"]["name"] == job]
        lineage_id = run.metadata["openlineage_parent"].rpartition("/")
        assert lineage_id[0] == f"{sent[0]['job']['namespace']}/{job}"
        assert of_task == [("START", lineage_id[2]), ("COMPLETE", lineage_id[2])]

    return check


@pytest.fixture
def check_approval(connection, server, run_try) -> Callable[..., None]:
    """What Airflow's operator makes of an answer completes the token; that it waits is Airflow's part."""

    def check(block: Any, *, answer: list[str]) -> None:
        if AIRFLOW < (3, 1):
            pytest.skip("this Airflow has no such operators, as the page says")
        namespace: dict[str, Any] = {}
        exec(block.text.replace("):\n    approve", ") as dag:\n    approve"), namespace)
        tasks = namespace["dag"].task_dict
        given: dict[str, Any] = {"chosen_options": answer, "params_input": {}, "responded_by_user": None}
        given["responded_at"] = datetime.now(UTC)
        token, _ = server.create_token()
        tasks["complete"].data = tasks["approve"].execute_complete({}, given)
        tasks["complete"].token_ids = token.id
        assert run_try(tasks["complete"]).error is None
        assert token.output["chosen_options"] == answer

    return check


@pytest.fixture
def check_subclass(connection, server, run_try) -> Callable[..., None]:
    """It checks the output of a task that defers, and of one that does not."""

    def check(block: Any) -> None:
        namespace: dict[str, Any] = {}
        exec(block.text, namespace)
        for width, deferrable in ((100, False), (100, True), (0, False), (0, True)):
            server.on_task("resize-image", output={"width": width})
            operator = namespace["ResizeOperator"](
                task_id=f"task_{width}_{deferrable}", deferrable=deferrable
            )
            ended = run_try(operator)
            assert (ended.output, str(ended.error)) == (
                ({"width": 100}, "None") if width else (None, "the image is empty")
            )

    return check


@pytest.fixture
def check_dags_of_yaml(recipe, server) -> Callable[..., None]:
    def check(block: Any) -> None:
        for dag_id in re.findall(r"^(\w+):$", block.text, re.MULTILINE):
            recipe(block, dag_id=dag_id)
        resize, report = server.runs.values()
        assert (resize.task_identifier, report.task_identifier) == ("resize-image", "report")
        assert resize.payload["night"].startswith("manual__")
        assert (report.options["maxAttempts"], "weekly" in report.tags) == (3, True)

    return check


@pytest.fixture
def check_alert(connection, server, run_tasks, said) -> Callable[..., None]:
    """Its filters find what a callback logs that could not cancel, and nothing of one that could."""

    def check(block: Any) -> None:
        patterns = re.findall(r'\|~ "(.*?)"', block.text)
        run, work = server.add_run(), "@task(on_failure_callback=CancelTriggerRunNotifier(run_ids=%r))\n"
        work = work % [run.id] + "def work():\n    raise ValueError\n\nwork()"

        def found() -> list[str]:
            return [line for line in said.text.splitlines() if all(re.search(it, line) for it in patterns)]

        run_tasks(work)
        assert (run.status, found()) == ("CANCELED", [])
        run.status = "EXECUTING"
        server.fail_next(None, 403, path="/cancel")
        run_tasks(work)
        assert found()

    return check
