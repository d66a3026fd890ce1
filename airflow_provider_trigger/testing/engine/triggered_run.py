"""What a run was triggered with, which nothing that happens to it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from . import constants
from .environments import Environment
from .unset import UNSET


class RunAttributes(TypedDict, total=False):
    """
    What a run is given unchanged; the defaults are those of :class:`ServerRun`.

    :param task_identifier: the task that it runs
    :param tags: its tags
    :param payload: its payload, any JSON, also ``None``
    :param metadata: its metadata, any JSON; ``None`` for none
    :param idempotency_key: the key that it was triggered with
    :param ttl: how long it may be queued, such as ``10m``
    :param options: the options that it was triggered with, in the API's spelling
    :param batch_id: the batch that it was triggered by
    :param completes_despite_cancel: whether its worker completes the run when it is canceled
    """

    task_identifier: str
    tags: Sequence[str]
    payload: Any
    metadata: Any
    idempotency_key: str | None
    ttl: str | None
    options: Mapping[str, Any]
    batch_id: str | None
    completes_despite_cancel: bool


@dataclass(eq=False, kw_only=True)
class TriggeredRun:
    """What a :class:`ServerRun` was triggered with; it explains the parameters."""

    id: str
    environment: Environment
    task_identifier: str = constants.TASK_IDENTIFIER
    tags: Sequence[str] = ()
    payload: Any = UNSET
    metadata: Any = None
    idempotency_key: str | None = None
    ttl: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    batch_id: str | None = None
    trigger_function: str = "trigger"
