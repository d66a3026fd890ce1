"""Read ids from any value that XCom, Jinja or the author of a Dag gives, and log what it held besides."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from airflow_provider_trigger.log import Line, Log, write
from airflow_provider_trigger.wording import MAX_LINES, enumeration

MAX_LENGTH = 256
"""The longest id that is accepted; real ones have 29 characters, of tokens 35."""

SEQUENCE_TEXT = re.compile(r"Lazy\w{0,30}Sequence\((?:\[\d+ items?\]|<unevaluated length>)\)")
"""
What Jinja makes of the outputs of a mapped task, where it does not render natively.

Its word has a limit, else a search would take the square of a text's length.
"""

MAX_SHOWN = 80
"""How many characters of an invalid value a message shows."""

_NONE_TEXTS = ("None", "null")
_LITERAL_STARTS = ("[", "(", "{", '"', "'")
_LIST_REASON = "it looks like a list, but cannot be read as one"
_DICT_REASON = "it looks like a dict, but cannot be read as one; a template needs double braces: {{ … }}"
_BATCH_PREFIX = "batch_"
_BATCH_REASON = (
    "it is a batch without its run ids: give the 'runs' of the SDK's batch.retrieve, "
    "or of GET /api/v2/batches/{id}"
)
_NO_XCOM = "probably found no XCom: check task_ids and key in it"
_SEPARATORS = re.compile(r"[,\s]+")
_URL_SEPARATORS = re.compile(r"\s+|,(?=https?://)")  # the query of a URL may hold commas
_ID_CHARACTERS = re.compile(r"[\w.:-]+", re.ASCII)
# What follows it in the address of a waitpoint token is a secret.
_SECRET = re.compile(r"(?<=callback/)[^\s'\",\])}]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class IdKind:
    """What ids are of."""

    name: str
    argument: str
    prefix: str
    """What real ones begin with; a value that begins otherwise is left to the server."""
    keys: tuple[str, ...]
    """Of a dict, where its id may be."""
    in_path: re.Pattern[str]
    url: str
    """What a URL must be that of."""
    instead: str
    """The operator for where a callback has no XCom."""


RUN_IDS = IdKind(
    name="run id",
    argument="run_ids",
    prefix="run_",
    keys=("id", "run_id"),
    in_path=re.compile(r"/runs/(run_\w+)(?:/|$)"),
    url="a run: …/runs/run_…",
    instead="CancelTriggerRunOperator",
)
TOKEN_IDS = IdKind(
    name="token id",
    argument="token_ids",
    prefix="waitpoint_",
    keys=("id", "token_id", "url"),
    in_path=re.compile(r"/waitpoints/tokens/(waitpoint_\w+)(?:/|$)"),
    url="a waitpoint token: …/waitpoints/tokens/waitpoint_…",
    instead="CompleteWaitpointTokenOperator",
)


@dataclass(frozen=True, slots=True)
class _NoneValue:
    source: str


@dataclass(slots=True)
class RunIds:
    """Collect ids in their order, each once, and what else their sources held."""

    found: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    """A sentence for each value that is not an id, nor the id of a task."""
    skipped: list[str] = field(default_factory=list)
    """The sources of a ``None`` next to other values."""
    empty: list[str] = field(default_factory=list)
    """A sentence for each source that gave nothing at all."""
    failed: list[str] = field(default_factory=list)
    """A sentence for each source that could not be read."""
    kind: IdKind = RUN_IDS
    rest: Iterator[list[str]] = field(default=iter(()), repr=False, compare=False)
    """Reads the sources that are not read yet, and yields all ids so far after each."""
    _seen: set[str] = field(default_factory=set, repr=False)

    def add(self, value: object, *, source: str) -> None:
        """
        Add the ids that a value holds; ``source`` is where it came from, for messages.

        It may be an id, a URL with one, a dict with ``id`` or ``run_id``, the answer of a batch call with
        ``runs``, any nesting of these in lists, or the text of such a list.
        """
        nones: list[str] = []
        count = 0
        for item in _Reader(self.kind, source).read(value):
            count += 1
            if isinstance(item, _NoneValue):
                nones.append(item.source)
            elif isinstance(item, ValueError):
                self.invalid.append(str(item))
            elif item not in self._seen:
                self._seen.add(item)
                self.found.append(item)
        if count == len(nones):
            self.empty.append(_describe_empty(value, source, self.kind, holds_none=bool(nones)))
        else:
            self.skipped += nones


def hint(found: str, kind: IdKind = RUN_IDS) -> str | None:
    """Return what may be wrong with an id that the server does not know, None if it looks like one."""
    if found.startswith(kind.prefix):
        return None
    if kind is RUN_IDS and found.startswith(_BATCH_PREFIX):
        return f"{found!r} is a batch's id, not a run's: give the batch's runs"
    shape = f"{kind.name} ({kind.prefix}…)"
    return f"{found!r} does not look like a {shape}; is it a task's id? use xcom_task_ids"


def read_literal(text: str) -> object:
    """Read what Jinja makes of a list, a dict or a quoted text, or JSON; ValueError if it is neither."""
    for read in (json.loads, ast.literal_eval):
        try:
            value: object = read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        return value
    raise ValueError("neither JSON nor a Python literal")


def show(value: object) -> str:
    """
    Return how a message shows a value: shortened, without the secret of a token's address.

    Of a dict it shows only the keys, as values may be private.
    """
    try:
        shown = f"a dict of {sorted(map(str, value))}" if isinstance(value, Mapping) else repr(value)
    except Exception:
        # Any error: a __repr__ may raise what it likes, and lists within lists may have no end.
        shown = f"<{type(value).__name__} that cannot be shown>"
    shown = _SECRET.sub("…", shown)
    return shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}… ({len(shown)} characters)"


def invalid_value(value: object, *, source: str, kind: str, reason: str) -> ValueError:
    """Return the error for a value that cannot be what its source takes, such as an id."""
    return ValueError(f"{show(value)} from {source} is not a valid {kind}: {reason}")


_Item = str | ValueError | _NoneValue
"""An id, or what is in the place of one."""


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the ids of a kind that a value from some source holds."""

    kind: IdKind
    source: str
    is_item: bool = False
    """Whether it reads a part of a list, whose place the source names already."""

    def read(self, value: object) -> Iterator[_Item]:
        if value is None:
            yield _NoneValue(self.source)
        elif isinstance(value, str):
            yield from self._read_text(value.strip())
        elif isinstance(value, Mapping):
            yield from self._read_mapping(value)
        elif not isinstance(value, Iterable) or isinstance(value, (bytes, bytearray)):
            yield self._invalid(value, f"it must be a string, not {type(value).__name__}")
        else:
            for index, item in enumerate(value):
                one = self if self.is_item else replace(self, source=f"{self.source}[{index}]", is_item=True)
                yield from one.read(item)

    def _read_mapping(self, value: Mapping[object, object]) -> Iterator[_Item]:
        is_run, keys = self.kind is RUN_IDS, self.kind.keys
        runs = value.get("runs") if is_run else None
        if isinstance(runs, (list, tuple)):  # the answer of a batch call, whose id is the batch's
            yield from self.read(runs)
            return
        texts = {text for key in keys if isinstance(text := value.get(key), str)}
        # An "id" next to a "run_id" may belong to anything.
        ids = [text for text in texts if len(texts) == 1 or text.startswith(self.kind.prefix)]
        if len(ids) == 1 and not (is_run and ids[0].startswith(_BATCH_PREFIX)):
            yield self._read_id(ids[0])
        elif len(texts) > 1:
            yield self._invalid(value, f"its {' and its '.join(map(repr, keys[:2]))} differ")
        elif is_run and (texts or isinstance(value.get("batchId"), str)):
            yield self._invalid(value, _BATCH_REASON)
        else:
            shape = f"{' or '.join(map(repr, keys))}, a string"
            yield self._invalid(value, f"a dict must have {shape}" + ", or 'runs', a list" * is_run)

    def _read_text(self, text: str) -> Iterator[_Item]:
        if "{{" in text or "{%" in text:
            yield self._invalid(text, "it is a Jinja template that was not rendered")
        elif "{" in text or text.startswith(_LITERAL_STARTS):
            try:
                value = read_literal(text)
            except ValueError:
                yield self._invalid(text, _DICT_REASON if "{" in text else _LIST_REASON)
            else:
                yield from replace(self, is_item=True).read(value)
        elif SEQUENCE_TEXT.match(text):
            reason = "Jinja turned mapped outputs into text; use xcom_task_ids, or the task's .output"
            yield self._invalid(text, reason)
        else:
            separators = _URL_SEPARATORS if "://" in text else _SEPARATORS
            parts = [part.strip(",") for part in separators.split(text)]
            for part in [part for part in parts if part] or [""]:
                yield self._read_id(part)

    def _read_id(self, text: str) -> _Item:
        if text in _NONE_TEXTS:
            return _NoneValue(self.source)
        found = text
        if "/" in text:
            in_path = self.kind.in_path.search(re.split(r"[?#]", text)[0])
            if in_path is None:
                return self._invalid(text, f"a URL must be that of {self.kind.url}")
            found = in_path[1]
        reason = self._why_invalid(found)
        return self._invalid(text, reason) if reason else found

    def _why_invalid(self, found: str) -> str | None:
        if not found:
            return f"it is empty; if it is a template, it {_NO_XCOM}"
        if len(found) > MAX_LENGTH:
            return f"it is longer than {MAX_LENGTH} characters"
        if found.isdigit():
            return "it is a number"
        if not _ID_CHARACTERS.fullmatch(found):
            return f"it has characters that a {self.kind.name} cannot have"
        if not any(map(str.isalnum, found)):
            return "it has no letter and no digit"
        return None

    def _invalid(self, value: object, reason: str) -> ValueError:
        return invalid_value(value, source=self.source, kind=self.kind.name, reason=reason)


