"""
Let a real Airflow cancel Trigger.dev runs: ``make demo``.

Without settings it cancels runs on a local server. With ``RUN_IDS=run_a,run_b`` it cancels exactly those, on
the server ``TRIGGER_API_URL`` with the secret key ``TRIGGER_SECRET_KEY``.
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

# Status and task of the runs that the demonstration adds to the local server.
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
USER_AGENT = "airflow-provider-trigger demo"
NOT_FOUND = "not found"


@dataclass(frozen=True)
class StatusCheck:
    """What the server shows of a run; ``status`` is ``not found`` if it does not have the run."""

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
    # Do not send requests to this machine through a proxy.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    with (
        TriggerDevServer() as server,
        TriggerDevClient(base_url=server.url, secret_key=server.secret_key, user_agent=USER_AGENT) as client,
        LocalAirflow(url=server.url, secret_key=server.secret_key) as airflow,
    ):
        introduce(f"a Trigger.dev server on this machine, {server.url}")
        airflow.migrate()
        first = DagRun(airflow, client, "cancel_at_the_end", add_runs(server, RUNS_OF_THE_FIRST_DAG))
        failing = DagRun(airflow, client, "cancel_on_task_failure", add_runs(server, RUNS_OF_THE_FAILING_DAG))
        print("1. A Dag passes run ids to CancelTriggerRunOperator, which cancels the runs.\n")
        good = show(first, fails=False, outcomes=first.outcomes_in_xcom, good=first.is_reported_correctly)
        print("2. A task fails, and CancelTriggerRunNotifier, its on_failure_callback, cancels the runs.\n")
        good = (
            show(failing, fails=True, outcomes=failing.outcomes_on_server, good=failing.has_none_alive)
            and good
        )
    if good:
        print("Both Dags are in example_dags/. To cancel runs of your own:\n")
        print("  export TRIGGER_API_URL=https://api.trigger.dev TRIGGER_SECRET_KEY=tr_…")
        print("  make demo RUN_IDS=run_a,run_b")
    return 0 if good else 1


def cancel_named_runs(text: str) -> int:
    """
    Cancel the runs that the user has named, on the user's server.

    :param text: run ids, separated by commas
    """
    run_ids = list(dict.fromkeys(run_id.strip() for run_id in text.split(",") if run_id.strip()))
    if not run_ids:
        raise SystemExit("error: RUN_IDS is empty; it must be a list such as run_a,run_b")
    url = setting("TRIGGER_API_URL", "the URL of the server, such as https://api.trigger.dev").rstrip("/")
    secret_key = setting("TRIGGER_SECRET_KEY", "the secret key of the runs' environment, tr_…")
    if not url.startswith(("http://", "https://")):
        raise SystemExit("error: TRIGGER_API_URL must begin with https:// or http://")
    with (
        TriggerDevClient(base_url=url, secret_key=secret_key, user_agent=USER_AGENT, retry_for=10) as client,
        LocalAirflow(url=url, secret_key=secret_key) as airflow,
    ):
        introduce(url)
        check(client, run_ids[:1])  # a wrong key or address shows before Airflow starts
        airflow.migrate()
        run = DagRun(airflow, client, "cancel_at_the_end", run_ids)
        unknown = any(shown.status == NOT_FOUND for shown in run.before.values())
        return 0 if show(run, fails=unknown, outcomes=run.outcomes_in_xcom, good=run.has_all_ended) else 1


def setting(name: str, meaning: str) -> str:
    """Return a variable of the environment, or exit with an error that says what it is."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise SystemExit(f"error: RUN_IDS is set, but {name} is not: {meaning}")
    return value


def introduce(server: str) -> None:
    """Print the versions, and where runs are canceled."""
    print(f"Airflow {AIRFLOW_VERSION}, on Python {platform.python_version()} and a new SQLite database.")
    print(f"Runs are canceled on {server}.")
    print(
        f"Lines with a | are the provider's log; all output of Airflow is in {os.path.relpath(DEMO)}/*.log."
    )
    print(flush=True)


def add_runs(server: TriggerDevServer, runs: Iterable[tuple[str, str]]) -> list[str]:
    """Add runs to the local server and return their ids."""
    return [server.add_run(status=status, task_identifier=task).id for status, task in runs]


