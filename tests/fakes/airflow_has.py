"""What only some Airflows have, for tests of it."""

from __future__ import annotations

from airflow import __version__

VERSION = tuple(map(int, __version__.split(".")[:2]))

WATCHERS = VERSION >= (3, 0) and __version__ != "3.0.4"
"""Whether watchers of assets can store a position."""

ASSET_STATES = VERSION >= (3, 3)
"""Whether an asset has a state, where they store it."""
