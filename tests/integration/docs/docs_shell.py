"""What the checks of the documentation's blocks need: shells, and this Airflow's imports."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from docs_pages import DOCS

from airflow_provider_trigger._compat import airflow_version

AIRFLOW_CALLS = Path(__file__).with_name("airflow_calls.py")
AIRFLOW = tuple(map(int, airflow_version().split(".")[:2]))
RUN_ID = re.compile(r"\brun_c[a-z0-9]{20,}\b")
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
COLOR = re.compile(r"\x1b\[[0-9;]*m")
# What many a reader's shell has; nobody listens there, so a request that goes this way fails.
BEHIND_A_PROXY = {name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "http_proxy")} | {
    name: "example.com" for name in ("NO_PROXY", "no_proxy")
}


def environment(**more: str) -> dict[str, str]:
    """What a shell of the tests' own Airflow has."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "NO_COLOR": "1", "COLUMNS": "500", **more}


# In the place of the command: keep each call, to run all of them in one process.
AIRFLOW_COMMAND = """
airflow() {
    printf '%s\\0' "$@" > "$CALLS/$((++call)).arguments"
    env -0 > "$CALLS/$call.environment"
}
call=0
"""


def with_airflow(script: str, **more: str) -> str:
    """Run a script, and then its calls of ``airflow`` in one process; return all that was printed."""
    with tempfile.TemporaryDirectory() as calls:
        run_calls = f"\ncd /\nexec {shlex.join([sys.executable, str(AIRFLOW_CALLS), calls])}"
        return in_a_shell(AIRFLOW_COMMAND + script + run_calls, CALLS=calls, **more)


def in_a_shell(script: str, **more: str) -> str:
    """Run a script, and return all that it printed."""
    done = subprocess.run(
        ["bash", "-euc", script],
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return COLOR.sub("", done.stdout)


@lru_cache
def output_of_local_server(command: str) -> str:
    """Run the command on any free port, and interrupt it once it has printed everything."""
    command = command.replace(" --port 8030", "").replace("python -m", "exec python -m").strip() + " --port 0"
    lines = []
    with subprocess.Popen(
        ["bash", "-c", command], env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            if line.startswith("Stop it"):
                process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    return "".join(lines)


def changed_for_this_airflow(source: str) -> str:
    """Change the lines as ``versions.md`` says for older Airflows."""
    row = r"^\| `(.*?)` \| (.*?): `(.*)` \|$"
    rows = re.findall(row, (DOCS / "versions.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert rows
    for newest, which, older in rows:
        if {"2.11": AIRFLOW < (3, 0), "before 3.2": AIRFLOW < (3, 2)}[which]:
            lines = older.replace("` and `", r"\n\1")
            source = re.sub(f"^( *){re.escape(newest)}$", rf"\1{lines}", source, flags=re.MULTILINE)
    return source
