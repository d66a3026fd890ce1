from __future__ import annotations

from collections.abc import Callable

# Airflow itself warns of an execute() that a test calls.
OF_AIRFLOW = "cannot be called outside"


class Log:
    """Keeps what is logged, and the level of each line."""

    def __init__(self) -> None:
        self.leveled: list[tuple[str, str]] = []

    def __getattr__(self, level: str) -> Callable[..., None]:
        def keep(text: str, *values: object) -> None:
            if OF_AIRFLOW not in text:
                self.leveled.append((level, text % values if values else text))

        return keep

    @property
    def lines(self) -> list[str]:
        return [text for _, text in self.leveled]

    def of(self, level: str) -> list[str]:
        return [text for one, text in self.leveled if one == level]
