"""
Run calls of the ``airflow`` command one after the other in copies of one process: each would take
seconds to start.

usage: python airflow_calls.py FOLDER

A call is a pair of files that a shell has written: its environment in ``N.environment``, its arguments in
``N.arguments``, each ended by a NUL.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def words(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").split("\0")[:-1]


def main(folder: Path) -> None:
    """
    Run all calls.

    :param folder: where their files are
    """
    for file in sorted(folder.glob("*.arguments"), key=lambda path: int(path.stem)):
        os.environ.clear()
        for pair in words(file.with_suffix(".environment")):
            name, _, value = pair.partition("=")
            os.environ[name] = value
        # Imported once, in the environment of the first call. What a call changes, as of the log, stays in
        # its copy.
        from airflow.__main__ import main as airflow

        copy = os.fork()
        if not copy:
            sys.argv = ["airflow", *words(file)]
            airflow()
            return
        _, status = os.waitpid(copy, 0)
        if status:
            sys.exit(f"airflow {' '.join(words(file))} failed")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