class DagRun:
    """
    One run of an example Dag, started at once.

    :param airflow: has a database
    :param client: for the server of the Trigger.dev runs
    :param dag_id: the Dag
    :param run_ids: the Trigger.dev runs to cancel
    """

    def __init__(
        self, airflow: LocalAirflow, client: TriggerDevClient, dag_id: str, run_ids: list[str]
    ) -> None:
        self.dag_id = dag_id
        self.run_ids = run_ids
        self.before = check(client, run_ids)
        self.after = self.before
        self.command = airflow.start_dag(dag_id, run_ids)
        self._client = client

    def wait(self) -> bool:
        """Wait for its end, check the Trigger.dev runs again, and return whether it succeeded."""
        code = self.command.wait()
        self.after = check(self._client, self.run_ids)
        return code == 0

    def outcomes_in_xcom(self) -> dict[str, str]:
        """Return the outcome that the operator reported for each run."""
        return {result["run_id"]: result["outcome"] for result in self.command.result("cancel_runs") or []}

    def outcomes_on_server(self) -> dict[str, str]:
        """Return the outcomes by what the server shows; a callback puts none into XCom."""
        return {run_id: _outcome(shown) for run_id, shown in self.after.items()}

    def is_reported_correctly(self) -> bool:
        """Whether the operator's outcomes agree with the server, and no run failed."""
        return self.outcomes_in_xcom() == self.outcomes_on_server() and self.has_none_alive()

    def has_none_alive(self) -> bool:
        """Whether every run that the server has is in a final status."""
        return "failed" not in self.outcomes_on_server().values()

    def has_all_ended(self) -> bool:
        """Whether the server has all runs, and each is in a final status."""
        return all(shown.is_final for shown in self.after.values())


def _outcome(after: StatusCheck) -> str:
    if after.status == NOT_FOUND:
        return "not_found"
    if after.status == "CANCELED":
        return "canceled"
    return "already_completed" if after.is_final else "failed"


def show(
    dag_run: DagRun, *, fails: bool, outcomes: Callable[[], dict[str, str]], good: Callable[[], bool]
) -> bool:
    """
    Wait for a Dag run, print its Trigger.dev runs, and return whether all is as expected.

    :param dag_run: has been started
    :param fails: whether the Dag run must fail
    :param outcomes: returns the last column of the table
    :param good: returns whether the Trigger.dev runs are as expected
    """
    some = f'"{dag_run.run_ids[0]}"' + ", …" * (len(dag_run.run_ids) > 1)
    print(f"  $ airflow dags test {dag_run.dag_id} --conf '{{\"run_ids\": [{some}]}}'", flush=True)
    failed = not dag_run.wait()
    for line in dag_run.command.lines_of_the_provider():
        print(f"  | {line}")
    print_runs(dag_run.before, dag_run.after, outcomes())
    state = f"The Dag run {'failed' if failed else 'succeeded'} after {dag_run.command.seconds:.1f} s"
    if failed != fails:
        print(f"  {state}, which is not expected. The end of {os.path.relpath(dag_run.command.log)}:")
        print(*(f"  {line}" for line in dag_run.command.last_lines()), sep="\n", flush=True)
        return False
    ending = "and all runs have ended" if good() else "but the runs are NOT as expected"
    print(f"  {state}{', as expected' * fails}, {ending}.\n", flush=True)
    return good()


def check(client: TriggerDevClient, run_ids: Iterable[str]) -> dict[str, StatusCheck]:
    """Return what the server shows of each run, or exit with an error if it does not answer."""
    return {run_id: _check(client, run_id) for run_id in run_ids}


def _check(client: TriggerDevClient, run_id: str) -> StatusCheck:
    try:
        run = client.retrieve_run(run_id)
    except NotFoundError:
        return StatusCheck(NOT_FOUND)
    except TriggerDevError as error:
        raise SystemExit(f"error: {error}") from None
    return StatusCheck(str(run.status), run.task_identifier)


def print_runs(
    before: dict[str, StatusCheck], after: dict[str, StatusCheck], outcomes: dict[str, str]
) -> None:
    """Print each run's status before and after, and its outcome."""
    rows = [["run", "task", "before", "after", "outcome"]]
    for run_id, shown in before.items():
        outcome = outcomes.get(run_id, "unknown").replace("_", " ")
        rows.append([run_id, shown.task_identifier, shown.status, after[run_id].status, outcome])
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
