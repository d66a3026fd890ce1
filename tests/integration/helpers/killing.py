from __future__ import annotations


class Killed(Exception):
    """What Airflow 2 raises in the signal handler, after ``on_kill``."""
