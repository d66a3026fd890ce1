from __future__ import annotations

import re
from typing import Any

import pytest

from airflow_provider_trigger.api.models import run_errors
from airflow_provider_trigger.api.models.run_errors import RunError, advice


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


def test_every_internal_code_has_advice() -> None:
    for code, text in run_errors._ADVICE.items():
        assert re.fullmatch(r"[A-Z0-9_]+", code)
        assert advice(code) == text
        assert text[0].isupper()
        assert text.endswith(".")
        assert "  " not in text


@pytest.mark.parametrize("code", ["", "NEW_CODE", "task_process_oom_killed"])
def test_an_unknown_code_has_none(code: str) -> None:
    assert advice(code) == ""
