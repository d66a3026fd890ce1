"""
Let a real Airflow start, wait for and cancel Trigger.dev runs: ``make demo``.

Without settings it does so on a local server. With ``RUN_IDS=run_a,run_b`` it cancels exactly those, on
the server ``TRIGGER_API_URL`` with the secret key ``TRIGGER_SECRET_KEY``.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import replace

from dag_run import USER_AGENT, CallbackRun, OperatorRun, check, show
from local_airflow import AIRFLOW_VERSION, CHECKOUT, DEMO, LocalAirflow
from own_runs import KEY, OwnServer, own_run_ids, own_server, with_advice
from started_runs import StartingRun, show_starting

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.http import ServerSettings
from airflow_provider_trigger.testing import TriggerDevServer

DAGS = CHECKOUT / "demo" / "dags"

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


def main() -> int:
    """Run the demonstration and return its exit code."""
    run_ids = own_run_ids()
    try:
        return cancel_own_runs(run_ids, own_server()) if run_ids else show_local_runs()
    except TriggerDevError as error:
        raise SystemExit(f"error: {with_advice(error) if run_ids else error}") from None


def settings_for(url: str, secret_key: str) -> ServerSettings:
    """
    Return how the demo's own client reaches a server.

    :param url: of the server
    :param secret_key: of the server
    """
    return ServerSettings(base_url=url, secret_key=secret_key, user_agent=USER_AGENT)


def show_local_runs() -> int:
    """Run the example Dags on a local server."""
    # Do not send requests to this machine through a proxy.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    with (
        TriggerDevServer() as server,
        TriggerDevClient(settings_for(server.url, server.secret_key)) as client,
        LocalAirflow(url=server.url, secret_key=server.secret_key) as airflow,
    ):
        introduce(f"a Trigger.dev server on this machine, {server.url}")
        airflow.migrate()
        print("Six Dag runs now start together, each in an Airflow of its own. That takes some seconds.\n")
        describe_tasks(server)
        starting = StartingRun(airflow, server, "run_many_mapped", {"files": ["cat.png", "dog.png"]})
        batch = StartingRun(airflow, server, "batch", {"files": ["a.png", "b.png", "c.png"]})
        too_slow = StartingRun(airflow, server, "time_limit", {}, dags_folder=DAGS, status="CANCELED")
        first = OperatorRun(airflow, client, "cancel_at_the_end", add_runs(server, RUNS_OF_THE_FIRST_DAG))
        unknown = OperatorRun(airflow, client, "cancel_at_the_end", add_unknown_run(server), name="not_found")
        failing_ids = add_runs(server, RUNS_OF_THE_FAILING_DAG)
        failing = CallbackRun(airflow, client, "cancel_on_task_failure", failing_ids, server=server)
        print("1. RunTriggerTaskOperator starts a run for each file, and waits deferred. The next task adds")
        print("   up the outputs.\n")
        good = show_starting(starting, result_of="total")
        print("2. RunTriggerTaskBatchOperator starts a run for each file in one task. The next task counts")
        print("   the outputs.\n")
        good = show_starting(batch, result_of="publish") and good
        print("3. A run takes longer than the execution_timeout of its Airflow task, 5 s: it is canceled.\n")
        good = show_starting(too_slow) and good
        print("4. A Dag passes run ids to CancelTriggerRunOperator, which cancels the runs.\n")
        good = show(first) and good
        print("5. One id is that of a run in another environment: it is not found, which fails the task.")
        print("   The other run is canceled.\n")
        good = show(unknown) and good
        print("6. A task fails, and CancelTriggerRunNotifier, its on_failure_callback, cancels the runs.\n")
        good = show(failing) and good
    if good:
        print("All as expected. The Dags are in example_dags/ and demo/dags/. To cancel runs of your own:\n")
        print("  export TRIGGER_API_URL=https://api.trigger.dev TRIGGER_SECRET_KEY=tr_…")
        print("  make demo RUN_IDS=run_a,run_b")
    return 0 if good else 1


def cancel_own_runs(run_ids: list[str], own: OwnServer) -> int:
    """
    Cancel the runs that the user has named, on the user's server.

    :param run_ids: of the runs
    :param own: the server and its key
    """
    introduce(own.url)
    with TriggerDevClient(replace(settings_for(own.url, own.secret_key), retry_for=10)) as client:
        check(client, run_ids[:1])  # a wrong key or address shows before Airflow starts
        with LocalAirflow(url=own.url, secret_key=own.secret_key) as airflow:
            airflow.migrate()
            run = OperatorRun(airflow, client, "cancel_at_the_end", run_ids)
            good = show(run)
    if run.unknown:
        print(f"Check these ids, and that {KEY} belongs to the environment of the runs.")
    return 0 if good and not run.unknown else 1


def introduce(server: str) -> None:
    """Print the versions, and where the Trigger.dev runs are."""
    print(f"Airflow {AIRFLOW_VERSION}, on Python {platform.python_version()} and a new SQLite database.")
    print(f"The Trigger.dev runs are on {server}.")
    print(
        f"Lines with a | are the provider's log; all output of Airflow is in {os.path.relpath(DEMO)}/*.log."
    )
    print(flush=True)


def describe_tasks(server: TriggerDevServer) -> None:
    """Say what the Trigger.dev tasks do whose runs the Dags start."""
    server.on_task("resize-image", output=lambda payload: payload | {"bytes": 4200}, after=2)
    server.on_task("train-model", after=None, acknowledge_after=0.2)


def add_runs(server: TriggerDevServer, runs: Iterable[tuple[str, str]]) -> list[str]:
    """Add runs to the local server and return their ids."""
    return [server.add_run(status=status, task_identifier=task).id for status, task in runs]


def add_unknown_run(server: TriggerDevServer) -> list[str]:
    """Add a run, and one to another environment, which the secret key does not show; return their ids."""
    return [
        server.add_run(status="EXECUTING", task_identifier="resize-images").id,
        server.add_run(status="EXECUTING", environment="staging").id,
    ]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
