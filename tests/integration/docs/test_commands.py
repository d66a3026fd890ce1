"""What the commands of ``make`` do that no test needs an environment for."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
from docs_pages import PINNED, ROOT

# Every environment is made, but for Airflow 3.1; every test passes.
FAKE_MAKE = """#!/usr/bin/env bash
case "$*" in
    *"environment AIRFLOW=3.1 "*) exit 2 ;;
    *" test "* | *" e2e "*) echo "3 passed in 0.10s" ;;
esac
"""


def run(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
    # Variables of the ``make`` that runs this test would count in the one that it runs.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        command, cwd=ROOT, env=inherited | more, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_matrix_shows_an_environment_that_cannot_be_made(tmp_path: Path) -> None:
    make = tmp_path / "make"
    make.write_text(FAKE_MAKE)
    make.chmod(0o700)
    done = run("scripts/matrix.sh", "3.1", "3.3", MAKE=str(make))
    results = dict(re.findall(r"^test +(3\.\d) +\S+ +(?!not run)(.+)$", done.stdout, re.MULTILINE))
    assert results["3.1"] == "error: no environment, see the output of make environment above"
    assert results["3.3"] == "3 passed in 0.10s"
    assert done.returncode == 1


def test_an_unknown_airflow_is_answered_with_the_names_and_their_versions() -> None:
    done = run("make", "environment", "AIRFLOW=2.11.2")
    assert done.returncode == 2
    assert all(f" {name} ({version})" in done.stderr for name, version in PINNED.items())


@pytest.mark.parametrize(
    ("changelog", "readme", "tag", "said"),
    [
        ("1.2.3, unreleased", "", "v1.2.3", "write '1.2.3, YYYY-MM-DD'"),
        (
            "1.2.2, 2026-12-01",
            "",
            "v1.2.3",
            "CHANGELOG.md begins with '1.2.2, 2026-12-01', and the version is 1.2.3",
        ),
        ("1.2.3, 2026-12-01", "", "v1.2.4", "the tag must be v1.2.3"),
        ("1.2.3, 2026-12-01", "It is not released yet.", "v1.2.3", "no release yet: README.md"),
        ("1.2.3, 2026-12-01", "", "v1.2.3", ""),
    ],
)
def test_a_release_needs_a_date_a_tag_and_pages_that_fit(changelog, readme, tag, said, tmp_path) -> None:
    for name in ("scripts", "docs", "airflow_provider_trigger"):
        (tmp_path / name).mkdir()
    for name in ("release.sh", "pythons.sh"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    (tmp_path / "scripts" / "package.sh").write_text("#!/bin/sh\necho built\nexit 7\n")
    (tmp_path / "scripts" / "package.sh").chmod(0o700)
    (tmp_path / "airflow_provider_trigger" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {changelog}\n\n## 1.2.2, 2026-11-01\n")
    (tmp_path / "README.md").write_text(readme)
    (tmp_path / "docs" / "index.md").touch()
    release = (str(tmp_path / "scripts" / "release.sh"), "no-tools")
    tagged = {"GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": tag}
    commit = "git init -q && git add -A && git -c user.name=a -c user.email=a@b commit -qm a"
    subprocess.run(commit, shell=True, check=True, cwd=tmp_path)
    done = run(*release, **tagged)
    assert (done.returncode, done.stdout) == ((1, "") if said else (7, "built\n"))
    assert said in done.stderr
    trial = run(*release, "--unreleased", **tagged)
    assert (said in trial.stdout, trial.returncode) == (True, 7)


def test_a_pull_request_names_each_recipe() -> None:
    recipes = re.findall(
        r"^(?:- )?\*\*(.+?)\*\*", (ROOT / "CONTRIBUTING.md").read_text().split("## Recipes")[1], re.M
    )
    offered = re.findall(r"^- \[ \] (.+)$", (ROOT / ".github/pull_request_template.md").read_text(), re.M)
    assert [*recipes, "Another change"] == offered[: len(recipes) + 1]


OWN_RUNS = {"RUN_IDS": "run_a", "TRIGGER_API_URL": "", "TRIGGER_SECRET_KEY": "", "no_proxy": "127.0.0.1"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "so TRIGGER_API_URL must be set, too"),
        ({"TRIGGER_API_URL": "{url}"}, "so TRIGGER_SECRET_KEY must be set, too"),
        ({"TRIGGER_API_URL": "api.trigger.dev"}, "TRIGGER_API_URL must begin with https:// or http://"),
        (
            {"TRIGGER_API_URL": "{url}", "TRIGGER_SECRET_KEY": "tr_…"},
            "TRIGGER_SECRET_KEY contains characters",
        ),
        (
            {"TRIGGER_API_URL": "{url}", "TRIGGER_SECRET_KEY": "tr_a"},
            "the server rejected TRIGGER_SECRET_KEY",
        ),
        ({"TRIGGER_API_URL": "{url}/x", "TRIGGER_SECRET_KEY": "tr_a"}, "check TRIGGER_API_URL"),
        ({"RUN_IDS": " , "}, "RUN_IDS has no run id"),
    ],
)
def test_the_demo_names_the_wrong_setting(settings, said, server, monkeypatch) -> None:
    for name, value in (OWN_RUNS | settings).items():
        monkeypatch.setenv(name, value.format(url=server.url))
    monkeypatch.syspath_prepend(ROOT / "demo")
    with pytest.raises(SystemExit, match=r"^error: ") as end:
        runpy.run_path(str(ROOT / "demo" / "demo.py"), run_name="__main__")
    assert said in str(end.value)
