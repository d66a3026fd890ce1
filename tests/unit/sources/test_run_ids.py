from __future__ import annotations

import json
from collections import UserList
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_trigger.sources.run_ids import (
    MAX_SHOWN,
    RUN_IDS,
    TOKEN_IDS,
    RunIds,
    all_valid,
    exactly_one,
    hint,
    read_literal,
    show,
)

REAL = "run_cmwvx3ex70014vu7dzs5yiufe"
NO_XCOM = "a template probably found no XCom: check task_ids and key in it"
NONE = f"run_ids is None: a task returned None or was skipped, or {NO_XCOM}"
EMPTY = f"it is empty: {NO_XCOM}"
BATCH = (
    "it is a batch without its run ids: give the 'runs' of the SDK's batch.retrieve, "
    "or of GET /api/v2/batches/{id}"
)
SEQUENCE = "Jinja turned mapped outputs into text; use xcom_task_ids, or the task's .output"
VALID = "it must be an id (run_…), a list of ids, or a dict with 'id', 'run_id' or 'runs'"
VALID_TOKEN = (
    "it must be an id (waitpoint_…), a token's URL, a list of these, or a dict with 'id', 'token_id' or 'url'"
)
TEMPLATE = "it is a Jinja template that was not rendered"
NO_LITERAL = "it looks like a list or a dict, but cannot be read as one"
BRACES = f"{NO_LITERAL}; a template needs double braces: {{{{ … }}}}"


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
        (LazySequence(["run_1", "run_2"]), ["run_1", "run_2"]),
        ([["run_1"], [["run_2"]], "run_3"], ["run_1", "run_2", "run_3"]),
        (["run_2", "run_1", "run_2"], ["run_2", "run_1"]),
        ({"id": "run_1", "isCached": False}, ["run_1"]),
        ({"run_id": "run_1", "outcome": "canceled"}, ["run_1"]),
        ({"id": 7, "run_id": "run_1"}, ["run_1"]),
        ({"id": "order_1", "run_id": "run_1"}, ["run_1"]),
        ({"id": "run_1", "run_id": "run_1"}, ["run_1"]),
        ({"id": "run_1", "batchId": "batch_1"}, ["run_1"]),
        ({"id": "batch_1", "run_id": "run_1"}, ["run_1"]),
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
        ((run_id for run_id in ("run_1", "run_2")), ["run_1", "run_2"]),
        # A text may be quoted as JSON does.
        ('"run_1"', ["run_1"]),
        ("'run_1'", ["run_1"]),
        # An id that looks otherwise is left to the server.
        *((value, [value]) for value in ("start", "batch_1", "a.b-c:d_E9", "LazyOne", "X", "r" * 256)),
        # The answer of a batch call means its runs.
        ({"id": "batch_1", "runs": ["run_a", {"id": "run_b"}]}, ["run_a", "run_b"]),
        ({"batchId": "batch_1", "runs": ["run_a", "run_b"]}, ["run_a", "run_b"]),
        ({"runs": ("run_a",)}, ["run_a"]),
        ({"id": "run_x", "runs": ["run_a"]}, ["run_a"]),
        ([{"id": "batch_1", "runs": ["run_a"]}, "run_b"], ["run_a", "run_b"]),
        ("{'id': 'batch_1', 'runs': ['run_a']}", ["run_a"]),
        ({"id": "run_x", "runs": 2}, ["run_x"]),
        ({"id": "run_x", "runs": "run_a"}, ["run_x"]),
    ],
)
def test_ids_are_found_in_whatever_holds_them(value: object, found: list[str]) -> None:
    ids = read(value)
    assert (ids.found, ids.invalid, ids.empty) == (found, [], [])


def test_an_id_that_the_server_does_not_know_gets_a_hint() -> None:
    assert hint("run_1") is hint("waitpoint_1", TOKEN_IDS) is None
    assert hint("batch_1") == "'batch_1' is a batch's id, not a run's: give the batch's runs"
    for found, kind, shape in (
        ("run", RUN_IDS, "run id (run_…)"),
        ("a", TOKEN_IDS, "token id (waitpoint_…)"),
    ):
        text = f"{found!r} does not look like a {shape}; is it a task's id? use xcom_task_ids"
        assert hint(found, kind) == text


