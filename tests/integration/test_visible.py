"""What a person sees of runs, and what is passed on, by ``dag.test()``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import visible
from airflow_names import AIRFLOW_URL

from airflow_provider_trigger._compat import airflow_version

DAG_FILE = Path(__file__).parents[1] / "e2e/dags/visible_dags.py"


def test_progress_links_limits_and_found_runs_are_visible_by_dag_test(
    server, connection, run_dag, meanwhile, said, errors_in_callbacks, monkeypatch
) -> None:
    monkeypatch.setenv(AIRFLOW_URL, visible.AIRFLOW)
    visible.arrange(server)
    for mode in visible.MODES:
        meanwhile(partial(visible.has_searched, server, mode), partial(visible.complete, server, mode))
    result = run_dag(DAG_FILE, dag_id="visible")
    assert {name for name, states in result.states.items() if states != ["success"]} == {
        f"late_{mode}" for mode in visible.MODES
    }
    text = said.text
    has_links = not airflow_version().startswith("3.0.")  # its dag.test() does not know the URL of a log
    visible.check(server, lambda *name: result.pushed[name][0], lambda task_id: text, has_links=has_links)
