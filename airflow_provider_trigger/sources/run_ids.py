"""Read ids from any value that XCom, Jinja or the author of a Dag gives, and log what it held besides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from airflow_provider_trigger.log import (
    MAX_LINES,
    Level,
    Line,
    Log,
    enumeration,
    without_token_secrets,
    write,
)
from airflow_provider_trigger.rules import SEQUENCE_TEXT, read_literal

if TYPE_CHECKING:
    from airflow_provider_trigger.run.identity import TaskInstanceIdentity

MAX_SHOWN = 80  # characters of an invalid value in a message

_NO_XCOM = "a template probably found no XCom: check task_ids and key in it"
# Up to 256 characters, and no number; real ones have 29, of tokens 35.
_ID = re.compile(r"(?!\d+$)(?=.*[^\W_])[\w.:-]{1,256}", re.ASCII)
_ADDRESS = re.compile(r"[^?#]*/waitpoints/tokens/(waitpoint_\w+)(?:/.*)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class IdKind:
    """The kind of an id: of a run, or of a waitpoint token."""

    name: str
    argument: str
    prefix: str  # of real ones; a value that begins otherwise is left to the server
    keys: tuple[str, ...]  # of a dict, where its id may be
    valid: str  # what a value must be


RUN_IDS = IdKind(
    name="run id",
    argument="run_ids",
    prefix="run_",
    keys=("id", "run_id"),
    valid="it must be an id (run_…), a list of ids, or a dict with 'id', 'run_id' or, of a batch, 'runs'",
)
TOKEN_IDS = IdKind(
    name="token id",
    argument="token_ids",
    prefix="waitpoint_",
    keys=("id", "token_id", "url"),
    valid="it must be an id (waitpoint_…), a token's URL, a list of these, or a dict with 'id', 'token_id' "
    "or 'url'",
)


@dataclass(slots=True)
class RunIds:
    """Collect ids in their order, each once, and what else their sources held."""

    found: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    """A sentence for each value that is not an id, nor the id of a task."""
    too_many: list[str] = field(default_factory=list)
    """A sentence where more runs were found than may be canceled."""
    has_none: bool = False  # next to other values
    empty: list[str] = field(default_factory=list)
    """A sentence for each source that gave nothing at all."""
    failed: list[str] = field(default_factory=list)
    """A sentence for each source that could not be read."""
    lacking: list[TaskInstanceIdentity] = field(default_factory=list)
    """The task instances that have pushed only some of their ids; a search by their tag finds the others."""
    kind: IdKind = RUN_IDS
    rest: Iterator[list[str]] = field(default=iter(()), repr=False, compare=False)
    """Reads the sources that are not read yet, and yields all ids so far after each."""

    def add(self, value: object, *, source: str) -> bool:
        """Add the ids of a value, from a source that messages name; return whether a None is next to them."""
        seen, nones, count = set(self.found), 0, 0
        for item, reason in _read(value, self.kind):
            count += 1
            if reason:
                error = invalid_value(item, source=source, kind=self.kind.name, reason=reason)
                self.invalid.append(str(error))
            elif not isinstance(item, str):
                nones += 1
            elif item not in seen:
                seen.add(item)
                self.found.append(item)
        if count > nones:
            self.has_none |= nones > 0
        elif nones:
            self.empty.append(f"{source} is None: a task returned None or was skipped, or {_NO_XCOM}")
        else:
            self.empty.append(f"{source} is an empty list")
        return 0 < nones < count


def hint(found: str, kind: IdKind = RUN_IDS) -> str | None:
    """Return what may be wrong with an id that the server does not know, None if it looks like one."""
    if found.startswith(kind.prefix):
        return None
    if kind is RUN_IDS and found.startswith("batch_"):
        return f"{found!r} is a batch's id, not a run's: give the batch's runs"
    shape = f"{kind.name} ({kind.prefix}…)"
    return f"{found!r} does not look like a {shape}; is it a task's id? use xcom_task_ids"


def show(value: object) -> str:
    """Return how a message shows a value: shortened, of a dict the keys, without the secret of an address."""
    shown = f"a dict of {sorted(map(str, value))}" if isinstance(value, Mapping) else repr(value)
    shown = without_token_secrets(shown)
    return shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}… ({len(shown)} characters)"


def invalid_value(value: object, *, source: str, kind: str, reason: str) -> ValueError:
    """Return the error for a value that cannot be what its source takes, such as an id."""
    return ValueError(f"{show(value)} from {source} is not a valid {kind}: {reason}")


_Item = tuple[object, str]
"""An id or None, and nothing; or a value that is neither, and why."""


def _read(value: object, kind: IdKind) -> Iterator[_Item]:
    if value is None:
        yield None, ""
    elif isinstance(value, str):
        yield from _read_text(value.strip(), kind)
    elif isinstance(value, Mapping):
        yield from _read_mapping(value, kind)
    elif not isinstance(value, Iterable) or isinstance(value, (bytes, bytearray)):
        yield value, kind.valid
    else:
        for item in value:
            yield from _read(item, kind)


def _read_mapping(value: Mapping[object, object], kind: IdKind) -> Iterator[_Item]:
    runs, count = value.get("runs"), value.get("runCount")
    if kind is RUN_IDS and isinstance(runs, (list, tuple)):  # the answer of a batch call, whose id is its own
        yield from _read(runs, kind)
        # All runs of a COMPLETED batch have ended.
        if isinstance(count, int) and len(runs) < count and value.get("status") != "COMPLETED":
            batch_id = value.get("id", value.get("batchId"))
            yield value, f"it names {len(runs)} of the batch's {count} runs; use batch_ids={batch_id!r}"
        return
    texts = {text for key in kind.keys if isinstance(text := value.get(key), str)}
    # An "id" next to a "run_id" may belong to anything.
    ids = [text for text in texts if len(texts) == 1 or text.startswith(kind.prefix)]
    if len(ids) == 1 and not ids[0].startswith("batch_"):
        yield _read_id(ids[0], kind)
    else:
        yield value, kind.valid


def _read_text(text: str, kind: IdKind) -> Iterator[_Item]:
    if "{{" in text or "{%" in text:
        yield text, "it is a Jinja template that was not rendered"
    elif "{" in text or text.startswith(("[", "(", '"', "'")):
        try:
            value = read_literal(text)
        except ValueError:
            yield text, "it looks like a list or a dict, but cannot be read as one"
        else:
            for item, reason in _read(value, kind):
                # Python joins two texts without a comma between them.
                is_joined = isinstance(item, str) and not reason and item not in text
                yield item, "two ids were read as one: separate them by a comma" if is_joined else reason
    elif SEQUENCE_TEXT.match(text):
        yield text, "Jinja turned mapped outputs into text; use xcom_task_ids, or the task's .output"
    else:
        for part in text.replace(",", " ").split() or [""]:
            yield _read_id(part, kind)


def _read_id(text: str, kind: IdKind) -> _Item:
    if text in ("None", "null"):
        return None, ""
    address = _ADDRESS.fullmatch(text) if kind is TOKEN_IDS else None
    found = address[1] if address else text
    if kind is TOKEN_IDS and found.startswith(RUN_IDS.prefix):
        return text, "it is the id of a run"
    if _ID.fullmatch(found):
        return found, ""
    return text, kind.valid if text else f"it is empty: {_NO_XCOM}"


def all_valid(value: object, kind: IdKind = RUN_IDS, argument: str = "run_ids") -> list[str]:
    """Return the ids that an argument holds, each once; a ValueError names what is not one."""
    value = list(value) if isinstance(value, Iterator) else value
    ids = RunIds(kind=kind)
    ids.add(value, source=argument)
    problems = ids.invalid + [f"a value of {argument} is None"] * ids.has_none
    if value is None or value:  # an empty list is valid
        problems += ids.empty
    if problems:
        raise ValueError(enumeration(problems, "; "))
    return ids.found


def exactly_one(value: object, kind: IdKind = RUN_IDS) -> str:
    """Return the one id that a value holds; ValueError if it does not hold exactly one."""
    argument = kind.argument.removesuffix("s")
    found = all_valid(value, kind, argument)
    if len(found) != 1:
        what = f"{argument} must contain exactly one {kind.name}"
        raise ValueError(f"{what}, not {len(found)}: {show(value)}")
    return found[0]


Reaction = Literal["fail", "ignore"]


def problems_of_sources(ids: RunIds, on_empty: Reaction) -> list[str]:
    """Return what is wrong with the sources of ids, the kind that says the most first."""
    empty = ids.empty if on_empty == "fail" else []
    return [enumeration(kind, "; ") for kind in (ids.too_many, ids.invalid, ids.failed, empty) if kind]


def log_sources(log: Log, ids: RunIds, *, on_empty: Reaction, origin: str = "") -> None:
    """Log what was found besides ids, up to ``MAX_LINES`` lines of each kind."""
    level: Level = "error" if on_empty == "fail" else "warning"
    lines: list[Line] = [(level, text) for text in ids.empty[:MAX_LINES]]
    kinds = (ids.too_many, ids.invalid, ids.failed)
    lines += [("error", text) for kind in kinds for text in kind[:MAX_LINES]]
    write(log, lines, origin=origin)
