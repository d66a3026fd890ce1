"""A batch whose process is killed while it starts runs, and one that is cleared: what is started again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.state import State
from whole_airflow.versions import RETRIES_KILLED_TASKS

from airflow_provider_trigger.testing import ServerRun, TriggerDevServer

DAG_ID = "batch_killed"
# Three requests start them, of 20, 20 and 5 items, all at a time.
COUNT = 45
START = "/api/v2/tasks/batch"


def double(payload: int) -> int:
    """Return the output of a run."""
    return 2 * payload


def complete(run: ServerRun) -> None:
    """Let a run complete that would not end by itself."""
    with run.lock:
        run.status = "COMPLETED"
        run.output = double(run.payload)


class Killed:
    """
    A Dag run whose task is killed in its first try.

    :param run_id: of the Dag run
    """

    def __init__(self, airflow: WholeAirflow, server: TriggerDevServer, state: State, run_id: str) -> None:
        self.airflow, self.server, self.state, self.run_id = airflow, server, state, run_id
        self._before = set(server.runs)
        self._earlier_requests = len(server.requests)

    @property
    def runs(self) -> list[ServerRun]:
        """Its runs on the server."""
        return [run for run_id, run in list(self.server.runs.items()) if run_id not in self._before]

    def starts(self) -> int:
        """Return how many requests to start runs have no answer yet."""
        requests = self.server.requests[self._earlier_requests :]
        return sum(request.path == START and request.status is None for request in requests)

    def start(self, *, unanswered: int, runs: int = 1) -> None:
        """Start it, and wait until there are as many runs at least, and so many requests hang."""
        self.airflow.api.trigger(DAG_ID, self.run_id, {"payloads": list(range(COUNT))})
        self.wait_for(lambda: len(self.runs) >= runs and self.starts() == unanswered)

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait for something that becomes of its runs."""
        wait_until(condition, timeout=120, what=lambda: f"{self.run_id}, whose runs are {self.runs}")

    def kill(self) -> None:
        """Kill the process of the task."""
        self._started = Counter(run.payload for run in self.runs)
        self.state.kill(self.run_id)

    def check_the_end(self, *, twice: set[int]) -> None:
        """
        Check what comes of the Dag run: all that is alive when each item has a run completes.

        :param twice: the items whose first run failed
        """
        if RETRIES_KILLED_TASKS:
            expected = Counter(range(COUNT)) + Counter(twice)
            self.wait_for(lambda: Counter(run.payload for run in self.runs) >= expected)
            for run in self.runs:
                if run.status not in ("COMPLETED", "FAILED"):
                    complete(run)
        ended = self.airflow.api.wait_for_dag_run(DAG_ID, self.run_id, timeout=180)
        assert ended == ("success" if RETRIES_KILLED_TASKS else "failed")
        if RETRIES_KILLED_TASKS:
            assert Counter(run.payload for run in self.runs) == expected
            assert self.airflow.api.xcom(DAG_ID, self.run_id, "work") == [double(n) for n in range(COUNT)]
            ids = self.airflow.api.xcom(DAG_ID, self.run_id, "work", "run_id")
            assert [self.server.runs[one].payload for one in ids] == list(range(COUNT))
        else:
            assert Counter(run.payload for run in self.runs) == self._started
        assert not any(run.cancel_requests for run in self.runs)


@pytest.fixture
def killed(
    airflow: WholeAirflow, server: TriggerDevServer, state: State, request: pytest.FixtureRequest
) -> Killed:
    """Return a Dag run that has not started yet; the runs of its items do not end by themselves."""
    server.on_task("part", after=None)
    return Killed(airflow, server, state, request.node.name.replace("_", ""))


def test_killed_between_two_requests_a_retry_starts_only_what_has_not_completed(
    killed: Killed, airflow: WholeAirflow, server: TriggerDevServer
) -> None:
    server.on_task("part", times=3, start_after=0, after=0, output=double)
    server.on_task("part", times=2, start_after=0, after=0, error="boom")
    server.hang_next(2, path=START)
    killed.start(unanswered=2)
    completed, failed = (
        [run for run in killed.runs if run.status == status] for status in ("COMPLETED", "FAILED")
    )
    assert (len(completed), len(failed)) == (3, 2)
    new = COUNT - len(killed.runs) + len(failed)
    killed.kill()
    killed.check_the_end(twice={run.payload for run in failed})
    if RETRIES_KILLED_TASKS:
        log = airflow.task_log(DAG_ID, killed.run_id, "work", attempt=2)
        # Those that it finds alive complete as soon as the others exist.
        found = rf"45 items: \d+ completed before and reused, \d+ found alive and taken up, {new} started"
        assert re.search(found, log)


def test_killed_before_the_first_answer_there_is_one_run_for_each_item(
    killed: Killed, airflow: WholeAirflow, server: TriggerDevServer
) -> None:
    server.hang_next(3, path=START, after_handling=True)
    killed.start(unanswered=3, runs=COUNT)
    assert airflow.api.xcom(DAG_ID, killed.run_id, "work", "run_id") is None
    killed.kill()
    killed.check_the_end(twice=set())


def test_a_clear_starts_only_what_has_not_completed(airflow: WholeAirflow, server: TriggerDevServer) -> None:
    before, dag_id = set(server.runs), "batch_cleared"
    server.on_task("cleared_part", error="boom", times=2)
    server.on_task("cleared_part", output=double)

    def runs() -> list[ServerRun]:
        return [run for run_id, run in list(server.runs.items()) if run_id not in before]

    def clear_and_wait(clear: Callable[[], None], *, attempt: int, started: int) -> None:
        clear()
        assert airflow.api.wait_for_dag_run(dag_id, "cleared") == "success"
        assert airflow.api.xcom(dag_id, "cleared", "work") == [double(n) for n in range(20)]
        assert len(runs()) == 22
        counts = f"{20 - started} completed before and reused, 0 found alive and taken up, {started} started"
        log = airflow.task_log(dag_id, "cleared", "work", attempt=attempt)
        assert f"Runs of 20 items: {counts}" in log

    assert airflow.run_dag(dag_id, "cleared") == "failed"
    assert Counter(run.status for run in runs()) == {"COMPLETED": 18, "FAILED": 2}
    clear_and_wait(lambda: airflow.clear(dag_id, "cleared", "work"), attempt=2, started=2)
    clear_and_wait(lambda: airflow.api.clear_dag_run(dag_id, "cleared"), attempt=3, started=0)
