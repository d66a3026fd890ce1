"""Which values are known only when the task runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_provider_trigger._compat import BaseOperator
from airflow_provider_trigger.validation import is_templated

try:
    from airflow.sdk import dag
except ImportError:  # 2.11
    from airflow.decorators import dag

OUTPUT = BaseOperator(task_id="start").output


def argument_of_a_dag() -> Any:
    """Return what a function decorated with ``@dag`` gets for its argument."""
    found = []

    @dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))
    def with_argument(url: str = "https://example.com") -> None:
        found.append(url)

    with_argument()
    return found[0]


# Of lists and dicts each part is checked by itself.
KNOWN: list[Any] = ["", "run_1", "{ds}", "}}", 7, None, True, ["{{ ds }}"], {"a": OUTPUT}]
KNOWN += [datetime(2026, 1, 1, tzinfo=UTC), timedelta(1), Path("x")]


def test_a_template_is_known_only_when_the_task_runs_and_any_other_value_before() -> None:
    for value in ("{{ ds }}", "a {{ ds }} b", "{% if x %}1{% endif %}", OUTPUT, argument_of_a_dag()):
        assert is_templated(value)
    for value in KNOWN:
        assert not is_templated(value)
