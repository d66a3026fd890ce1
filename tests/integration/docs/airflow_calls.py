"""
Run calls of the ``airflow`` command in one process, one after the other, as each would take seconds to start.

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
        sys.argv = ["airflow", *words(file)]
        # Imported in the environment of the first call.
        from airflow.__main__ import main as airflow

        try:
            airflow()
        except SystemExit as end:
            if end.code:
                raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))
