"""What the commands of ``make`` do that no test needs an environment for."""

from __future__ import annotations

import os
import re
import runpy
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
