"""
Every code block of the README and of the pages in ``docs/`` is run, or read by what it is meant for.

How, is listed in ``CHECKS``: a block that is not in it fails, and so does an entry without a block. The
checks are the fixtures ``check_…`` here and in ``conftest.py``.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docs_pages import BLOCKS, EXAMPLES, FENCE, PAGES, ROOT, Block
from run_operator import operator

from airflow_provider_trigger import __version__

CLOUD = {"base_url": "https://api.trigger.dev", "dashboard_url": "https://cloud.trigger.dev", "timeout": 30}

DAGS = sorted(EXAMPLES.glob("*.py"))

NEW_USER = "in_test_a_new_user"

# A block's page, a text that no other block of the page has, the name of its check, and what that expects.
CHECKS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("README.md", '3.3.2" .', "install", {}),
    ("README.md", "AIRFLOW_CONN_", "connection", CLOUD),
    ("README.md", 'dag_id="thumbnails"', "dag_that_starts", {"task": "resize-image", "runs": 1}),
    ("README.md", 'dag_id="cancel_runs"', "dag", {}),
    ("README.md", "make demo", "make", {}),
    ("quickstart.md", '3.3.2" ', "install", {}),
    ("quickstart.md", "--runs EXECUTING COMPLETED", "local_server", {"runs": 2}),
    ("quickstart.md", "listens on", "output_of_local_server", {"command": "--runs EXECUTING COMPLETED"}),
    ("quickstart.md", "airflow db migrate", NEW_USER, {}),
    ("quickstart.md", 'dag_id="run_and_wait"', "example", {"name": "run_and_wait"}),
    ("quickstart.md", "dags test run_and_wait", NEW_USER, {}),
    ("quickstart.md", "Starting a run", NEW_USER, {}),
    ("quickstart.md", "dags test cancel_at_the_end", NEW_USER, {}),
    ("quickstart.md", "Canceling 2", NEW_USER, {}),
    ("quickstart.md", '\'{"conn_type": "trigger_dev", "password"', "connection", CLOUD),
    ("run.md", '"compute_seconds"', "facts", {}),
    ("many_runs.md", "list_runs", "list_of_runs", {}),
    ("own_code.md", "runs_in_code", "dag_that_starts", {"task": "invoice", "runs": 2}),
    ("own_code.md", "def on_kill", "on_kill", {}),
    ("migrate_from_http.md", "HttpOperator(", "requests_of_http_operators", {}),
    ("migrate_from_http.md", "with_this_provider", "dag_that_starts", {"task": "resize-image", "runs": 1}),
    ("connection.md", '{"branch"', "extra", {"branch": "my-branch", "timeout": 10, "retry_for": 60}),
    (
        "connection.md",
        '\'{"conn_type": "trigger_dev", "password": "tr_prod_…"}\'',
        "connection",
        CLOUD | {"branch": None, "retry_for": 120, "verify": True, "proxy": None},
    ),
    (
        "connection.md",
        '"host": "https://trigger.example.com:8443"',
        "connection",
        {
            "base_url": "https://trigger.example.com:8443",
            "branch": "my-branch",
            "dashboard_url": "https://trigger.example.com",
            "timeout": 10,
            "retry_for": 60,
            "verify": False,
            "proxy": "http://proxy.example.com:3128",
        },
    ),
    ("connection.md", "trigger-dev://:tr_prod_…@'", "connection", CLOUD),
    ("connection.md", "airflow connections add", NEW_USER, {}),
    ("cancel.md", "cancel_at_a_deadline", "deadline", {}),
    ("outcomes.md", '"outcome": "canceled"', "results", {}),
    ("testing.md", "--tasks FILE.py", "local_server", {"runs": 5, "tasks": "tasks = {"}),
    ("testing.md", "make real", "make", {}),
    ("deployment.md", "trigger-dev://", "secret", CLOUD),
    ("versions.md", "airflow-provider-trigger==", "requirement", {}),
    ("recipes.md", "named_instances", "named_instances", {"names": ["cat.png", "dog.png"]}),
    ("recipes.md", "one_field", "runs_of_a_dag", {"payload": ["", "{'width': 100}"]}),
    ("recipes.md", "way_back", "runs_of_a_dag", {"metadata": ["{.*/dags/way_back/runs/manual__.*%3A.*}"]}),
    ("recipes.md", "lineage_parent_id", "lineage", {"job": "lineage.resize"}),
    ("recipes.md", "approve_in_airflow", "approval", {"answer": ["Publish"]}),
    ("recipes.md", "pause_queue", "setup_and_teardown", {"changes": {"action": ["pause", "resume"]}}),
    ("recipes.md", "short_queue", "backlog", {}),
    ("recipes.md", "limit_exports", "setup_and_teardown", {"changes": {"concurrencyLimit": [3, None]}}),
    ("recipes.md", "label_run", "label", {}),
    ("recipes.md", "pinned", "runs_of_a_dag", {"options": [".*'lockToVersion': '20261125.1'.*"]}),
    ("recipes.md", "any_environment", "runs_of_a_dag", {"environment": [".*name='staging'.*"]}),
    ("recipes.md", "class ResizeOperator", "subclass", {}),
    ("recipes.md", "yaml.safe_load", "dags_of_yaml", {}),
    ("recipes.md", "RunsMayStillRun", "alert", {}),
]


# ``make docs`` resolves these, and a warning is an error there; the Python of this page is one project, which
# ``test_a_new_user.py`` tests.
SPHINX = ("{include}", "{toctree}")
CHECKED = [
    block
    for block in BLOCKS
    if block.language not in SPHINX and (block.page.name, block.language) != ("testing.md", "python")
]


def checks_of(block: Block) -> list[tuple[str, str, str, dict[str, Any]]]:
    if block.language == "{literalinclude}":
        return [(block.page.name, block.argument, "example", {})]
    return [check for check in CHECKS if check[0] == block.page.name and check[1] in block.text]


@pytest.mark.parametrize("block", CHECKED, ids=str)
def test_block(block: Block, request: pytest.FixtureRequest) -> None:
    found = checks_of(block)
    assert len(found) == 1, f"{block} has {len(found)} entries in CHECKS, not one:\n{block.text}"
    ((_, _, check, expected),) = found
    request.getfixturevalue(f"check_{check}")(block, **expected)


def test_no_check_is_left_over() -> None:
    used = [check for block in CHECKED for check in checks_of(block)]
    assert [check for check in CHECKS if check not in used] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_code_escapes(page: Path) -> None:
    """Blocks are fenced from the line's beginning, by three backticks: no other would be found above."""
    outside = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert not re.search(r"```|~~~|^(    |\t)\S", outside, re.MULTILINE)


