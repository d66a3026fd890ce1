"""What differs between Airflow's versions in how it is configured and started."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from whole_airflow.processes import free_port

AIRFLOW_VERSION = version("apache-airflow")
AIRFLOW = tuple(int(part) for part in AIRFLOW_VERSION.split(".")[:2])

# With 3.2 came deadline alerts that run a notifier; before, the Dag files define none.
HAS_DEADLINE_ALERTS = AIRFLOW >= (3, 2)

# With 3.0 came watchers of assets; before, the Dag files define none.
HAS_WATCHERS = AIRFLOW >= (3, 0)

# With 3.3 came retry policies; without what an example needs, it defines no Dag.
EXAMPLES_WITHOUT_DAG = [] if AIRFLOW >= (3, 3) else ["retry_policy"]
EXAMPLES_WITHOUT_DAG += [] if HAS_WATCHERS else ["on_run_end"]

# With 3.4 came task loops; before, the Dag files define none.
HAS_LOOPS = AIRFLOW >= (3, 4)

# Where the database has the rendered fields and the XComs of tasks.
TABLES_OF_TASKS = ("rtif_v2", "xcom_v2") if AIRFLOW >= (3, 4) else ("rendered_task_instance_fields", "xcom")

# Airflow 3.0.6 never tries a running task again that was cleared: it stays "restarting", is taken for dead
# again and again, and its failure callback is called each time.
TRIES_CLEARED_TASKS_AGAIN = AIRFLOW != (3, 0)

# Airflow 3.0.6 fails a task whose process was killed, also if it has retries.
RETRIES_KILLED_TASKS = AIRFLOW != (3, 0)

# With Celery, the scheduler of Airflow 3.4.0b2 ends with a UniqueViolation once it has adopted a task whose
# worker has died with it, also each time it is started again.
SURVIVES_DEAD_CELERY_WORKERS = AIRFLOW_VERSION != "3.4.0b2"


def in_this_airflow(cell: str | Mapping[str, str]) -> str:
    """Return what a cell of ``docs/routes.json`` or ``docs/endings.json`` says for this version."""
    return cell if isinstance(cell, str) else cell.get("{}.{}".format(*AIRFLOW), cell["otherwise"])


BIN = Path(sys.executable).parent
AIRFLOW_COMMAND = str(BIN / "airflow")

USERNAME = PASSWORD = "admin"

# How long a task may go without a heartbeat before Airflow takes it for dead, in seconds.
HEARTBEAT_TIMEOUT = 20

_EVERYWHERE = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAG_DISCOVERY_SAFE_MODE": "False",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "AIRFLOW__CORE__PARALLELISM": "8",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
}

# A Dag file is parsed once at the start, and then for each callback; never on a timer in between.
_RARELY = "300"

# After a parse for a callback a Dag of 3.0 looks as if it had left its file, and none of its runs goes on.
_NEVER = "86400"


def environment(*, executor: str, database: str, web_port: int, execution_port: int) -> dict[str, str]:
    """
    Return the configuration of this version of Airflow, as environment variables.

    :param executor: the executor's name
    :param database: a SQLAlchemy URL
    :param web_port: where the public API listens
    :param execution_port: where the tasks' API listens, on Airflow 3
    """
    settings = {
        **_EVERYWHERE,
        "AIRFLOW__CORE__EXECUTOR": executor,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
    }
    if AIRFLOW < (3, 0):
        return settings | _airflow_2(web_port)
    return settings | _airflow_3(web_port, execution_port)


def _airflow_2(port: int) -> dict[str, str]:
    return {
        "AIRFLOW__API__AUTH_BACKENDS": "airflow.providers.fab.auth_manager.api.auth.backend.basic_auth",
        "AIRFLOW__CORE__INTERNAL_API_SECRET_KEY": "secret-of-this-test",
        "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": _RARELY,
        "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": _RARELY,
        "AIRFLOW__SCHEDULER__PARSING_PROCESSES": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": str(HEARTBEAT_TIMEOUT),
        "AIRFLOW__SCHEDULER__STALE_DAG_THRESHOLD": _NEVER,
        "AIRFLOW__SCHEDULER__STANDALONE_DAG_PROCESSOR": "True",
        "AIRFLOW__SCHEDULER__ZOMBIE_DETECTION_INTERVAL": "2",
        "AIRFLOW__WEBSERVER__SECRET_KEY": "secret-of-this-test",
        "AIRFLOW__WEBSERVER__WEB_SERVER_HOST": "127.0.0.1",
        "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": str(port),
        "AIRFLOW__WEBSERVER__WORKERS": "1",
    }


def _airflow_3(port: int, execution_port: int) -> dict[str, str]:
    return {
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__SECRET_KEY": "secret-of-this-test",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_ISSUER": "airflow",  # 3.0 with a later pyjwt refuses its own tokens without
        "AIRFLOW__API_AUTH__JWT_SECRET": "secret-of-this-test-long-enough-for-any-algorithm-in-use-here-now",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{execution_port}/execution/",
        # 3.4.0b2 may wait as long for a process that has ended. Where its task was cleared and the heartbeat
        # is missed meanwhile, the scheduler crashes.
        "AIRFLOW__CORE__KILLED_TASK_CLEANUP_TIME": "8",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": _RARELY,
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": _RARELY,
        "AIRFLOW__DAG_PROCESSOR__STALE_DAG_THRESHOLD": _NEVER,
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(HEARTBEAT_TIMEOUT),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    }


def preparations() -> list[list[str]]:
    """Return the ``airflow`` commands that have to be run once, in a new home."""
    migrate = ["db", "migrate"]
    if AIRFLOW >= (3, 0):
        return [migrate]
    names = ["-u", USERNAME, "-p", PASSWORD, "-f", "Ada", "-l", "Admin", "-e", "admin@example.com"]
    return [migrate, ["users", "create", "-r", "Admin", *names]]


def components(*, execution_port: int) -> Mapping[str, list[str]]:
    """
    Return the long-running processes of an Airflow: name and arguments.

    Airflow 3's API server runs as two, one for users and one for tasks. In a single one they can lock each
    other out on SQLite: the first waits for a lock in the thread that has to end the second's transaction.

    :param execution_port: where the tasks' API listens
    """
    commands = {name: [AIRFLOW_COMMAND, name] for name in ("scheduler", "dag-processor", "triggerer")}
    if AIRFLOW < (3, 0):
        return {"webserver": [AIRFLOW_COMMAND, "webserver"], **commands}
    server = [AIRFLOW_COMMAND, "api-server", "--apps"]
    execution = [*server, "execution", "--port", str(execution_port)]
    return {"api-server": [*server, "core"], "execution-api": execution, **commands}


def dag_processor_logs(home: Path) -> Path:
    """Return the directory with what the Dag processor writes of each Dag file."""
    return home / "logs" / ("scheduler" if AIRFLOW < (3, 0) else "dag_processor")
