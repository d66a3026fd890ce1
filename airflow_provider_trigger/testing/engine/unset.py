"""What stands for a value that is not there, where ``None`` has a meaning of its own."""

from __future__ import annotations

import enum


class Unset(enum.Enum):
    """The type of :data:`UNSET`: no output, no payload, or an argument that is not given."""

    UNSET = enum.auto()


UNSET = Unset.UNSET
