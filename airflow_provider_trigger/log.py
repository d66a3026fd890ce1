"""What Airflow's versions give a task to log with, for annotations."""

from __future__ import annotations

from typing import Any, Protocol


class Log(Protocol):
    """A logger: the standard library's, or Airflow 3's."""

    def info(self, message: str, /, *args: Any) -> Any: ...  # noqa: D102
    def warning(self, message: str, /, *args: Any) -> Any: ...  # noqa: D102
    def error(self, message: str, /, *args: Any) -> Any: ...  # noqa: D102
