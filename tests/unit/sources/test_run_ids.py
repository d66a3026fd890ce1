from __future__ import annotations

import json
from collections import UserList
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_trigger.sources.run_ids import MAX_LENGTH, RunIds, Unreadable

REAL = "run_cmwvx3ex70014vu7dzs5yiufe"


def read(value: object) -> RunIds:
    ids = RunIds()
    ids.add(value, source="run_ids")
    return ids


class LazySequence(UserList):  # type: ignore[type-arg]
    """Like what Airflow hands over for mapped outputs: a sequence, and no list."""

    def __str__(self) -> str:
        return f"LazySelectSequence([{len(self)} items])"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (REAL, [REAL]),
        (f"  {REAL}\n", [REAL]),
        (["run_1", "run_2"], ["run_1", "run_2"]),
        (("run_1", "run_2"), ["run_1", "run_2"]),
        ({"run_1"}, ["run_1"]),
        ((run_id for run_id in ("run_1", "run_2")), ["run_1", "run_2"]),
        (LazySequence(["run_1", "run_2"]), ["run_1", "run_2"]),
        ([["run_1"], [["run_2"]], "run_3"], ["run_1", "run_2", "run_3"]),
        (["run_2", "run_1", "run_2"], ["run_2", "run_1"]),
        ({"id": "run_1", "isCached": False}, ["run_1"]),
        ({"run_id": "run_1", "outcome": "canceled"}, ["run_1"]),
        ({"id": 7, "run_id": "run_1"}, ["run_1"]),
        ({"id": "order_1", "run_id": "run_1"}, ["run_1"]),
        ({"id": "run_1", "run_id": "run_1"}, ["run_1"]),
        ([{"id": "run_1"}, {"run_id": "run_2"}], ["run_1", "run_2"]),
        ("['run_1', None]", ["run_1"]),
        ("['run_1', 'run_2']", ["run_1", "run_2"]),
        ('["run_1", "run_2"]', ["run_1", "run_2"]),
        ("('run_1', 'run_2')", ["run_1", "run_2"]),
        ("{'id': 'run_1'}", ["run_1"]),
        ('{"id": "run_1"}', ["run_1"]),
        (["['run_1']", "run_2"], ["run_1", "run_2"]),
        ("run_1,run_2", ["run_1", "run_2"]),
        ("run_1, run_2,", ["run_1", "run_2"]),
        ("run_1\nrun_2 run_3", ["run_1", "run_2", "run_3"]),
        ("run_1,None", ["run_1"]),
        ("None, run_1, null", ["run_1"]),
        ([], []),
        ("[]", []),
        ({}.values(), []),
    ],
)
def test_ids_are_found_in_whatever_holds_them(value: object, found: list[str]) -> None:
    ids = read(value)
    assert ids.found == found
    assert not ids.unreadable


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (None, ["run_ids"]),
        ("None", ["run_ids"]),
        (" null ", ["run_ids"]),
        ([None, "run_1", "None"], ["run_ids[0]", "run_ids[2]"]),
        ("['run_1', None]", ["run_ids"]),
        ("run_1,None", ["run_ids"]),
    ],
)
def test_a_none_is_skipped_and_counted(value: object, where: list[str]) -> None:
    ids = read(value)
    assert ids.skipped == where
    assert not ids.unreadable


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (7, "not int"),
        (7.5, "not float"),
        (True, "not bool"),
        (b"run_1", "not bytes"),
        (object(), "not object"),
        ("", "an empty text"),
        ("  ", "an empty text"),
        (" , ", "an empty text"),
        ("42", "a number"),
        ("...", "no letter and no digit"),
        ("run\x001", "characters that no run id has"),
        ("r" * (MAX_LENGTH + 1), f"longer than {MAX_LENGTH} characters"),
        ("{{ ti.xcom_pull('start') }}", "Jinja that was not rendered"),
        ("run_{{ds}}", "Jinja that was not rendered"),
        ("a {% if b %}", "Jinja that was not rendered"),
        ("LazySelectSequence([2 items])", "use xcom_task_ids"),
        ("LazyXComSelectSequence([2 items])", "use xcom_task_ids"),
        ("[run_1", "cannot be read as one"),
        ("[" * 100_000, "cannot be read as one"),
        ("(1 + run_1)", "cannot be read as one"),
        ({}, "a dict without the text"),
        ({"id": 7}, "a dict without the text"),
        ({"id": "order_1", "run_id": "order_2"}, "differ"),
        ({"id": "run_1", "run_id": "run_2"}, "differ"),
        ("run_1;run_2", "characters that no run id has"),
        ({"runs": ["run_1"]}, "a dict without the text"),
        ({"id": "run 1"}, "characters that no run id has"),
        ("[7]", "not int"),
    ],
)
def test_what_is_no_id_is_named_with_its_reason(value: object, reason: str) -> None:
    ids = read(value)
    [unreadable] = ids.unreadable
    assert ids.found == []
    assert reason in unreadable.reason
    assert unreadable.source == "run_ids"


