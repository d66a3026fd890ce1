"""Tasks that let a test look at them, hold them and let them go. No Dag is in here."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from e2e_names import BaseOperator

from airflow_provider_trigger.api.runs import cancel_run
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

STATE = Path(os.environ.get("E2E_STATE_DIR", "."))


class Work(BaseOperator):
    """
    Stand for a task that waits for its Trigger.dev run, and cancels that run when it is killed.

    :param tries: what becomes of each try: "succeed", "fail", "hold": it succeeds when the test lets it go,
        or "hold and fail"
    :param trigger_run_id: the run that ``on_kill`` cancels
    """

    template_fields = ("trigger_run_id",)

    def __init__(self, *, tries: tuple[str, ...], trigger_run_id: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tries = tries
        self.trigger_run_id = trigger_run_id

    def execute(self, context: Any) -> None:
        ti = context["ti"]
        # A signal handler must not ask Airflow for a connection, so all that on_kill needs is made here.
        self.client = TriggerDevHook().get_client()
        name = note_start(context)
        doing = self.tries[min(ti.try_number, len(self.tries)) - 1]
        if doing.startswith("hold"):
            _hold(STATE / f"{name}.release")
        if doing.endswith("fail"):
            raise RuntimeError("this task fails because the test wants it to")

    def on_kill(self) -> None:
        if self.trigger_run_id:
            self.client.call(cancel_run(self.trigger_run_id))


def note_start(context: Any) -> str:
    """Write down which process runs this try of a task, which a test may kill; return its files' name."""
    ti = context["ti"]
    name = f"{context['run_id']}.{ti.task_id}.{ti.try_number}"
    draft = STATE / f"{name}.draft-{os.getpid()}"  # mapped instances have one name
    draft.write_text(json.dumps({"pid": os.getpid(), "parent": os.getppid()}))
    draft.rename(STATE / f"{name}.started")
    return name


def _hold(release: Path, timeout: float = 300) -> None:
    deadline = time.monotonic() + timeout
    while not release.exists():
        if time.monotonic() > deadline:
            raise TimeoutError("nobody let this task go")
        time.sleep(0.2)
