"""What the processes of a whole Airflow use, read from Linux' ``/proc``."""

from __future__ import annotations

import os
from pathlib import Path


def processes_of(*words: str) -> list[Path]:
    """
    Return Airflow's processes.

    :param words: all of them are in the process's command
    """
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text()
        except OSError:  # it has just ended
            continue
        if all(word in command for word in ("airflow", *words)):
            found.append(process)
    return found


def cpu_seconds(process: Path) -> float:
    """Return the processor time that it has used, in seconds."""
    fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(process: Path) -> float:
    """Return its memory, in MB; 0 if it has ended."""
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:
        return 0.0
    return int(next((line for line in lines if line.startswith("VmRSS")), "VmRSS: 0").split()[1]) / 1024