def test_what_is_no_id_never_stops_the_readable_ones() -> None:
    ids = read(["run_1", 7, "run_2", {"x": 1}, "run_3"])
    assert ids.found == ["run_1", "run_2", "run_3"]
    assert [str(value) for value in ids.unreadable] == [
        "7 from run_ids[1]: a run id is text, not int",
        "a dict of ['x'] from run_ids[3]: a dict without the text 'id' or 'run_id'",
    ]


def test_an_offending_value_is_shown_cut() -> None:
    [unreadable] = read("r" * 5000).unreadable
    assert unreadable.shown.endswith("… (5002 characters)")
    assert len(str(unreadable)) < 200


def nested(depth: int) -> object:
    value: object = "run_1"
    for _ in range(depth):
        value = [value]
    return value


def test_lists_within_lists_are_followed_to_a_sane_depth() -> None:
    assert read(nested(10)).found == ["run_1"]
    [unreadable] = read(nested(11)).unreadable
    assert "too deep" in unreadable.reason


def test_lists_so_deep_that_they_cannot_even_be_shown_are_named() -> None:
    [unreadable] = read(nested(50_000)).unreadable
    assert "too deep" in unreadable.reason
    assert unreadable.shown == "<list that cannot be shown>"


def test_a_number_so_long_that_it_cannot_be_shown_is_named() -> None:
    [unreadable] = read([10**5000]).unreadable
    assert unreadable.shown == "<int that cannot be shown>"


# From XCom


def pulled(task_ids: Any, pushed: dict[str, Any], known: list[str] | None = None) -> RunIds:
    ids = RunIds()
    ids.add_from_xcom(task_ids, key="return_value", known_task_ids=known or list(pushed), pull=pushed.get)
    return ids


def test_what_tasks_pushed_is_taken_in_the_order_of_the_tasks() -> None:
    ids = pulled(["b", "a"], {"a": ["run_1", "run_2"], "b": {"id": "run_3"}})
    assert ids.found == ["run_3", "run_1", "run_2"]
    assert not ids.silent_tasks


def test_one_task_may_be_given_as_a_text() -> None:
    assert pulled("start", {"start": "run_1"}).found == ["run_1"]


def test_a_task_that_pushed_nothing_is_named() -> None:
    ids = pulled(["a", "b", "c"], {"a": None, "b": [], "c": "run_1"})
    assert ids.silent_tasks == ["a", "b"]
    assert ids.found == ["run_1"]
    assert not ids.skipped


def test_a_task_that_pushed_the_ids_of_another_is_not_silent() -> None:
    assert not pulled(["a", "b"], {"a": "run_1", "b": "run_1"}).silent_tasks


@pytest.mark.parametrize("pushed", [[None], "None", 7, ""])
def test_a_task_that_pushed_something_useless_is_not_silent(pushed: object) -> None:
    assert not pulled(["a"], {"a": pushed}).silent_tasks


def test_a_task_that_the_dag_does_not_have_is_an_error_with_a_hint() -> None:
    ids = pulled(["strat", "start"], {"start": "run_1"})
    assert ids.found == ["run_1"]
    assert ids.unreadable == [
        Unreadable("'strat'", "xcom_task_ids", "the Dag has no such task; did you mean 'start'?")
    ]


def test_a_task_that_is_like_no_other_gets_no_hint() -> None:
    [unreadable] = pulled("zzz", {"start": "run_1"}).unreadable
    assert unreadable.reason == "the Dag has no such task"


@pytest.mark.parametrize("task_id", [None, 7, object()])
def test_what_is_no_task_id_is_an_error_and_not_a_crash(task_id: object) -> None:
    [unreadable] = pulled([task_id], {"start": "run_1"}).unreadable
    assert "the Dag has no such task" in unreadable.reason


def test_an_offending_value_from_xcom_tells_task_key_and_place() -> None:
    [unreadable] = pulled("start", {"start": ["run_1", 7]}).unreadable
    assert unreadable.source == "the XCom 'return_value' of task 'start'[1]"