# A source that gave nothing, or a None next to other values


@pytest.mark.parametrize("value", [None, "None", " null ", [None], ["None", [None]], "[None]", "None, null"])
def test_a_source_that_gave_none_gets_a_sentence(value: object) -> None:
    assert read(value) == RunIds(empty=[NONE])


@pytest.mark.parametrize(
    "value", [[], set(), " [] ", "()", [[], []], "[[]]", {}.values(), LazySequence(), {"id": "b", "runs": []}]
)
def test_a_source_that_gave_nothing_gets_a_sentence(value: object) -> None:
    assert read(value) == RunIds(empty=["run_ids is an empty list"])


def test_each_source_counts_by_itself() -> None:
    ids = RunIds()
    values: list[object] = [[], "run_1", ["run_1", None], [None], ["run_2", None]]
    for source, value in zip("abcde", values, strict=True):
        ids.add(value, source=source)
    empty = ["a is an empty list", NONE.replace("run_ids", "d", 1)]
    found = ["run_1", "run_2"]
    assert ids == RunIds(found=found, skipped=["c", "e"], empty=empty, _seen=set(found))


@pytest.mark.parametrize(
    ("value", "count"),
    [([None, "run_1", "None"], 2), (["run_1", [[None]]], 1), ("run_1,None", 1), ([None, 7], 1)],
)
def test_a_none_next_to_other_values_is_skipped(value: object, count: int) -> None:
    ids = read(value)
    assert (ids.skipped, ids.empty) == (["run_ids"] * count, [])


# What is invalid


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        *(
            (value, VALID)
            for value in (
                7,
                7.5,
                True,
                b"run_1",
                bytearray(b"run_1"),
                object(),
                "[7]",
                "42",
                "...",
                "_",
                "r" * 257,
            )
        ),
        *((value, VALID) for value in ("run\x001", "run_1;run_2", "run_ä", "run_1}", "x.test/runs/run_1")),
        *((value, EMPTY) for value in ("", "  ", " , ", {"id": ""})),
        *(
            (value, TEMPLATE)
            for value in ("{{ ti.xcom_pull('start') }}", "run_{{ds}}", "run_1,{{ other }}", "a {% if b %}")
        ),
        *(
            (value, BRACES)
            for value in (
                "{ ti.xcom_pull(task_ids='start') }",
                "[{ ids[0] }]",
                "run_{ params.x }",
                "{id: run_1}",
            )
        ),
        *((value, NO_LITERAL) for value in ("[run_1", "'run_1", '"run_1', "[" * 100_000, "(1 + run_1)")),
        ("LazySelectSequence([2 items])", SEQUENCE),
        ("LazyXComSelectSequence([2 items])", SEQUENCE),
        *((value, VALID) for value in ({}, {"id": 7}, {"batchId": 7}, {"runs": "run_1"}, {"id": "run 1"})),
        *((value, VALID) for value in ({"id": "run_1,run_2"}, {"id": "order_1", "run_id": "order_2"})),
        ({"id": "run_1", "run_id": "run_2", "batchId": "batch_1"}, VALID),
        ({"batchId": "batch_1", "isCached": False, "runCount": 5}, BATCH),
        ({"id": "batch_1", "isCached": False, "runCount": 5}, BATCH),
        ({"id": "batch_1", "runs": None}, BATCH),
        ({"id": "batch_1", "batchId": "batch_1"}, BATCH),
        ({"run_id": "batch_1"}, BATCH),
        ('{"id": "batch_1", "runCount": 5}', BATCH),
    ],
)
def test_an_invalid_value_is_named_with_its_reason(value: object, reason: str) -> None:
    ids = read(value)
    assert ids.found == []
    [text] = ids.invalid
    assert text.endswith(f" from run_ids is not a valid run id: {reason}")
    assert (ids.empty, ids.skipped) == ([], [])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("  ", "''"),
        ("[7]", "7"),
        ({"id": "run 1"}, "'run 1'"),
        ({"id": 7}, "a dict of ['id']"),
        (" [r ", "'[r'"),
    ],
)
def test_an_invalid_value_is_shown(value: object, shown: str) -> None:
    assert [text.partition(" from run_ids is not ")[0] for text in read(value).invalid] == [shown]


