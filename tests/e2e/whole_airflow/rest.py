"""Airflow's REST API: version 1 of Airflow 2.11 and version 2 of Airflow 3, under the same names."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import requests
from whole_airflow.processes import wait_until
from whole_airflow.versions import AIRFLOW, PASSWORD, USERNAME

_PAGE = 100  # as many as the API gives at most

OVER = frozenset({"success", "failed"})
# A task without a state is never reached once its Dag run is over, as after a dagrun_timeout on 2.11.
ACTIVE = frozenset(
    {"scheduled", "queued", "running", "restarting", "deferred", "up_for_retry", "up_for_reschedule"}
)


class Api:
    """
    What a user does in Airflow's UI, over HTTP.

    :param url: where the API server (2.11: the webserver) listens
    :param execution_url: where the tasks' API listens, on Airflow 3
    """

    def __init__(self, url: str, execution_url: str) -> None:
        self.url = url
        self.execution_url = execution_url
        self.base = f"{url}/api/v2" if AIRFLOW >= (3, 0) else f"{url}/api/v1"
        # On SQLite, two requests to the API server can lock each other out.
        self._one_at_a_time = threading.Lock()
        self._session = requests.Session()
        self._session.trust_env = False
        if AIRFLOW < (3, 0):
            self._session.auth = (USERNAME, PASSWORD)

    def health(self) -> dict[str, str | None]:
        """Return the health of each component; empty while a server does not answer."""
        path = "/monitor/health" if AIRFLOW >= (3, 0) else "/health"
        try:
            answer = self._session.get(self.base + path, timeout=10)
            answer.raise_for_status()
            if AIRFLOW >= (3, 0):
                self._session.get(f"{self.execution_url}/execution/health", timeout=10).raise_for_status()
        except requests.RequestException:
            return {}
        return {name: (part or {}).get("status") for name, part in answer.json().items()}

    def log_in(self) -> None:
        """Get a token, where the version uses one."""
        if AIRFLOW >= (3, 0):
            token = self._session.get(f"{self.url}/auth/token", timeout=30).json()["access_token"]
            self._session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, *, allow: tuple[int, ...] = (), **arguments: Any) -> Any:
        """Send one request; return the JSON of the answer, or None for a status in ``allow``."""
        with self._one_at_a_time:
            answer = self._session.request(method, self.base + path, timeout=60, **arguments)
        if answer.status_code in allow:
            return None
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer.json() if answer.content else None

    def import_errors(self) -> str:
        """Return the Dag files' import errors."""
        entries = self.call("GET", "/importErrors")["import_errors"]
        return "\n".join(f"{entry['filename']}: {entry['stack_trace']}" for entry in entries)

    def dag_ids(self) -> set[str]:
        """Return the ids of the Dags that can be run."""
        return {dag["dag_id"] for _, answer in self.pages("/dags") for dag in answer["dags"]}

    def pages(self, path: str) -> Iterator[tuple[int, Any]]:
        """Return the parts of a list, each with the number of what comes before it."""
        offset, total = 0, 1
        while offset < total:
            answer = self.call("GET", path, params={"limit": _PAGE, "offset": offset})
            yield offset, answer
            offset, total = offset + _PAGE, answer["total_entries"]

    def watch(self, dag_id: str, *, begins: bool = True) -> None:
        """Unpause or pause a Dag, and parse its file, which begins or ends its watchers."""
        dag = self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": not begins})
        self.call("PUT", f"/parseDagFile/{dag['file_token']}", allow=(409,))

    def dag_runs(self, dag_id: str) -> dict[str, str]:
        """Return the states of the runs of a Dag, by their ids."""
        pages = self.pages(f"/dags/{dag_id}/dagRuns")
        return {run["dag_run_id"]: run["state"] for _, page in pages for run in page["dag_runs"]}

    def triggering_events(self, dag_id: str, run_id: str) -> list[dict[str, Any]] | None:
        """Return the asset events that a Dag run has; None while Airflow fails, as it has not started."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/upstreamAssetEvents"
        answer = self.call("GET", path, allow=(500,))
        return None if answer is None else answer["asset_events"]

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any] | None = None) -> None:
        """Start a Dag run."""
        body: dict[str, Any] = {"dag_run_id": run_id, "conf": conf or {}}
        if AIRFLOW >= (3, 0):
            body["logical_date"] = None
        self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)

    def dag_run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a Dag run."""
        return str(self._dag_run(dag_id, run_id)["state"])

    def logical_date(self, dag_id: str, run_id: str) -> str:
        """Return the logical date of a Dag run."""
        return str(self._dag_run(dag_id, run_id)["logical_date"])

    def _dag_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        return self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a Dag run, as the API describes them."""
        return self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]

    def states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Return the state of each task; for a mapped one, ``task_id[index]``."""
        return {
            ti["task_id"] + (f"[{ti['map_index']}]" if ti["map_index"] >= 0 else ""): ti["state"]
            for ti in self.task_instances(dag_id, run_id)
        }

    def wait_for_dag_run(self, dag_id: str, run_id: str, *, timeout: float = 120) -> str:
        """Wait until a Dag run and each of its tasks is over; return the Dag run's state."""

        def over() -> str | None:
            state = self.dag_run_state(dag_id, run_id)
            active = ACTIVE & set(self.states(dag_id, run_id).values())
            return state if state in OVER and not active else None

        what = lambda: f"the end of {dag_id} {run_id}: {self.states(dag_id, run_id)}"  # noqa: E731
        return wait_until(over, timeout=timeout, what=what, interval=0.5)

    def wait_for_task(self, dag_id: str, run_id: str, task_id: str, *states: str, timeout: float = 90) -> str:
        """Wait until a task is in one of these states; return it."""

        def reached() -> str | None:
            state = self.states(dag_id, run_id).get(task_id)
            return state if state in states else None

        what = lambda: f"{task_id} in {states}: {self.states(dag_id, run_id)}"  # noqa: E731
        return wait_until(reached, timeout=timeout, what=what, interval=0.5)

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return an XCom's value, or None when there is none."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        entry = self.call("GET", path, params={"stringify": "false", "map_index": -1}, allow=(404,))
        return None if entry is None else entry["value"]

    def mark_task(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Do what "mark failed" or "mark success" on a task does in the UI."""
        body: dict[str, Any] = {"new_state": state}
        if AIRFLOW < (3, 0):
            body["dry_run"] = False
        self.call("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}", json=body)

    def mark_dag_run(self, dag_id: str, run_id: str, state: str) -> None:
        """Do what "mark failed" on a Dag run does in the UI."""
        self.call("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", json={"state": state})

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """
        Do what "clear" on a task, with all that comes after it, does in the UI.

        Not for a running task on 2.11: this call then only changes the state of the task's job, so that the
        scheduler takes the task for dead and fails it. The UI and the command line do it right.
        """
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [task_id],
            "include_downstream": True,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self.call("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)
