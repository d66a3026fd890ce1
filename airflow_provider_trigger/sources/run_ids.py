"""Whatever XCom holds becomes a clean list of run ids, and what is none is named."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from airflow_provider_trigger._compat import items_of

MAX_LENGTH = 256
"""Real ids have 29 characters; what is longer than this is none."""

_MAX_DEPTH = 10
_SHOWN_LENGTH = 80
_LAZY_SEQUENCE = re.compile(r"Lazy\w*Sequence\(")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """
    A value that is no run id.

    :param shown: its ``repr``, cut to a sane length
    :param source: where it came from
    :param reason: why it is none
    """

    shown: str
    source: str
    reason: str

    def __str__(self) -> str:
        return f"{self.shown} from {self.source}: {self.reason}"


@dataclass(slots=True)
class RunIds:
    """
    Run ids in their order, each once, and what was found beside them.

    :param unreadable: what is no id
    :param skipped: where a ``None`` stood
    :param silent_tasks: the tasks that pushed nothing
    """

    unreadable: list[Unreadable] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    silent_tasks: list[str] = field(default_factory=list)
    _found: dict[str, None] = field(default_factory=dict)
    _taken: int = 0

    @property
    def found(self) -> list[str]:
        """The ids in their order, each once."""
        return list(self._found)

    def add(self, value: object, *, source: str) -> None:
        """
        Take in a value: an id, a dict with ``id`` or ``run_id``, the text of a list, any nesting of these.

        :param value: what XCom, Jinja or the Dag's author gave
        :param source: where it came from, for messages
        """
        self._add(value, source, depth=0)

    def add_from_xcom(
        self,
        task_ids: str | Iterable[str],
        *,
        key: str,
        known_task_ids: Collection[str] | None,
        pull: Callable[[str], object],
    ) -> None:
        """
        Take in what tasks pushed.

        :param task_ids: one or more
        :param key: of the XCom, for messages
        :param known_task_ids: the Dag's; a task it does not have is unreadable, as a typo must not pass; None
            where there is no Dag to ask
        :param pull: returns what a task pushed, None if nothing
        """
        for task_id in [task_ids] if isinstance(task_ids, str) else task_ids:
            if known_task_ids is not None and task_id not in known_task_ids:
                like = get_close_matches(str(task_id), known_task_ids, n=1)
                hint = f"; did you mean {like[0]!r}?" if like else ""
                self._refuse(task_id, "xcom_task_ids", f"the Dag has no such task{hint}")
                continue
            before = self._count()
            value = pull(task_id)
            if value is not None:
                self.add(value, source=f"the XCom {key!r} of task {task_id!r}")
            if self._count() == before:
                self.silent_tasks.append(task_id)

    def _count(self) -> int:
        return self._taken + len(self.unreadable) + len(self.skipped)

    def _add(self, value: object, source: str, depth: int) -> None:
        if value is None:
            self.skipped.append(source)
        elif isinstance(value, str):
            self._add_text(value, source, depth)
        elif isinstance(value, Mapping):
            self._add_mapping(value, source, depth)
        elif isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
            if depth >= _MAX_DEPTH:
                self._refuse(value, source, "lists within lists, too deep")
                return
            for index, item in enumerate(items_of(value)):
                self._add(item, f"{source}[{index}]" if depth == 0 else source, depth + 1)
        else:
            self._refuse(value, source, f"a run id is text, not {type(value).__name__}")

    def _add_mapping(self, value: Mapping[object, object], source: str, depth: int) -> None:
        texts = {value[key] for key in ("id", "run_id") if isinstance(value.get(key), str)}
        # An "id" beside a "run_id" may be anything's.
        ids = [str(text) for text in texts if len(texts) == 1 or str(text).startswith("run_")]
        if len(ids) == 1:
            self._add_id(ids[0], source)
        elif texts:
            self._refuse(value, source, "its 'id' and its 'run_id' differ")
        else:
            self._refuse(value, source, "a dict without the text 'id' or 'run_id'")

    def _add_text(self, text: str, source: str, depth: int) -> None:
        stripped = text.strip()
        if "{{" in stripped or "{%" in stripped:
            self._refuse(text, source, "Jinja that was not rendered")
        elif stripped[:1] in ("[", "(", "{", '"', "'"):
            self._add_literal(stripped, source, depth)
        elif _LAZY_SEQUENCE.match(stripped):
            self._refuse(
                text,
                source,
                "Jinja turned mapped outputs into text; use xcom_task_ids, or the task's .output",
            )
        elif "," in stripped or any(map(str.isspace, stripped)):
            for part in re.split(r"[,\s]+", stripped.strip(",")):
                self._add_id(part, source)
        else:
            self._add_id(stripped, source)

    def _add_literal(self, text: str, source: str, depth: int) -> None:
        """Read what Jinja makes of a list or dict, or JSON."""
        for read in (json.loads, ast.literal_eval):
            try:
                value = read(text)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                continue
            self._add(value, source, depth + 1)
            return
        self._refuse(text, source, "it looks like a list, but cannot be read as one")

    def _add_id(self, text: str, source: str) -> None:
        if text in ("None", "null"):
            # What Jinja makes of a None.
            self.skipped.append(source)
        elif reason := _why_no_id(text):
            self._refuse(text, source, reason)
        else:
            self._found[text] = None
            self._taken += 1

    def _refuse(self, value: object, source: str, reason: str) -> None:
        try:
            # Of a dict the keys only: its values may be no one else's business.
            shown = f"a dict of {sorted(map(str, value))}" if isinstance(value, Mapping) else repr(value)
        except (RecursionError, ValueError):  # lists within lists, or a number, without end
            shown = f"<{type(value).__name__} that cannot be shown>"
        if len(shown) > _SHOWN_LENGTH:
            shown = f"{shown[:_SHOWN_LENGTH]}… ({len(shown)} characters)"
        self.unreadable.append(Unreadable(shown, source, reason))


def _why_no_id(text: str) -> str | None:
    if not text:
        return "an empty text"
    if len(text) > MAX_LENGTH:
        return f"longer than {MAX_LENGTH} characters"
    if text.isdigit():
        return "a number"
    if not text.isprintable() or any(map(str.isspace, text)) or ";" in text:
        return "it has characters that no run id has"
    if not any(map(str.isalnum, text)):
        return "it has no letter and no digit"
    return None