def test_a_dag_that_defers_has_a_retry() -> None:
    """Before Airflow 3.4 a task may fail as it is resumed; a replay is started again by a retry."""
    texts = [*(block.text for block in BLOCKS if block.language == "python"), *map(Path.read_text, DAGS)]
    defers = [
        {"operator": getattr(call.func, "id", "")}
        | {str(one.arg): ast.unparse(one.value) for one in call.keywords}
        for text in texts
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call) and "deferrable" in {one.arg for one in call.keywords}
    ]
    assert len(defers) > 10
    without = [one["operator"] for one in defers if "retries" not in one]
    assert without == ["ReplayTriggerRunOperator"]


# Links within docs/ are checked by ``make docs``.


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_lead_to_files_and_their_headings(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]*)\)", text) if not link.startswith("https://")]
    assert links or page in ("CONTRIBUTING.md", "CHANGELOG.md")
    for link in links:
        file, _, anchor = link.partition("#")
        headings = re.findall(r"^#+ (.*)$", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
        assert not anchor or anchor in [heading.lower().replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_named_files_exist(page):
    """Words in capitals are in the place of a name; some paths begin in the package or in ``testing``."""
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = re.findall(r"`((?:[\w.-]+/)*[\w-]+(?:/|\.(?:md|py|sh|toml|txt)))`", text)
    package = ROOT / "airflow_provider_trigger"
    folders = (ROOT, package, package / "testing")
    missing = [path for path in paths if not any((folder / path).exists() for folder in folders)]
    elsewhere = {"dist/", "requirements.txt"}
    assert {path for path in missing if "RESOURCE" not in path} <= elsewhere


def test_the_version_to_install_is_this_one():
    text = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    versions = re.findall(r"airflow.provider.trigger(?:==|-)(\d+\.\d+\.\d+)", text)
    assert versions
    assert set(versions) == {__version__}


# What the operator logs and returns.


@pytest.fixture
def check_results(cancel, connect, server) -> Callable[..., None]:
    """What is left in XCom by a cancel of such runs is the same."""

    def check(block: Block) -> None:
        shown = json.loads(block.text)
        for result in shown:
            if result["outcome"] != "not_found":
                status = {"already_completed": result["status"]}.get(result["outcome"], "EXECUTING")
                run = server.add_run(status, run_id=result["run_id"], acknowledge_after=0)
                run.task_identifier = result["task_identifier"]
            if result["outcome"] == "failed":
                answer = {"error": result["error"].partition(" answered 503: ")[2]}
                server.fail_next(None, 503, method="GET", path=result["run_id"], body=answer)
        connect(retry_for=0)
        assert cancel(*(result["run_id"] for result in shown)).results == shown

    return check


@pytest.fixture
def check_facts(run_try, server) -> Callable[..., None]:
    """What is left in XCom of a run has the same names."""

    def check(block: Block) -> None:
        facts = json.loads(block.text)
        server.on_task(facts["task_identifier"], output=1)
        made = operator(facts["task_identifier"], metadata=facts["metadata"])
        pushed = run_try(made).pushed["run"]
        assert pushed.keys() == facts.keys()
        for name in ("task_identifier", "status", "attempts", "metadata"):
            assert pushed[name] == facts[name]

    return check
