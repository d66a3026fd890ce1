"""
Run calls of the ``airflow`` command one after the other in copies of one process: each would take
seconds to start. Calls of one subcommand that follow each other share a copy.

usage: python airflow_calls.py FOLDER

A call is a pair of files that a shell has written: its environment in ``N.environment``, its arguments in
``N.arguments``, each ended by a NUL.
"""

from __future__ import annotations

import os
import sys
from itertools import groupby
from pathlib import Path


def words(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").split("\0")[:-1]


def main(folder: Path) -> None:
    """
    Run all calls.

    :param folder: where their files are
    """
    files = sorted(folder.glob("*.arguments"), key=lambda path: int(path.stem))
    use_environment_of(files[0])
    # Imported once, in this environment. What a call changes, as of the log, stays in its copy.
    from airflow.__main__ import main as airflow

    for command, calls in groupby(files, key=lambda file: words(file)[:2]):
        copy = os.fork()
        if not copy:
            for call in calls:
                use_environment_of(call)
                sys.argv = ["airflow", *words(call)]
                airflow()
            return
        _, status = os.waitpid(copy, 0)
        if status:
            sys.exit(f"airflow {' '.join(command)} failed")


def use_environment_of(call: Path) -> None:
    os.environ.clear()
    for pair in words(call.with_suffix(".environment")):
        name, _, value = pair.partition("=")
        os.environ[name] = value


if __name__ == "__main__":
    main(Path(sys.argv[1]))
