"""
A local Trigger.dev server, for demonstrations and for tests: ours, and those of whoever uses this package.

Needs the extra ``testing``::

    with TriggerDevServer() as server:
        run = server.add_run("EXECUTING")
        ...
        assert server.runs[run.id].status == "CANCELED"
        server.on_task("resize", output={"width": 100}, after=2)
        server.complete_token(token_id, {"approved": True})
        ...
"""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("starlette") is None or importlib.util.find_spec("uvicorn") is None:
    raise ModuleNotFoundError("The local server needs: pip install 'airflow-provider-trigger[testing]'")

from .app import RequestRecord
from .engine.batches import Batch
from .engine.bulk_actions import BulkAction
from .engine.environments import Environment
from .engine.runs import RunAttributes, ServerRun
from .engine.settings import UNSET
from .engine.tasks import TaskBehavior
from .engine.waitpoints import ServerToken
from .faults import RequestFilter
from .server import TriggerDevServer

__all__ = [
    "UNSET",
    "Batch",
    "BulkAction",
    "Environment",
    "RequestFilter",
    "RequestRecord",
    "RunAttributes",
    "ServerRun",
    "ServerToken",
    "TaskBehavior",
    "TriggerDevServer",
]
