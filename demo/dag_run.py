"""One run of an example Dag, and what became of its Trigger.dev runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from local_airflow import LocalAirflow

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import NotFoundError
from airflow_provider_trigger.api.runs import retrieve_run
from airflow_provider_trigger.api.statuses import FINAL_STATUSES
from airflow_provider_trigger.testing import TriggerDevServer

NOT_FOUND = "not found"
USER_AGENT = "airflow-provider-trigger demo"
"""What the demonstration's own requests are known by, which are not Airflow's."""

# What each line of a callback begins with.
_ORIGIN = re.compile(r"Dag '[^']*', Dag run '[^']*', task '[^']*': ")


@dataclass(frozen=True)
class StatusCheck:
    """What the server shows of a run; ``status`` is ``not found`` if it does not have the run."""

    status: str
    task_identifier: str = ""

    @property
    def outcome(self) -> str:
        """The outcome that the provider reports for a run that is seen like this after its cancel."""
        if self.status == NOT_FOUND:
            return "not_found"
        if self.status == "CANCELED":
            return "canceled"
        return "already_completed" if self.status in FINAL_STATUSES else "failed"


class OperatorRun:
    """
    A run of a Dag in which the operator cancels; it is started at once.

    :param airflow: has a database
    :param client: for the server of the Trigger.dev runs
    :param dag_id: the Dag
    :param run_ids: the Trigger.dev runs to cancel
    :param name: of its log, None for the Dag's id
    """

    def __init__(
        self,
        airflow: LocalAirflow,
        client: TriggerDevClient,
        dag_id: str,
        run_ids: list[str],
        *,
        name: str | None = None,
    ) -> None:
        self.dag_id = dag_id
        self.run_ids = run_ids
        self.before = check(client, run_ids)
        self.after = self.before
        self.command = airflow.start_dag(dag_id, {"run_ids": run_ids}, name=name or dag_id)
        self._client = client

    def wait(self) -> bool:
        """Wait for its end, check the Trigger.dev runs again, and return whether it succeeded."""
        code = self.command.wait()
        self.after = check(self._client, self.run_ids)
        return code == 0

    @property
    def why_it_fails(self) -> str | None:
        """Why the Dag run must fail, None if it must succeed."""
        return "because a run was not found" if self.unknown else None

    @property
    def unknown(self) -> list[str]:
        """The ids of the runs that the server does not have."""
        return [run_id for run_id, shown in self.before.items() if shown.status == NOT_FOUND]

    @property
    def alive(self) -> list[str]:
        """The ids of the runs that have not ended."""
        return [run_id for run_id, outcome in self.outcomes_on_server().items() if outcome == "failed"]

    def outcomes(self) -> dict[str, str]:
        """Return the outcome that is reported for each run: by the operator, in XCom."""
        return {result["run_id"]: result["outcome"] for result in self.command.result("cancel_runs") or []}

    def outcomes_on_server(self) -> dict[str, str]:
        """Return the outcomes by what the server shows."""
        return {run_id: shown.outcome for run_id, shown in self.after.items()}

    def seconds_of_cancel(self) -> float:
        """Return how long the cancel took: from the operator's first line in the log to its last."""
        return self.command.seconds_of_the_provider()


class CallbackRun(OperatorRun):
    """
    A run of a Dag whose task fails, and whose callback cancels; it is started at once.

    :param server: where the Trigger.dev runs are
    """

    why_it_fails = "because its task failed"

    def __init__(
        self,
        airflow: LocalAirflow,
        client: TriggerDevClient,
        dag_id: str,
        run_ids: list[str],
        *,
        server: TriggerDevServer,
    ) -> None:
        super().__init__(airflow, client, dag_id, run_ids)
        self._server = server

    def outcomes(self) -> dict[str, str]:
        """Return the outcomes by what the server shows; a callback puts none into XCom."""
        return self.outcomes_on_server()

    def seconds_of_cancel(self) -> float:
        """Return how long the cancel took: from the first request of the callback to the last."""
        times = [
            request.time
            for request in self._server.requests
            if request.headers["user-agent"] != USER_AGENT and any(map(request.path.count, self.run_ids))
        ]
        return max(times, default=0.0) - min(times, default=0.0)


