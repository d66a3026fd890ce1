from __future__ import annotations

import json
from collections import UserList
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_trigger.sources.run_ids import RUN_IDS, TOKEN_IDS, RunIds, all_valid, exactly_one, show

REAL = "run_cmwvx3ex70014vu7dzs5yiufe"
NO_XCOM = "a template probably found no XCom: check task_ids and key in it"
NONE = f"run_ids is None: a task returned None or was skipped, or {NO_XCOM}"
EMPTY = f"it is empty: {NO_XCOM}"
SEQUENCE = "Jinja turned mapped outputs into text; use xcom_task_ids, or the task's .output"
VALID = "it must be an id (run_…), a list of ids, or a dict with 'id', 'run_id' or, of a batch, 'runs'"
VALID_TOKEN = (
    "it must be an id (waitpoint_…), a token's URL, a list of these, or a dict with 'id', 'token_id' or 'url'"
)
TEMPLATE = "it is a Jinja template that was not rendered"
NO_LITERAL = "it looks like a list or a dict, but cannot be read as one"


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
        (f"  {REAL}\n", [REAL]),
        (("run_1", "run_2"), ["run_1", "run_2"]),
        ({"run_1"}, ["run_1"]),
        (LazySequence(["run_1", "run_2"]), ["run_1", "run_2"]),
        ([["run_1"], [["run_2"]], "run_3", "run_1"], ["run_1", "run_2", "run_3"]),
        ((run_id for run_id in ("run_1", "run_2")), ["run_1", "run_2"]),
        ([{"id": "run_1", "isCached": False}, {"run_id": "run_2"}], ["run_1", "run_2"]),
        ({"id": 7, "run_id": "run_1"}, ["run_1"]),
        ({"id": "order_1", "run_id": "run_1"}, ["run_1"]),
        ({"id": "batch_1", "run_id": "run_1"}, ["run_1"]),
        ("['run_1', None]", ["run_1"]),
        ('["run_1", "run_2"]', ["run_1", "run_2"]),
        ("('run_1', 'run_2')", ["run_1", "run_2"]),
        ("{'id': 'run_1'}", ["run_1"]),
        ('"run_1"', ["run_1"]),
        (["['run_1']", "run_2"], ["run_1", "run_2"]),
        ("run_1, run_2,", ["run_1", "run_2"]),
        ("run_1\nrun_2 run_3", ["run_1", "run_2", "run_3"]),
        ("None, run_1, null", ["run_1"]),
        # An id that looks otherwise is left to the server.
        *((value, [value]) for value in ("start", "batch_1", "a.b-c:d_E9", "LazyOne", "X", "r" * 256)),
        # The answer of a batch call means its runs.
        ({"id": "batch_1", "runs": ["run_a", {"id": "run_b"}]}, ["run_a", "run_b"]),
        ([{"batchId": "batch_1", "runs": ("run_a",)}, "run_b"], ["run_a", "run_b"]),
        ("{'id': 'batch_1', 'runs': ['run_a']}", ["run_a"]),
        ({"id": "batch_1", "runCount": 1, "runs": ["run_a"]}, ["run_a"]),
        ({"id": "batch_1", "status": "COMPLETED", "runCount": 2, "runs": ["run_a"]}, ["run_a"]),
        ({"id": "run_x", "runs": 2}, ["run_x"]),
    ],
)
def test_ids_are_found_in_whatever_holds_them(value: object, found: list[str]) -> None:
    ids = read(value)
    assert (ids.found, ids.invalid, ids.empty) == (found, [], [])


# A source that gave nothing, or a None next to other values


@pytest.mark.parametrize("value", [None, "None", " null ", [None], ["None", [None]], "[None]", "None, null"])
def test_a_source_that_gave_none_gets_a_sentence(value: object) -> None:
    assert read(value) == RunIds(empty=[NONE])


@pytest.mark.parametrize(
    "value", [[], set(), " [] ", "()", [[], []], "[[]]", {}.values(), LazySequence(), {"id": "b", "runs": []}]
)
def test_a_source_that_gave_nothing_gets_a_sentence(value: object) -> None:
    assert read(value) == RunIds(empty=["run_ids is an empty list"])


@pytest.mark.parametrize("value", [[None, "run_1", "None"], "run_1,None", [None, 7]])
def test_a_none_next_to_other_values_is_skipped(value: object) -> None:
    ids = read(value)
    assert (ids.has_none, ids.empty) == (True, [])


# What is invalid


