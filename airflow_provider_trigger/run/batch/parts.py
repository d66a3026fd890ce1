"""Divide the items of a batch, so that each part fits into one request. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_trigger.api.endpoints.batches import MAX_BATCH_SIZE, MAX_ITEMS_AT_ONCE, batch_item
from airflow_provider_trigger.api.endpoints.tasks import NO_PAYLOAD
from airflow_provider_trigger.api.http import encode_json
from airflow_provider_trigger.run.request import TaskRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The items that one request starts."""

    indexes: tuple[int, ...]
    """In ascending order."""
    requests: tuple[TaskRequest, ...]
    is_alone: bool = False
    """Whether it is one item that does not go into a batch."""

    @property
    def items(self) -> list[Any]:
        """The items as JSON."""
        return list(map(_item, self.requests))

    def alone(self) -> list[Part]:
        """Return its items, each for a request of its own."""
        return [
            Part(indexes=(index,), requests=(request,), is_alone=True)
            for index, request in zip(self.indexes, self.requests, strict=True)
        ]

    def __str__(self) -> str:
        first, last = self.indexes[0], self.indexes[-1]
        return f"item {first}" if first == last else f"items {first} to {last}"


def divide(requests: Mapping[int, TaskRequest]) -> Iterator[Part]:
    """Divide items, by their indexes, so that each part fits into one request."""
    indexes: list[int] = []
    total = 0
    for index, request in requests.items():
        size = len(encode_json(_item(request))) + 1  # and a comma
        if indexes and (len(indexes) == MAX_ITEMS_AT_ONCE or total + size > MAX_BATCH_SIZE):
            yield _part(indexes, requests)
            indexes, total = [], 0
        if size > MAX_BATCH_SIZE:
            yield _part([index], requests, is_alone=True)
            continue
        indexes.append(index)
        total += size
    if indexes:
        yield _part(indexes, requests)


def _part(indexes: Sequence[int], requests: Mapping[int, TaskRequest], *, is_alone: bool = False) -> Part:
    made = tuple(requests[index] for index in indexes)
    return Part(indexes=tuple(indexes), requests=made, is_alone=is_alone)


def _item(request: TaskRequest) -> Any:
    payload = NO_PAYLOAD if request.payload is None else request.payload
    return batch_item(request.task_identifier, payload=payload, options=request.options)
