from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

DATE = datetime(2026, 1, 1, 6, tzinfo=UTC)
"""Of a Dag run: what its schedule says."""

START = datetime(2026, 1, 1, 6, 0, 2, 123456, UTC)
"""When a Dag run began."""


class TaskInstance:
    """
    What operators and callbacks use of a task instance.

    :param xcoms: what tasks have pushed, by task id; an exception is raised when it is pulled
    :param key: of these XComs
    :param fields: its other attributes; ``fails_at`` is the key of the XCom that cannot be pushed
    """

    def __init__(
        self,
        task_id: str = "work",
        xcoms: Mapping[str, Any] | None = None,
        *,
        key: str = "return_value",
        **fields: Any,
    ) -> None:
        self.task_id = task_id
        self.map_index: int | None = -1
        self.try_number, self.max_tries = 1, 0
        self.fails_at: str | None = None
        self.xcoms: dict[tuple[str, str], Any] = {(by, key): value for by, value in (xcoms or {}).items()}
        self.pulls: list[dict[str, Any]] = []
        vars(self).update(fields)

    def xcom_push(self, key: str, value: Any) -> None:
        json.dumps(value, ensure_ascii=False).encode()
        if key == self.fails_at:
            raise RuntimeError("no XCom backend")
        self.xcoms[self.task_id, key] = value

    def xcom_pull(self, *, task_ids: str, key: str = "return_value", **options: Any) -> Any:
        self.pulls.append({"task_ids": task_ids, "key": key} | options)
        assert not options or options == {"map_indexes": self.map_index}
        value = self.xcoms.get((task_ids, key))
        if isinstance(value, BaseException):
            raise value
        return value

    @property
    def pushed(self) -> dict[str, Any]:
        """What this task instance has pushed, by key."""
        return {key: value for (by, key), value in self.xcoms.items() if by == self.task_id}


def dag_run(*, start: int = 0, **fields: Any) -> Any:
    """Make a Dag run that begins at another time with each ``start``."""
    given = {"dag_id": "a_dag", "run_id": "manual_1", "logical_date": DATE, "run_after": DATE}
    return SimpleNamespace(**given | {"start_date": START + timedelta(seconds=start)} | fields)


def context_of(ti: TaskInstance | None = None, *, start: int = 0, **fields: Any) -> Any:
    """Make the context of a task instance, or of none."""
    given = {"dag_run": dag_run(start=start), "run_id": "manual_1"} | ({"ti": ti} if ti else {})
    return given | fields