INVALID: dict[str, list[object]] = {
    VALID: [
        *(7, True, b"run_1", object(), "[7]", "42", "...", "_", "r" * 257),
        *("run\x001", "run_1;run_2", "run_ä", "run_1}", "x.test/runs/run_1"),
        *({}, {"id": 7}, {"runs": "run_1"}, {"id": "run 1"}),
        *({"id": "order_1", "run_id": "order_2"}, {"id": "run_1", "run_id": "run_2", "batchId": "batch_1"}),
        # A batch without its runs.
        *({"batchId": "batch_1", "runCount": 5}, {"id": "batch_1", "runs": None}),
        *({"run_id": "batch_1"}, '{"id": "batch_1", "runCount": 5}'),
    ],
    EMPTY: ["", "  ", " , ", {"id": ""}],
    TEMPLATE: ["{{ ti.xcom_pull('start') }}", "run_1,{{ other }}", "a {% if b %}"],
    NO_LITERAL: ["[run_1", "'run_1", "[" * 100_000, "(1 + run_1)", "run_{ params.x }", "{id: run_1}"],
    SEQUENCE: ["LazyXComSelectSequence([2 items])"],
    "two ids were read as one: separate them by a comma": ["'run_1' 'run_2'", '["run_1""run_2"]'],
    "it names 0 of the batch's 5 runs; use batch_ids='batch_1'": [
        {"id": "batch_1", "status": "PROCESSING", "runCount": 5, "runs": []},
        {"batchId": "batch_1", "runCount": 5, "runs": ()},
    ],
}


@pytest.mark.parametrize(
    ("value", "reason"), [(value, reason) for reason, values in INVALID.items() for value in values]
)
def test_an_invalid_value_is_named_with_its_reason(value: object, reason: str) -> None:
    ids = read(value)
    assert ids.found == []
    [text] = ids.invalid
    assert text.endswith(f" from run_ids is not a valid run id: {reason}")
    assert (ids.empty, ids.has_none) == ([], False)


def test_an_invalid_value_never_stops_the_others() -> None:
    ids = read(["run_1", 7, "run_2", {"x": 1}, "run_3"])
    assert ids.found == ["run_1", "run_2", "run_3"]
    assert ids.invalid == [
        f"{shown} from run_ids is not a valid run id: {VALID}" for shown in ("7", "a dict of ['x']")
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("r" * 78, "'" + "r" * 78 + "'"),
        ("r" * 5000, "'" + "r" * 79 + "… (5002 characters)"),
        ({"password": "hunter2", 1: 2}, "a dict of ['1', 'password']"),
    ],
)
def test_a_value_is_shown_shortened_and_of_a_dict_only_the_keys(value: object, shown: str) -> None:
    assert show(value) == shown


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


# Exactly one


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([], "0: []"),
        ("run_1,run_2", "2: 'run_1,run_2'"),
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
        (str([{"id": "waitpoint_1", "url": ADDRESS}]), ["waitpoint_1"]),
        (json.dumps({"id": "waitpoint_1", "url": ADDRESS}), ["waitpoint_1"]),
        ({"url": ADDRESS}, ["waitpoint_1"]),
        (f"{ADDRESS}, {ADDRESS.replace('waitpoint_1', 'waitpoint_2')}", ["waitpoint_1", "waitpoint_2"]),
        ([{"token_id": "waitpoint_1", "outcome": "completed", "status": None}], ["waitpoint_1"]),
    ],
)
def test_ids_of_tokens_are_read_in_all_forms_that_those_of_runs_have(value: Any, found: list[str]) -> None:
    assert all_valid(value, TOKEN_IDS, "token_ids") == found


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([7], f"7 from token_ids is not a valid token id: {VALID_TOKEN}"),
        ("a b!", f"'b!' from token_ids is not a valid token id: {VALID_TOKEN}"),
        ("https://x/runs/run_1", VALID_TOKEN),
        ({"id": "a", "token_id": "b"}, VALID_TOKEN),
        ("None", NONE.removeprefix("run_ids")),
    ],
)
def test_what_is_no_token_is_named(value: Any, problem: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # the text is compared below
        all_valid(value, TOKEN_IDS, "token_ids")
    assert str(raised.value).endswith(problem)


def test_no_message_shows_the_secret_of_an_address() -> None:
    wrong = ADDRESS.replace("waitpoint_1", "1")
    for kind in (TOKEN_IDS, RUN_IDS):
        ids = RunIds(kind=kind)
        ids.add([wrong, [wrong[40:]], (wrong[50:],), f"[{wrong}"], source="token_ids")
        assert len(ids.invalid) == 4
        assert "5ec2e7" not in str(ids)
