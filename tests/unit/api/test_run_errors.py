from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.api.models import RunError


def error(
    name: str | None = None, message: str = "", stack_trace: str | None = None, code: str | None = None
) -> Any:
    return RunError(name=name, message=message, stack_trace=stack_trace, code=code)


INTERNAL = "trigger.dev internal error (TASK_PROCESS_OOM_KILLED)"


@pytest.mark.parametrize(
    ("shown", "read"),
    [
        (
            {"name": "TypeError", "message": "m" * 90_000, "stackTrace": "Error: no\n    at run"},
            error("TypeError", "m" * 90_000, "Error: no\n    at run"),
        ),
        ({"name": "Error", "message": "", "stackTrace": ""}, error("Error")),
        ({}, error()),
        ({"name": 1, "message": None, "stackTrace": ["x"]}, error()),
        ({"message": INTERNAL}, error(None, INTERNAL, code="TASK_PROCESS_OOM_KILLED")),
        # A task's own words that only contain such a text.
        ({"message": f"got: {INTERNAL}"}, error(None, f"got: {INTERNAL}")),
        ({"message": "trigger.dev internal error (x y)"}, error(None, "trigger.dev internal error (x y)")),
        (None, None),
        ("text", None),
        ([], None),
    ],
)
def test_an_error_is_read(shown: object, read: RunError | None) -> None:
    assert RunError.from_answer(shown) == read
