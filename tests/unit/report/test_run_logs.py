"""The lines that a run's log becomes in the log of its task."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_trigger.api.models.events import RunEvent
from airflow_provider_trigger.log import Line
from airflow_provider_trigger.report.run_logs import LARGEST_LOG, LONGEST_LOG, log_of_run

URL = "https://trigger.test/runs/run_1"
KEY = "tr_prod_notARealSecretKey0"
START = datetime(2026, 11, 28, 10, 7, 43, 188000, UTC)
TIME = "2026-11-28T10:07:43.188Z"
EMOJIS = "\U0001f600" * 128  # 256 of JavaScript's characters
HEADER = ("info", "Log of run run_1:")


def event(message: str, level: str = "INFO", *, at: datetime | None = START, **flags: bool) -> RunEvent:
    given: dict[str, Any] = {"is_root": False, "is_error": level == "ERROR", "is_partial": False} | flags
    return RunEvent(message=message, level=level, started_at=at, **given)


ROOT = event("work", "TRACE", is_root=True)


def lines_of(*events: RunEvent) -> list[Line]:
    return list(log_of_run([ROOT, *events], what="run run_1", run_url=URL, secret_key=KEY))


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        (event("a", "DEBUG"), ("debug", f"{TIME} a")),
        (event("a"), ("info", f"{TIME} a")),
        (event("a", "WARN"), ("warning", f"{TIME} a")),
        (event("a", "ERROR"), ("error", f"{TIME} a")),
        (event("fetch", "TRACE", is_error=True), ("error", f"{TIME} fetch")),
        (event("a\nb", "NEW"), ("info", f"{TIME} a\nb")),
        (event("100 %s", at=None), ("info", "100 %s")),
    ],
)
def test_a_line_keeps_its_level_and_its_time(shown: RunEvent, line: Line) -> None:
    assert lines_of(shown) == [HEADER, line]


@pytest.mark.parametrize("flags", [{}, {"is_partial": True}, {"is_root": True, "is_error": True}])
def test_spans_that_did_not_fail_and_that_of_the_run_are_left_out(flags: Any) -> None:
    assert lines_of(event("a span", "TRACE", **flags)) == []


def test_lines_come_in_the_order_of_their_times() -> None:
    late = event("3", at=START + timedelta(seconds=1))
    assert [text[-1] for _, text in lines_of(late, event("1"), event("2"))[1:]] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("x" * 255, "x" * 255),
        ("x" * 256, "x" * 256 + "…"),
        (EMOJIS, f"{EMOJIS}…"),
        ("x" * 255 + "\ud83d", "x" * 255 + "?…"),  # cut within an emoji
        ("\ud83d", "?"),
    ],
)
def test_a_message_that_was_cut_ends_with_a_mark_and_one_line_has_the_link(message: str, shown: str) -> None:
    _, (_, text), _, *others = lines_of(*[event(message)] * 2)
    assert text == f"{TIME} {shown}"
    text.encode()
    assert len(others) == shown.endswith("…")
    assert all(line.endswith(f"with … are whole in the dashboard: {URL}") for _, line in others)


@pytest.mark.parametrize("length", [8, 15, len(KEY) - 1])
def test_a_key_that_a_message_was_cut_in_is_masked(length: int) -> None:
    message = "token=".rjust(256 - length, "x") + KEY[:length]
    assert lines_of(event(message))[1][1] == f"{TIME} {message[:-length]}***…"


@pytest.mark.parametrize(
    ("message", "kept"),
    [("a", 1000), ("a\nb\nc", 333), ("é" * 240, LARGEST_LOG // (len(f"{TIME} 0000") + 480 + 1))],
)
def test_of_a_long_log_the_last_lines_are_kept_and_one_line_counts_the_others(
    message: str, kept: int
) -> None:
    total = 3000
    header, *lines, last = lines_of(*(event(f"{message}{number:04}") for number in range(total)))
    assert [text[-4:] for _, text in lines] == [f"{number:04}" for number in range(total - kept, total)]
    text = f"Left out, and in the dashboard: {total - kept} earlier messages of run run_1. {URL}"
    assert (header, last) == (HEADER, ("info", text))
    assert sum(len(text.encode()) for _, text in lines) <= LARGEST_LOG


def test_a_log_that_the_server_cuts_says_so() -> None:
    _, *lines, (_, text) = lines_of(*[event("a")] * 24_999)
    what = "23999 earlier messages of run run_1, and what came after the first 25000 messages and spans"
    assert (len(lines), text) == (LONGEST_LOG, f"Left out, and in the dashboard: {what}. {URL}")