# Whatever XCom holds

ANY_TEXT = st.text(st.characters(exclude_categories=()))
IDS = st.from_regex(r"run_[a-z0-9]{1,25}", fullmatch=True)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary()
    | ANY_TEXT
    | IDS
    | st.sampled_from(["[", "{", "(", "[[", "{{", "None", "[']", "b'x'", "1,2", "{'id'}", "[1e999]"])
)
VALUES = st.recursive(
    LEAVES,
    lambda values: (
        st.lists(values)
        | st.tuples(values, values)
        | st.dictionaries(ANY_TEXT | st.sampled_from(["id", "run_id"]), values, max_size=3)
        | values.map(repr)
        | values.map(str)
    ),
    max_leaves=20,
)


@given(VALUES)
@example("[" * 5000 + "]" * 5000)
@example("(" * 150 + "'run_1'" + ")" * 150)
@example("-" * 5000 + "1")
@example("[" + "-" * 5000 + "1]")
def test_nothing_that_xcom_can_hold_breaks_it(value: object) -> None:
    ids = read(value)
    assert len(set(ids.found)) == len(ids.found)
    for run_id in ids.found:
        assert 0 < len(run_id) <= MAX_LENGTH
        assert run_id.isprintable()
        assert run_id == run_id.strip()
    for unreadable in ids.unreadable:
        assert unreadable.source.startswith("run_ids")
        assert unreadable.reason
        assert len(str(unreadable)) < 300


JUNK = st.sampled_from([None, 7, True, b"x", "", "42", "{{ x }}", {}, {"id": None}])


@st.composite
def arrangements(draw: st.DrawFn) -> tuple[list[str], int, object]:
    """Draw ids in their order, how many pieces of junk are among them, and a value that holds both."""
    items = draw(st.lists(IDS | JUNK, max_size=12))
    run_ids = [item for item in items if isinstance(item, str) and item.startswith("run_")]
    junk = sum(item is not None for item in items) - len(run_ids)
    wrappings = [lambda item: item, lambda item: [item], lambda item: ([item],), lambda item: [[[item]]]]
    id_wrappings = [*wrappings, lambda item: {"id": item}, lambda item: json.dumps([item]), repr_of_list]
    held = [
        draw(st.sampled_from(id_wrappings if item in run_ids else wrappings))(item)  # type: ignore[no-untyped-call]
        for item in items
    ]
    return run_ids, junk, held


def repr_of_list(item: str) -> str:
    return repr([item])


@given(arrangements())
def test_no_readable_id_is_lost_and_each_offending_value_is_named(
    arrangement: tuple[list[str], int, object],
) -> None:
    run_ids, junk, value = arrangement
    ids = read(value)
    assert ids.found == list(dict.fromkeys(run_ids))
    assert len(ids.unreadable) == junk


@given(st.lists(IDS, min_size=1), st.sampled_from([",", ", ", "\n", " ", ",\n "]))
def test_no_id_of_a_text_is_lost(run_ids: list[str], separator: str) -> None:
    assert read(separator.join(run_ids)).found == list(dict.fromkeys(run_ids))


@given(st.lists(IDS | st.none()))
def test_jinjas_text_of_a_list_holds_the_same_ids_as_the_list(run_ids: list[str | None]) -> None:
    assert read(str(run_ids)).found == read(run_ids).found
    assert len(read(str(run_ids)).skipped) == len(read(run_ids).skipped)


@pytest.mark.parametrize("text", ['"run_1"', "'run_1'", '["run_1"]', '{"id": "run_1"}', " run_1\n"])
def test_a_text_may_be_quoted_as_json_does(text):
    ids = RunIds()
    ids.add(text, source="run_ids")
    assert (ids.found, ids.unreadable) == (["run_1"], [])


@pytest.mark.parametrize("text", ["{{ run_ids }}", "{% for x in y %}", "run_1,{{ other }}", "run_{{ x }}"])
def test_jinja_that_was_not_rendered_is_called_so(text):
    ids = RunIds()
    ids.add(text, source="run_ids")
    assert ids.found == []
    assert [value.reason for value in ids.unreadable] == ["Jinja that was not rendered"]


def test_of_a_dict_only_the_keys_are_shown() -> None:
    [unreadable] = read({"password": "hunter2"}).unreadable
    assert unreadable.shown == "a dict of ['password']"
