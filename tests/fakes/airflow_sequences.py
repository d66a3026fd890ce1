"""Sequences like those that Airflow gives for the outputs of a mapped task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Outputs(Sequence[Any]):
    """Its iterator sends one request more than it has items."""

    __module__ = "airflow.somewhere"

    def __init__(self, *items: Any) -> None:
        self.items = items

    def __getitem__(self, index: Any) -> Any:
        assert index < len(self.items)
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)


class LazyOutputs(Outputs):
    """One of which a slice is one request, and an iterator one for each item."""

    __module__ = "airflow.sdk.execution_time.lazy_sequence"

    def __getitem__(self, index: Any) -> Any:
        assert index == slice(None)
        return list(self.items)
