"""What is said of sources that held more than run ids."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_trigger.sources.run_ids import RunIds, log_sources, problems_of_sources
from airflow_provider_trigger.wording import MAX_LINES

FAILED = "the XCom 'k' of task 'a' cannot be read: OSError"


def gathered(*values: Any) -> RunIds:
    ids = RunIds()
    for number, value in enumerate(values):
        ids.add(value, source=f"source {number}")
    return ids


@pytest.mark.parametrize(("on_empty", "level"), [("ignore", "warning"), ("fail", "error")])
def test_each_thing_found_besides_run_ids_gets_a_line(log, on_empty, level: str) -> None:
    ids = gathered(["run_1", None, 7], [], None)
    ids.failed.append(FAILED)
    log_sources(log, ids, on_empty=on_empty, origin="Dag 'd': ")
    assert log.leveled == [
        ("info", "Dag 'd': Skipped 1 value that is None: source 0[1]"),
        (level, "Dag 'd': source 1 is an empty list"),
        (level, f"Dag 'd': {ids.empty[1]}"),
        ("error", f"Dag 'd': {ids.invalid[0]}"),
        ("error", f"Dag 'd': {FAILED}"),
    ]


def test_several_values_that_are_none_are_named_in_one_line(log) -> None:
    log_sources(log, gathered(["run_1", None, None]), on_empty="fail")
    assert log.leveled == [("info", "Skipped 2 values that are None: source 0[1], source 0[2]")]


def test_where_only_run_ids_were_found_nothing_is_logged(log) -> None:
    log_sources(log, gathered("run_1"), on_empty="fail")
    assert log.leveled == []


@pytest.mark.parametrize("kind", ["invalid", "empty", "failed"])
def test_very_many_of_a_kind_do_not_fill_the_log(log, kind: str) -> None:
    ids = RunIds()
    getattr(ids, kind).extend(f"number {number} of 100 %" for number in range(500))
    log_sources(log, ids, on_empty="ignore")
    assert log.lines == [f"number {n} of 100 %" for n in range(MAX_LINES)]


def test_what_is_invalid_comes_first_among_the_reasons_for_a_failure() -> None:
    ids = gathered(["run_1", None, 7, 8.5], [], ())
    ids.failed += [FAILED, "another"]
    reasons = [f"{ids.invalid[0]}; {ids.invalid[1]}", f"{FAILED}; another"]
    assert problems_of_sources(ids, "ignore") == reasons
    assert problems_of_sources(ids, "fail") == [
        *reasons,
        "source 1 is an empty list; source 2 is an empty list",
    ]


def test_run_ids_and_values_that_are_none_are_no_reason_for_a_failure() -> None:
    assert problems_of_sources(gathered(["run_1", None]), "fail") == []
