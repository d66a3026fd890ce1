"""The tests of sensors run in a world."""

from __future__ import annotations

from in_world import clock

__all__ = ["clock"]
