"""Watch a real Airflow cancel Trigger.dev runs: ``make demo``.

Without settings it cancels runs of a local server. With ``RUN_IDS=run_a,run_b`` it cancels exactly those, on
the server ``TRIGGER_API_URL`` with the key ``TRIGGER_SECRET_KEY``.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from local_airflow import AIRFLOW_VERSION, DEMO, LocalAirflow

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import NotFoundError, TriggerDevError
from airflow_provider_trigger.api.models import FINAL_STATUSES
from airflow_provider_trigger.testing import TriggerDevServer

AT_THE_END = [
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
ON_FAILURE = [
    ("EXECUTING", "train-model"),
    ("WAITING", "train-model"),
    ("QUEUED", "evaluate-model"),
    ("COMPLETED", "prepare-data"),
]
SUCCESSES = ("canceled", "already_completed")


@dataclass(frozen=True)
class Look:
    """A run as it is seen from outside; ``status`` is in words where there is no run."""

    status: str
    task_identifier: str = ""


def main() -> int:
    """Run the demonstration and return its exit code."""
    if "RUN_IDS" in os.environ and os.environ["RUN_IDS"].strip():
        return cancel_named_runs(os.environ["RUN_IDS"])
    return show_local_runs()


def show_local_runs() -> int:
    """Run the example Dags on a local server."""
    # A proxy is no way to this machine.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    with (
        TriggerDevServer() as server,
        TriggerDevClient(base_url=server.url, secret_key=server.secret_key) as client,
        LocalAirflow(url=server.url, secret_key=server.secret_key) as airflow,
    ):
        prepare(airflow, f"a Trigger.dev server on this machine, {server.url}")
        at_the_end = DagRun(airflow, client, "cancel_at_the_end", add_runs(server, AT_THE_END))
        on_failure = DagRun(airflow, client, "cancel_on_task_failure", add_runs(server, ON_FAILURE))
        print("1. A Dag hands over run ids, and CancelTriggerRunOperator cancels those that are alive.\n")
        good = at_the_end.show(cancel_task_id="cancel_runs")
        print("2. A task fails, and its on_failure_callback, CancelTriggerRunNotifier, cleans up.\n")
        good = on_failure.show(fails=True) and good
    if good:
        print("Both Dags are in example_dags/. To cancel runs of your own:")
        print("  TRIGGER_API_URL=https://api.trigger.dev TRIGGER_SECRET_KEY=tr_… make demo RUN_IDS=run_a,run_b")
    return 0 if good else 1


def cancel_named_runs(text: str) -> int:
    """Cancel the runs that the user has named, on the user's server.

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
        TriggerDevClient(base_url=url, secret_key=secret_key, retry_for=20) as client,
        LocalAirflow(url=url, secret_key=secret_key) as airflow,
    ):
        look_at(client, run_ids[:1])  # a wrong key or address shows before Airflow starts
        prepare(airflow, url)
        return 0 if DagRun(airflow, client, "cancel_at_the_end", run_ids).show(cancel_task_id="cancel_runs") else 1


def setting(name: str, meaning: str) -> str:
    """Return a variable of the environment, or leave with an error that says what it is."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise SystemExit(f"error: RUN_IDS is set, but {name} is not: {meaning}")
    return value


def prepare(airflow: LocalAirflow, server: str) -> None:
    """Say what there is, and make the database."""
    print(f"Airflow {AIRFLOW_VERSION}, on Python {platform.python_version()} and a new SQLite database.")
    print(f"Runs are canceled on {server}.")
    print(f"Lines with a | are the provider's log; all that Airflow says is in {os.path.relpath(DEMO)}/*.log.\n")
    airflow.migrate()


def add_runs(server: TriggerDevServer, runs: Iterable[tuple[str, str]]) -> list[str]:
    """Put runs into the local server and return their ids."""
    return [server.add_run(status=status, task_identifier=task).id for status, task in runs]


class DagRun:
    """One run of an example Dag, started at once, and shown when its turn has come.

    :param airflow: has a database
    :param client: looks at the Trigger.dev runs
    :param dag_id: the Dag
    :param run_ids: what it is to cancel
    """

    def __init__(self, airflow: LocalAirflow, client: TriggerDevClient, dag_id: str, run_ids: list[str]) -> None:
        self.dag_id = dag_id
        self.run_ids = run_ids
        self.client = client
        self.before = look_at(client, run_ids)
        self.command = airflow.start_dag(dag_id, run_ids)

    def show(self, *, cancel_task_id: str | None = None, fails: bool = False) -> bool:
        """Wait for its end, show what became of the runs, and return whether all is as it should be.

        :param cancel_task_id: the task whose XCom holds the outcomes, if a task cancels
        :param fails: whether the Dag run is meant to fail
        """
        some = f'"{self.run_ids[0]}"' + ", …" * (len(self.run_ids) > 1)
        print(f"  $ airflow dags test {self.dag_id} --conf '{{\"run_ids\": [{some}]}}'", flush=True)
        code = self.command.wait()
        for line in self.command.lines_of_the_provider():
            print(f"  | {line}")
        after = look_at(self.client, self.run_ids)
        if cancel_task_id:
            results = self.command.result(cancel_task_id) or []
            outcomes = {result["run_id"]: result["outcome"] for result in results}
        else:
            outcomes = {run_id: self._outcome(run_id, after[run_id]) for run_id in self.run_ids}
        print_runs(self.before, after, outcomes)
        alive = [run_id for run_id in self.run_ids if after[run_id].status not in FINAL_STATUSES]
        good = not alive and all(outcomes.get(run_id) in SUCCESSES for run_id in self.run_ids)
        return self._tell(failed=code != 0, meant_to_fail=fails, good=good)

    def _outcome(self, run_id: str, after: Look) -> str:
        """Return a run's outcome as it is seen from outside, since a callback leaves none in XCom."""
        if self.before[run_id].status in FINAL_STATUSES:
            return "already_completed"
        return "canceled" if after.status == "CANCELED" else "failed"

    def _tell(self, *, failed: bool, meant_to_fail: bool, good: bool) -> bool:
        state = f"The Dag run {'failed' if failed else 'succeeded'} after {self.command.seconds:.1f} s"
        if good and failed == meant_to_fail:
            print(f"  {state}{', as it was meant to' * failed}; no run is left alive.\n", flush=True)
            return True
        print(f"  NOT as it should be. {state}. The end of Airflow's output:")
        print(*(f"  {line}" for line in self.command.last_lines()), sep="\n", flush=True)
        return False


def look_at(client: TriggerDevClient, run_ids: Iterable[str]) -> dict[str, Look]:
    """Return what the server shows of each run, or leave with an error if it shows nothing."""
    return {run_id: _look(client, run_id) for run_id in run_ids}


def _look(client: TriggerDevClient, run_id: str) -> Look:
    try:
        run = client.retrieve_run(run_id)
    except NotFoundError:
        return Look("not found")
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
