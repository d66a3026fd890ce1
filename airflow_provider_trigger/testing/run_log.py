"""What the command line prints of runs: a line when one is started, and one when it ends."""

from __future__ import annotations

from collections.abc import Iterator

from .engine.store import Store


class RunLog:
    """
    Say what became of runs since it was last called.

    :param server: the server; the runs that it has already are known
    """

    def __init__(self, server: Store) -> None:
        self._server = server
        self._ended: dict[str, str] = {}
        self._known: set[str] = set()
        list(self.lines())

    def lines(self) -> Iterator[str]:
        """Yield a line for each run that was started, and for each that has ended, since the last call."""
        for run in list(self._server.runs.values()):
            if run.id not in self._known:
                self._known.add(run.id)
                yield f"{run.id}  started    {run.task_identifier}"
            state = run.state
            # A canceled run may still complete.
            if state.final and self._ended.get(run.id) != state.status:
                self._ended[run.id] = state.status
                seconds = ((state.finished_at or state.updated_at) - state.created_at).total_seconds()
                line = f"{run.id}  {state.status:9}  {run.task_identifier}  {seconds:.1f} s"
                is_failure = state.error is not None and state.status not in ("COMPLETED", "CANCELED")
                yield f"{line}  {state.error['message']}" if is_failure and state.error else line
