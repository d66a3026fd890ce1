"""
Watch a real Airflow cancel Trigger.dev runs: ``make demo``.

Without settings it cancels runs of a local server. With ``RUN_IDS=run_a,run_b`` it cancels exactly those, on
the server ``TRIGGER_API_URL`` with the key ``TRIGGER_SECRET_KEY``.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from local_airflow import AIRFLOW_VERSION, DEMO, LocalAirflow

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import NotFoundError, TriggerDevError
from airflow_provider_trigger.api.models.runs import FINAL_STATUSES
from airflow_provider_trigger.testing import TriggerDevServer

# Status and task of the runs that the demonstration puts into the local server.
RUNS_OF_THE_FIRST_DAG = [
    ("QUEUED", "send-newsletter"),
    ("DEQUEUED", "send-newsletter"),
    ("EXECUTING", "transcode-video"),
    ("WAITING", "wait-for-approval"),
    ("DELAYED", "remind-tomorrow"),
    ("PENDING_VERSION", "not-deployed-yet"),
    ("COMPLETED", "transcode-video"),
    ("FAILED", "import-orders"),
    ("EXPIRED", "warm-the-cache"),
    ("CANCELED", "import-orders"),
]
RUNS_OF_THE_FAILING_DAG = [
    ("EXECUTING", "train-model"),
    ("WAITING", "train-model"),
    ("QUEUED", "evaluate-model"),
    ("COMPLETED", "prepare-data"),
]
NOT_FOUND = "not found"


@dataclass(frozen=True)
class Look:
    """A run as the server shows it; ``status`` is ``not found`` where it shows none."""

    status: str
    task_identifier: str = ""

    @property
    def is_final(self) -> bool:
        """Whether the run has ended."""
        return self.status in FINAL_STATUSES


def main() -> int:
    """Run the demonstration and return its exit code."""
    named = os.environ.get("RUN_IDS", "").strip()
    return cancel_named_runs(named) if named else show_local_runs()


def show_local_runs() -> int:
    """Run the example Dags on a local server."""
    # A proxy is no way to this machine.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    with (
        TriggerDevServer() as server,
        TriggerDevClient(base_url=server.url, secret_key=server.secret_key) as client,
        LocalAirflow(url=server.url, secret_key=server.secret_key) as airflow,
    ):
        introduce(f"a Trigger.dev server on this machine, {server.url}")
        airflow.migrate()
        first = DagRun(airflow, client, "cancel_at_the_end", add_runs(server, RUNS_OF_THE_FIRST_DAG))
        failing = DagRun(airflow, client, "cancel_on_task_failure", add_runs(server, RUNS_OF_THE_FAILING_DAG))
        print("1. A Dag hands over run ids, and CancelTriggerRunOperator cancels those that are alive.\n")
        good = show(first, fails=False, outcomes=first.outcomes_in_xcom, good=first.is_told_truly)
        print("2. A task fails, and its on_failure_callback, CancelTriggerRunNotifier, cleans up.\n")
        good = show(failing, fails=True, outcomes=failing.outcomes_seen, good=failing.has_none_alive) and good
    if good:
        print("Both Dags are in example_dags/. To cancel runs of your own:\n")
        print("  export TRIGGER_API_URL=https://api.trigger.dev TRIGGER_SECRET_KEY=tr_…")
        print("  make demo RUN_IDS=run_a,run_b")
    return 0 if good else 1


def cancel_named_runs(text: str) -> int:
    """
    Cancel the runs that the user has named, on the user's server.

    :param text: run ids with commas between
    """
    run_ids = list(dict.fromkeys(run_id.strip() for run_id in text.split(",") if run_id.strip()))
    if not run_ids:
        raise SystemExit("error: RUN_IDS names no run; it is a list such as run_a,run_b")
    url = setting("TRIGGER_API_URL", "where the server is, such as https://api.trigger.dev").rstrip("/")
    secret_key = setting("TRIGGER_SECRET_KEY", "the secret key of the runs' environment, tr_…")
    if not url.startswith(("http://", "https://")):
        raise SystemExit("error: TRIGGER_API_URL starts with https:// or http://")
    with (
        TriggerDevClient(base_url=url, secret_key=secret_key, retry_for=10) as client,
        LocalAirflow(url=url, secret_key=secret_key) as airflow,
    ):
        introduce(url)
        look_at(client, run_ids[:1])  # a wrong key or address shows before Airflow starts
        airflow.migrate()
        run = DagRun(airflow, client, "cancel_at_the_end", run_ids)
        unknown = any(look.status == NOT_FOUND for look in run.before.values())
        return 0 if show(run, fails=unknown, outcomes=run.outcomes_in_xcom, good=run.has_all_ended) else 1


def setting(name: str, meaning: str) -> str:
    """Return a variable of the environment, or leave with an error that says what it is."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise SystemExit(f"error: RUN_IDS is set, but {name} is not: {meaning}")
    return value


