"""One clock for all parts of a local server."""

from __future__ import annotations

import pytest
from fake_clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()