def _describe_empty(value: object, source: str, kind: IdKind, *, holds_none: bool) -> str:
    text = value.strip() if isinstance(value, str) else None
    if value is None:
        output = "if it is a task's output, the task returned None or was skipped"
        return f"{source} is None: {output}; if it is a template, it {_NO_XCOM}"
    if text in _NONE_TEXTS:
        return f"{source} rendered to None: the template {_NO_XCOM}"
    if holds_none:
        return f"{source} holds nothing but None"
    if text in ("[]", "()") or (isinstance(value, (list, tuple, set, frozenset)) and not value):
        return f"{source} is an empty list"
    return f"{source} holds no {kind.name}s"


def all_valid(value: object, kind: IdKind = RUN_IDS) -> list[str]:
    """Return the ids that a value holds, each once; a ValueError names what is not one."""
    if isinstance(value, Iterator):
        value = list(value)
    ids = RunIds(kind=kind)
    ids.add(value, source=kind.argument)
    problems = [*ids.invalid, *(f"{source} is None" for source in ids.skipped)]
    if value is None or value:  # an empty list is valid
        problems += ids.empty
    if problems:
        raise ValueError(enumeration(problems, "; "))
    return ids.found


def exactly_one(value: object, kind: IdKind = RUN_IDS) -> str:
    """Return the one id that a value holds; ValueError if it does not hold exactly one."""
    found = all_valid(value, kind)
    if len(found) != 1:
        argument = kind.argument.removesuffix("s")
        what = f"{argument} must contain exactly one {kind.name}"
        raise ValueError(f"{what}, not {len(found)}: {show(value)[:80]}")
    return found[0]


Reaction = Literal["fail", "ignore"]


def problems_of_sources(ids: RunIds, on_empty: Reaction) -> list[str]:
    """Return what is wrong with the sources of ids, the kind that says the most first."""
    empty = ids.empty if on_empty == "fail" else []
    return [enumeration(kind, "; ") for kind in (ids.invalid, ids.failed, empty) if kind]


def log_sources(log: Log, ids: RunIds, *, on_empty: Reaction, origin: str = "") -> None:
    """Log what was found besides ids, up to ``MAX_LINES`` lines of each kind."""
    write(log, _lines(ids, on_empty), origin=origin)


def _lines(ids: RunIds, on_empty: Reaction) -> Iterator[Line]:
    if count := len(ids.skipped):
        what = "value that is None" if count == 1 else "values that are None"
        yield "info", f"Skipped {count} {what}: {enumeration(ids.skipped)}"
    for sentence in ids.empty[:MAX_LINES]:
        yield ("error" if on_empty == "fail" else "warning"), sentence
    for problem in (*ids.invalid[:MAX_LINES], *ids.failed[:MAX_LINES]):
        yield "error", problem