def introduce(server: str) -> None:
    """Say what there is."""
    print(f"Airflow {AIRFLOW_VERSION}, on Python {platform.python_version()} and a new SQLite database.")
    print(f"Runs are canceled on {server}.")
    print(
        f"Lines with a | are the provider's log; all of Airflow's output is in {os.path.relpath(DEMO)}/*.log."
    )
    print(flush=True)


def add_runs(server: TriggerDevServer, runs: Iterable[tuple[str, str]]) -> list[str]:
    """Put runs into the local server and return their ids."""
    return [server.add_run(status=status, task_identifier=task).id for status, task in runs]


class DagRun:
    """
    One run of an example Dag: started at once, waited for when its turn has come.

    :param airflow: has a database
    :param client: looks at the Trigger.dev runs
    :param dag_id: the Dag
    :param run_ids: what it is to cancel
    """

    def __init__(
        self, airflow: LocalAirflow, client: TriggerDevClient, dag_id: str, run_ids: list[str]
    ) -> None:
        self.dag_id = dag_id
        self.run_ids = run_ids
        self.before = look_at(client, run_ids)
        self.after = self.before
        self.command = airflow.start_dag(dag_id, run_ids)
        self._client = client

    def wait(self) -> bool:
        """Wait for its end, look at the runs again, and return whether it succeeded."""
        code = self.command.wait()
        self.after = look_at(self._client, self.run_ids)
        return code == 0

    def outcomes_in_xcom(self) -> dict[str, str]:
        """Return what the operator said of each run."""
        return {result["run_id"]: result["outcome"] for result in self.command.result("cancel_runs") or []}

    def outcomes_seen(self) -> dict[str, str]:
        """Return what the server shows to have become of each run; a callback leaves nothing in XCom."""
        return {run_id: _outcome(look) for run_id, look in self.after.items()}

    def is_told_truly(self) -> bool:
        """Whether the operator's outcomes are what the server shows, and none failed."""
        return self.outcomes_in_xcom() == self.outcomes_seen() and self.has_none_alive()

    def has_none_alive(self) -> bool:
        """Whether no run that the server has is alive."""
        return "failed" not in self.outcomes_seen().values()

    def has_all_ended(self) -> bool:
        """Whether there were all runs, and each has ended."""
        return all(look.is_final for look in self.after.values())


def _outcome(after: Look) -> str:
    if after.status == NOT_FOUND:
        return "not_found"
    if after.status == "CANCELED":
        return "canceled"
    return "already_completed" if after.is_final else "failed"


def show(
    dag_run: DagRun, *, fails: bool, outcomes: Callable[[], dict[str, str]], good: Callable[[], bool]
) -> bool:
    """
    Wait for a Dag run, show what became of its runs, and return whether all is as it should be.

    :param dag_run: has been started
    :param fails: whether it is meant to fail
    :param outcomes: returns the last column of the table
    :param good: returns whether the runs are as they should be
    """
    some = f'"{dag_run.run_ids[0]}"' + ", …" * (len(dag_run.run_ids) > 1)
    print(f"  $ airflow dags test {dag_run.dag_id} --conf '{{\"run_ids\": [{some}]}}'", flush=True)
    failed = not dag_run.wait()
    for line in dag_run.command.lines_of_the_provider():
        print(f"  | {line}")
    print_runs(dag_run.before, dag_run.after, outcomes())
    state = f"The Dag run {'failed' if failed else 'succeeded'} after {dag_run.command.seconds:.1f} s"
    if failed != fails:
        print(f"  {state}, as it was not meant to. The end of {os.path.relpath(dag_run.command.log)}:")
        print(*(f"  {line}" for line in dag_run.command.last_lines()), sep="\n", flush=True)
        return False
    ending = "and no run is left alive" if good() else "but its runs are NOT as they should be"
    print(f"  {state}{', as it was meant to' * fails}, {ending}.\n", flush=True)
    return good()


def look_at(client: TriggerDevClient, run_ids: Iterable[str]) -> dict[str, Look]:
    """Return what the server shows of each run, or leave with an error if it shows nothing."""
    return {run_id: _look(client, run_id) for run_id in run_ids}


def _look(client: TriggerDevClient, run_id: str) -> Look:
    try:
        run = client.retrieve_run(run_id)
    except NotFoundError:
        return Look(NOT_FOUND)
    except TriggerDevError as error:
        raise SystemExit(f"error: {error}") from None
    return Look(str(run.status), run.task_identifier)


def print_runs(before: dict[str, Look], after: dict[str, Look], outcomes: dict[str, str]) -> None:
    """Show each run before and after, and what became of it."""
    rows = [["run", "task", "before", "after", "outcome"]]
    for run_id, look in before.items():
        outcome = outcomes.get(run_id, "unknown").replace("_", " ")
        rows.append([run_id, look.task_identifier, look.status, after[run_id].status, outcome])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    print()
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