def check(client: TriggerDevClient, run_ids: Iterable[str]) -> dict[str, StatusCheck]:
    """
    Return what the server shows of each run.

    :param client: for the server
    :param run_ids: of the runs
    :raises TriggerDevError: a status check failed
    """
    return {run_id: _check(client, run_id) for run_id in run_ids}


def _check(client: TriggerDevClient, run_id: str) -> StatusCheck:
    try:
        run = client.call(retrieve_run(run_id))
    except NotFoundError:
        return StatusCheck(NOT_FOUND)
    return StatusCheck(str(run.status), run.task_identifier)


def show(dag_run: OperatorRun) -> bool:
    """
    Wait for a Dag run, print its Trigger.dev runs, and return whether all is as expected.

    :param dag_run: has been started
    """
    some = f'"{dag_run.run_ids[0]}"' + ", …" * (len(dag_run.run_ids) > 1)
    print(f"  $ airflow dags test {dag_run.dag_id} --conf '{{\"run_ids\": [{some}]}}'", flush=True)
    failed = not dag_run.wait()
    lines = dag_run.command.lines_of_the_provider()
    for line in _shortened(lines):
        print(f"  | {line}")
    outcomes = dag_run.outcomes()
    _print_runs(dag_run.before, dag_run.after, outcomes)
    is_expected = failed == bool(dag_run.why_it_fails)
    log = os.path.relpath(dag_run.command.log)
    state = f"failed, as expected, {dag_run.why_it_fails}" if failed else "succeeded"
    if not is_expected:
        state = f"{'failed' if failed else 'succeeded'}, which is NOT expected: see {log}"
    print(f"  The Dag run {state}.")
    is_good, ending = _ending(dag_run, outcomes)
    print(f"  {ending}")
    if lines:
        print(
            f"  The cancel took {dag_run.seconds_of_cancel():.2f} s, "
            f"the whole Dag run {dag_run.command.seconds:.1f} s, with the start of Airflow."
        )
    else:
        print(f"  The end of {log}:", *dag_run.command.last_lines(), sep="\n  ")
    print(flush=True)
    return is_expected and is_good


def _ending(dag_run: OperatorRun, outcomes: Mapping[str, str]) -> tuple[bool, str]:
    if dag_run.alive:
        return False, f"STILL RUNNING: {', '.join(dag_run.alive)}"
    if outcomes != dag_run.outcomes_on_server():
        return False, "The outcomes in the table are NOT what the server shows."
    if dag_run.unknown:
        unknown = ", ".join(dag_run.unknown)
        return True, f"All other runs have ended. Not found with this secret key: {unknown}"
    return True, "All runs have ended."


def _shortened(lines: Sequence[str]) -> Sequence[str]:
    """Return lines with the names that all lines of a callback begin with in a line of their own."""
    match = _ORIGIN.match(lines[0]) if lines else None
    if not match:
        return lines
    return [match[0].rstrip(), *(f"… {line.removeprefix(match[0])}" for line in lines)]


def _print_runs(
    before: Mapping[str, StatusCheck], after: Mapping[str, StatusCheck], outcomes: Mapping[str, str]
) -> None:
    """Print each run's status before and after, and its outcome."""
    rows = [["run", "task", "before", "after", "outcome"]]
    for run_id, shown in before.items():
        outcome = outcomes.get(run_id, "unknown").replace("_", " ")
        rows.append([run_id, shown.task_identifier, shown.status, after[run_id].status, outcome])
    print_table(rows)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """
    Print a table.

    :param rows: the first one is the heading
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print()
    for row in [rows[0], ["-" * width for width in widths], *rows[1:]]:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()