def test_an_invalid_value_never_stops_the_others() -> None:
    ids = read(["run_1", 7, "run_2", {"x": 1}, "run_3"])
    assert ids.found == ["run_1", "run_2", "run_3"]
    assert ids.invalid == [
        f"{shown} from run_ids is not a valid run id: {VALID}" for shown in ("7", "a dict of ['x']")
    ]


@pytest.mark.parametrize("depth", [100, 2_000])
def test_lists_nested_too_deeply_are_an_error_and_the_others_are_found(depth: int) -> None:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    ids = read([value, "run_1"])
    assert ids.found == ["run_1"]
    assert [text.partition(" from ")[2] for text in ids.invalid] == [
        "run_ids is not a valid run id: it is nested more than 100 lists deep"
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("r" * (MAX_SHOWN - 2), "'" + "r" * 78 + "'"),
        ("r" * (MAX_SHOWN - 1), "'" + "r" * 79 + "… (81 characters)"),
        ("r" * 5000, "'" + "r" * 79 + "… (5002 characters)"),
        ({"password": "hunter2", 1: 2}, "a dict of ['1', 'password']"),
        ([10**5000], "<list that cannot be shown>"),
    ],
)
def test_a_value_is_shown_shortened_and_of_a_dict_only_the_keys(value: object, shown: str) -> None:
    assert show(value) == shown
    assert show(10**5000) == "<int that cannot be shown>"


class Rude:
    def __repr__(self) -> str:
        raise AttributeError("no repr")


def test_a_value_that_cannot_be_shown_is_named() -> None:
    [text] = read([Rude(), "run_1"]).invalid
    assert text.startswith("<Rude that cannot be shown> from run_ids is not a valid run id: ")


@pytest.mark.parametrize("text", ["[a]", "[", "(1 + a)", "", "a b"])
def test_what_is_no_literal_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="neither JSON nor a Python literal"):
        read_literal(text)


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
@example("(" * 150 + "'run_1'" + ")" * 150)
@example("-" * 5000 + "1")
@example("[" + "-" * 5000 + "1]")
def test_nothing_that_xcom_can_hold_breaks_it(value: object) -> None:
    ids = read(value)
    assert len(set(ids.found)) == len(ids.found)
    for run_id in ids.found:
        assert 0 < len(run_id) <= 256
        assert run_id.isprintable()
        assert run_id == run_id.strip()
    for text in ids.invalid:
        assert " from run_ids" in text
        assert len(text) < 320


JUNK = st.sampled_from([None, 7, True, b"x", "", "42", "{{ x }}", {}, {"id": None}])


@st.composite
def arrangements(draw: st.DrawFn) -> tuple[list[str], int, object]:
    """Draw ids in their order, how many pieces of junk are among them, and a value that holds both."""
    items = draw(st.lists(IDS | JUNK, max_size=12))
    run_ids = [item for item in items if isinstance(item, str) and item.startswith("run_")]
    junk = sum(item is not None for item in items) - len(run_ids)
    wrappings = [lambda item: item, lambda item: [item], lambda item: ([item],), lambda item: [[[item]]]]
    id_wrappings = [*wrappings, lambda item: {"id": item}, lambda item: json.dumps([item]), repr_of_list]
    held = [draw(st.sampled_from(id_wrappings if item in run_ids else wrappings))(item) for item in items]
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
    assert len(ids.invalid) == junk


@given(st.lists(IDS, min_size=1), st.sampled_from([",", ", ", "\n", " ", ",\n "]))
def test_no_id_of_a_text_is_lost(run_ids: list[str], separator: str) -> None:
    assert read(separator.join(run_ids)).found == list(dict.fromkeys(run_ids))


@given(st.lists(IDS | st.none()))
def test_jinjas_text_of_a_list_holds_the_same_ids_as_the_list(run_ids: list[str | None]) -> None:
    assert read(str(run_ids)).found == read(run_ids).found
    assert len(read(str(run_ids)).skipped) == len(read(run_ids).skipped)


