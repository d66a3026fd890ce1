"""
A local Trigger.dev server, for demonstrations and for tests: ours, and those of whoever uses this package.

Needs the extra ``testing``::

    with TriggerDevServer() as server:
        run = server.add_run("EXECUTING")
        ...
        assert server.runs[run.id].status == "CANCELED"
"""

from __future__ import annotations

from .app import RequestRecord
from .environments import Environment
from .runs import Run
from .server import TriggerDevServer

__all__ = ["Environment", "RequestRecord", "Run", "TriggerDevServer"]
