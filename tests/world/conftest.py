"""Each test runs within its world."""

from __future__ import annotations

from in_world import pytest_pyfunc_call, world

__all__ = ["pytest_pyfunc_call", "world"]