# Valid ones only


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("run_2, run_1, run_2", ["run_2", "run_1"]),
        ([{"id": "run_1"}, "run_2"], ["run_1", "run_2"]),
        ([], []),
        (iter(["run_1", "run_2"]), ["run_1", "run_2"]),
        (iter([]), []),
    ],
)
def test_of_valid_values_the_run_ids_are_returned(value: object, found: list[str]) -> None:
    assert all_valid(value) == found


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        (
            ["run_1", 7, None, {"id": "run 2"}],
            f"7 from run_ids is not a valid run id: {VALID}; 'run 2' from run_ids is not a valid run id: "
            f"{VALID}; a value of run_ids is None",
        ),
        (["run_1", None], "a value of run_ids is None"),
        ([None], NONE),
        ("None", NONE),
        (None, NONE),
    ],
)
def test_each_value_that_is_not_valid_is_named_in_one_error(value: object, problems: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # the text is compared below
        all_valid(value)
    assert str(raised.value) == problems


# Exactly one


def test_exactly_one_run_id_is_returned() -> None:
    assert exactly_one([{"id": "run_1"}, "run_1"]) == "run_1"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([], "0: []"),
        ("run_1,run_2", "2: 'run_1,run_2'"),
        (["run_1", "run_2"], "2: ['run_1', 'run_2']"),
        (["run_" + "a" * 70, "run_2"], "2: ['run_" + "a" * 70 + "', '… (87 characters)"),
        # What a dict holds besides the ids may be private.
        ({"runs": ["run_1", "run_2"], "payload": "private"}, "2: a dict of ['payload', 'runs']"),
    ],
)
def test_none_or_several_are_an_error_that_shows_the_start_of_the_value(value: object, shown: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # the text is compared below
        exactly_one(value)
    assert str(raised.value) == f"run_id must contain exactly one run id, not {shown}"


# Of waitpoint tokens

ADDRESS = "https://api.trigger.dev/api/v1/waitpoints/tokens/waitpoint_1/callback/5ec2e7"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("waitpoint_1", ["waitpoint_1"]),
        ([{"id": "waitpoint_1", "url": ADDRESS}, "waitpoint_2"], ["waitpoint_1", "waitpoint_2"]),
        (str([{"id": "waitpoint_1", "url": ADDRESS}]), ["waitpoint_1"]),
        (json.dumps({"id": "waitpoint_1", "url": ADDRESS}), ["waitpoint_1"]),
        ({"url": ADDRESS}, ["waitpoint_1"]),
        (f"{ADDRESS}, {ADDRESS.replace('waitpoint_1', 'waitpoint_2')}", ["waitpoint_1", "waitpoint_2"]),
        ([{"token_id": "waitpoint_1", "outcome": "completed", "status": None}], ["waitpoint_1"]),
        ("waitpoint_1 waitpoint_1", ["waitpoint_1"]),
        ("mine", ["mine"]),
    ],
)
def test_ids_of_tokens_are_read_in_all_forms_that_those_of_runs_have(value: Any, found: list[str]) -> None:
    assert all_valid(value, TOKEN_IDS) == found


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([7], f"7 from token_ids is not a valid token id: {VALID_TOKEN}"),
        ("a b!", f"'b!' from token_ids is not a valid token id: {VALID_TOKEN}"),
        ("https://x/runs/run_1", VALID_TOKEN),
        ({"runs": ["waitpoint_1"]}, f"from token_ids is not a valid token id: {VALID_TOKEN}"),
        ({"id": "a", "token_id": "b"}, VALID_TOKEN),
        ("None", NONE.removeprefix("run_ids")),
    ],
)
def test_what_is_no_token_is_named(value: Any, problem: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # the text is compared below
        all_valid(value, TOKEN_IDS)
    assert str(raised.value).endswith(problem)


def test_no_message_shows_the_secret_of_an_address() -> None:
    wrong = ADDRESS.replace("waitpoint_1", "1")
    for kind in (TOKEN_IDS, RUN_IDS):
        ids = RunIds(kind=kind)
        ids.add([wrong, [wrong[40:]], (wrong[50:],), f"[{wrong}"], source="token_ids")
        assert len(ids.invalid) == 4
        assert "5ec2e7" not in str(ids)
