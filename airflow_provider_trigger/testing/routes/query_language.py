"""
The SQL that the local server's query knows.

``SELECT columns FROM runs [WHERE condition] [ORDER BY columns [ASC | DESC]] [LIMIT number]``

A condition is a comparison (``= != < <= > >=``) of a column with a text, a number or a time,
``column [NOT] IN (…)``, ``column IS [NOT] NULL``, ``has(tags, '…')``, a boolean column, a comparison of
several columns at once, such as ``(completed_at, run_id) > ('…', '…')``, and any of these with ``AND``,
``OR``, ``NOT`` and parentheses. As in SQL, a comparison with NULL is neither true nor false. A time is a
text, in ISO 8601 or ``2026-11-28 09:00:00.123``, or ``toDateTime64('…', 3)``; without a zone it is in UTC.
NULL comes last, in both directions.

The real server knows much more SQL. These are rejected here, with 400:

=====================================================  =================================================
``count()``, ``max(…)``, all functions but the two     ``GROUP BY``, ``HAVING``, ``DISTINCT``
``*``, ``AS``, numbers and texts instead of columns    ``OFFSET``, ``LIMIT … BY``, ``NULLS FIRST``
other tables, joins, subqueries, ``UNION``, ``WITH``   ``LIKE``, ``BETWEEN``, ``<>``, ``==``, arithmetic
a comparison of two columns, or with the value first   ``(…, …) IN (…)``, ``"quoted"`` names, comments
=====================================================  =================================================
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NoReturn, TypeVar

from ..engine.server_time import moment, read_date
from .calls import InvalidBodyError
from .run_list import Entry

# True, false, or None for a comparison with NULL.
Condition = Callable[[Entry], bool | None]
T = TypeVar("T")

_TOKEN = re.compile(r"'(?:[^'\\]|\\.|'')*'|-?\d+(?:\.\d+)?|\w+|<=|>=|!=|\S", re.DOTALL)
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# One after the other, as the real server's code does: so `\\n` is a backslash and a new line.
_ESCAPES = {"''": "'", r"\'": "'", r"\b": "\b", r"\f": "\f", r"\r": "\r", r"\n": "\n", r"\t": "\t"}
_ESCAPES |= {r"\0": "", r"\a": "\a", r"\v": "\v", r"\\": "\\"}
# As the real server's code says.
_MOST_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Column:
    """A column: only ``has`` compares a list, ``None`` is NULL, and ``words``, if any, are the only texts."""

    kind: Literal["text", "number", "boolean", "time", "list"]
    value: Callable[[Entry], Any]
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a query selects; the order has columns, and whether they are descending."""

    columns: Sequence[str]
    condition: Condition
    order: Sequence[tuple[Column, bool]]
    limit: int

    def select(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return the runs that it selects, in order."""
        selected = list(filter(self.condition, entries))
        for column, descending in reversed(self.order):
            # Descending order begins with the greatest key, and is stable, too.
            selected.sort(key=_place_by(column.value, descending), reverse=descending)
        return selected[: self.limit]


def read_query(query: object, columns: Mapping[str, Column]) -> Selection:
    """Return what SQL selects; InvalidBodyError for what is not known here, and for an unknown column."""
    return _Parser(query if isinstance(query, str) else "", columns).selection()


def to_milliseconds(time: datetime | None) -> datetime | None:
    """Return a time as precise as the query has it."""
    return None if time is None else time.replace(microsecond=time.microsecond // 1000 * 1000)


def _place_by(value: Callable[[Entry], Any], descending: bool) -> Callable[[Entry], Any]:
    def place(entry: Entry) -> tuple[bool, Any]:
        found = value(entry)
        return (found is None) != descending, found

    return place


def _not(condition: Condition) -> Condition:
    return lambda entry: None if (found := condition(entry)) is None else not found


def _connected(conditions: Sequence[Condition], *, decisive: bool) -> Condition:
    """Connect conditions by OR if a true one decides, else by AND."""
    if len(conditions) == 1:
        return conditions[0]

    def test(entry: Entry) -> bool | None:
        result: bool | None = not decisive
        for condition in conditions:
            found = condition(entry)
            if found is decisive:
                return decisive
            if found is None:
                result = None
        return result

    return test


class _Parser:
    """Reads a query once, from left to right, into functions that are called with each run."""

    def __init__(self, query: str, columns: Mapping[str, Column]) -> None:
        self._tokens: list[str] = [*_TOKEN.findall(query), "", ""]
        self._columns = columns
        self._at = 0
        self._disjunctions: set[Condition] = set()

    def selection(self) -> Selection:
        self._expect("SELECT")
        names = self._list_of(self._column_name)
        self._expect("FROM", "RUNS")
        condition = self._disjunction() if self._takes("WHERE") else lambda entry: True
        order = self._list_of(self._direction) if self._takes("ORDER", "BY") else []
        limit = self._limit() if self._takes("LIMIT") else _MOST_ROWS
        if self._token:
            self._fail()
        return Selection(names, condition, order, min(limit, _MOST_ROWS))

    @property
    def _token(self) -> str:
        return self._tokens[self._at]

    def _takes(self, *words: str) -> bool:
        """Skip the next words if they are these, and return whether they were."""
        following = self._tokens[self._at : self._at + len(words)]
        if [token.upper() for token in following] != list(words):
            return False
        self._at += len(words)
        return True

    def _expect(self, *words: str) -> None:
        for word in words:
            if not self._takes(word):
                self._fail()

    def _next(self, *, if_: bool) -> str:
        if not if_:
            self._fail()
        self._at += 1
        return self._tokens[self._at - 1]

    def _fail(self) -> NoReturn:
        raise InvalidBodyError(
            f"Syntax error at line 1:0: the local server does not know {self._token or 'an end'!r} here. "
            "It knows SELECT … FROM runs WHERE … ORDER BY … LIMIT …, with AND, OR, NOT, (…), "
            "= != < <= > >=, IN (…), IS [NOT] NULL, has(tags, '…'), toDateTime64('…', 3) and "
            "(column, …) > ('…', …)"
        )

    def _list_of(self, read: Callable[[], T]) -> list[T]:
        found = [read()]
        while self._takes(","):
            found.append(read())
        return found

    def _column_name(self) -> str:
        is_name = self._token.isidentifier() and self._tokens[self._at + 1] != "("
        name = self._next(if_=is_name)
        if name not in self._columns:
            known = ", ".join(sorted(self._columns))
            raise InvalidBodyError(f'Unknown column "{name}". Available columns: {known}')
        return name

    def _column(self) -> Column:
        return self._columns[self._column_name()]

    def _direction(self) -> tuple[Column, bool]:
        column = self._column()
        descending = self._takes("DESC")
        if not descending:
            self._takes("ASC")
        return column, descending

    def _limit(self) -> int:
        return int(self._next(if_=self._token.isdecimal()))

    def _disjunction(self) -> Condition:
        found = [self._conjunction()]
        while self._takes("OR"):
            found.append(self._conjunction())
        condition = _connected(found, decisive=True)
        if len(found) > 1:
            self._disjunctions.add(condition)
        return condition

    def _conjunction(self) -> Condition:
        found = [self._negation()]
        while self._takes("AND"):
            found.append(self._negation())
        # The long ones come last: they are evaluated for those runs that pass the others.
        found.sort(key=self._disjunctions.__contains__)
        return _connected(found, decisive=False)

    def _negation(self) -> Condition:
        return _not(self._negation()) if self._takes("NOT") else self._condition()

    def _condition(self) -> Condition:
        if self._takes("("):
            if self._tokens[self._at + 1] == ",":
                return self._tuple_comparison()
            condition = self._disjunction()
            self._expect(")")
            return condition
        return self._has() if self._takes("HAS", "(") else self._comparison()

    def _has(self) -> Condition:
        column = self._column()
        if column.kind != "list":
            self._fail()
        self._expect(",")
        value, wanted = column.value, self._text()
        self._expect(")")
        return lambda entry: wanted in value(entry)

    def _comparison(self) -> Condition:
        column = self._column()
        value = column.value
        if self._takes("IS"):
            negated = self._takes("NOT")
            self._expect("NULL")
            return lambda entry: (value(entry) is None) is not negated
        if self._takes("NOT", "IN"):
            return _not(self._membership(column))
        if self._takes("IN"):
            return self._membership(column)
        if column.kind == "boolean":
            return value
        sign = self._next(if_=self._token in _SIGNS)
        compare, wanted = _SIGNS[sign], self._literal(column)
        if sign == "=":  # the most frequent one, without a further call
            return lambda entry: None if (found := value(entry)) is None else found == wanted
        return lambda entry: None if (found := value(entry)) is None else compare(found, wanted)

    def _membership(self, column: Column) -> Condition:
        self._expect("(")
        value, wanted = column.value, frozenset(self._list_of(lambda: self._literal(column)))
        self._expect(")")
        return lambda entry: None if (found := value(entry)) is None else found in wanted

    def _tuple_comparison(self) -> Condition:
        columns = self._list_of(self._column)
        self._expect(")")
        compare = _SIGNS[self._next(if_=self._token in _SIGNS)]
        literals = []
        for index, column in enumerate(columns):
            self._expect("," if index else "(")
            literals.append(self._literal(column))
        self._expect(")")
        values, wanted = [column.value for column in columns], tuple(literals)

        def test(entry: Entry) -> bool | None:
            found = tuple([value(entry) for value in values])
            return None if None in found else compare(found, wanted)

        return test

    def _literal(self, column: Column) -> Any:
        if column.kind == "number":
            return float(self._next(if_=re.fullmatch(r"-?\d.*", self._token) is not None))
        if column.kind == "time":
            return self._time()
        if column.kind != "text":
            self._fail()
        text = self._text()
        if not column.words:
            return text
        if text.lower() not in column.words:
            known = ", ".join(column.words.values())
            raise InvalidBodyError(f'Invalid value "{text}". Allowed values: {known}')
        return column.words[text.lower()]

    def _text(self) -> str:
        text = self._next(if_=len(self._token) > 1 and self._token[0] == "'")[1:-1]
        for written, meant in _ESCAPES.items():
            text = text.replace(written, meant)
        return text

    def _time(self) -> datetime | None:
        is_converted = self._takes("TODATETIME64", "(")
        text = self._text()
        if is_converted:
            self._expect(",", "3", ")")
        try:
            return to_milliseconds(moment(read_date(text)))
        except ValueError:
            raise InvalidBodyError(f"Cannot parse time '{text}'") from None
