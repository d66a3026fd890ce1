"""Run the local Trigger.dev server from the command line."""

from __future__ import annotations

import argparse
import errno
import json
import math
import runpy
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .engine import settings
from .engine.runs import ServerRun
from .engine.settings import default_key
from .engine.states import ALIVE, FINAL
from .engine.store import Store
from .server import TriggerDevServer

# Between two checks of what became of the runs, in seconds.
_PAUSE = 0.1


_HOW = """write, for example:

def resize(payload):
    return {"width": payload["width"] // 2}

tasks = {"resize-image": resize, "train-model": {"after": 60, "output": "a model"}}"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until the process is interrupted or terminated."""
    parser = _parser()
    options = parser.parse_args(arguments)
    signals: list[int] = []
    server = TriggerDevServer(
        secret_key=options.secret_key,
        host=options.host,
        port=options.port,
        rate_limit=options.rate_limit or None,
        acknowledge_after=options.acknowledge_after,
        latency=options.latency,
        speed=options.speed,
        query_lag=options.query_lag,
        list_lag=options.list_lag,
    )
    with _on_signal(signals.append):
        try:
            tasks = add_tasks(server, options.tasks) if options.tasks else []
            runs = [server.add_run(status) for status, count in options.runs for _ in range(count)]
            log = RunLog(server)
            server.start()
        except TaskFileError as error:
            parser.error(str(error))
        except OSError as error:
            parser.error(_why_not_started(options.host, options.port, error))
        try:
            _print_introduction(server, runs, tasks=tasks)
            # Not an Event: a signal that comes while this thread holds its lock would wait without end.
            while not signals:
                time.sleep(_PAUSE)
                for line in log.lines():
                    print(line, flush=True)
        finally:
            server.stop()


def _why_not_started(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use; choose another one with --port, or --port 0 for any free one"
    return f"cannot listen on {host}, port {port}: {error.strerror}; choose others with --host and --port"


def _print_introduction(server: TriggerDevServer, runs: Sequence[ServerRun], *, tasks: Sequence[str]) -> None:
    """Print the URL, the tasks, the first runs and the connection."""
    connection = {"conn_type": "trigger_dev", "host": server.url, "password": server.secret_key}
    print(f"A local Trigger.dev server listens on {server.url}\n")
    if tasks:
        print(f"Its tasks: {', '.join(tasks)}. All others return their payload.\n")
    for run in runs:
        print(f"  {run.status:16} {run.id}")
    print("\nLet Airflow use it:\n")
    print(f"  export AIRFLOW_CONN_TRIGGER_DEV_DEFAULT='{json.dumps(connection)}'\n")
    print("Stop it with Ctrl+C.", flush=True)


@contextmanager
def _on_signal(function: Callable[[int], object]) -> Iterator[None]:
    """Call a function when the process is interrupted or terminated; afterwards its signals are as before."""
    before = {
        number: signal.signal(number, lambda number, _: function(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_trigger.testing",
        description="A local Trigger.dev server, to try Airflow on without an account.",
    )
    options: tuple[tuple[str, Callable[[str], object], object, str], ...] = (
        ("--host", str, settings.HOST, "the address to listen on"),
        ("--port", _port, settings.PORT, "the port, 0 for any free one"),
        ("--secret-key", str, default_key(settings.ENVIRONMENT), "the secret key"),
        ("--rate-limit", int, settings.RATE_LIMIT, "requests in a burst, 0 for no limit"),
        ("--latency", _seconds, settings.LATENCY, "seconds that every answer takes"),
        ("--speed", _speed, 1.0, "how many times as fast as usual runs execute, wait and expire"),
        ("--acknowledge-after", _seconds, settings.ACKNOWLEDGE_AFTER, "seconds to acknowledge a cancel"),
        ("--query-lag", _seconds, 0.0, "seconds that the query lags behind, about 1 on the real server"),
        ("--list-lag", _seconds, 0.0, "seconds that lists of runs lag behind, about 1 on the real server"),
    )
    for name, kind, default, text in options:
        parser.add_argument(name, type=kind, default=default, help=f"{text} (default: %(default)s)")
    parser.add_argument(
        "--tasks",
        metavar="FILE.py",
        help="a Python file with a dict: tasks = {identifier: function(payload) -> output}",
    )
    parser.add_argument(
        "--runs",
        nargs="*",
        type=_runs,
        default=[],
        metavar="STATUS[:COUNT]",
        help="runs to begin with, such as: EXECUTING:3 QUEUED COMPLETED",
    )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid port: must be a number from 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    return _number(text, "a number of seconds, at least 0", least=0.0)


def _speed(text: str) -> float:
    return _number(text, "a number from 0.001 to 1000000", least=0.001, most=1_000_000.0)


def _number(text: str, wanted: str, *, least: float, most: float = math.inf) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most or math.isinf(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not valid: must be {wanted}")
    return number


def _runs(text: str) -> tuple[str, int]:
    """Read ``EXECUTING`` or ``EXECUTING:3``."""
    status, _, count = text.upper().partition(":")
    if status not in ALIVE + FINAL:
        raise argparse.ArgumentTypeError(
            f"{text!r} does not start with a valid status: must be one of {', '.join(ALIVE + FINAL)}"
        )
    if count and not count.isdecimal():
        raise argparse.ArgumentTypeError(
            f"{text!r} does not end with a valid number of runs: must be like {status}:3"
        )
    return status, int(count or 1)


class RunLog:
    """Say what became of runs since it was last called."""

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


class TaskFileError(Exception):
    """A file of tasks that cannot be used; its text says what to write."""


def add_tasks(server: TriggerDevServer, path: str) -> list[str]:
    """Let a server have the tasks of a file, by their identifiers: functions, or arguments of ``on_task``."""
    tasks = _run(path).get("tasks")
    if not isinstance(tasks, dict):
        found = "does not define tasks" if tasks is None else f"defines tasks={tasks!r}, which is not a dict"
        raise TaskFileError(f"{path} {found}; {_HOW}")
    for identifier, task in tasks.items():
        try:
            server.on_task(_checked(identifier), **_behavior(task))
        except TypeError as error:
            text = str(error).replace("TaskScript.__init__() got an ", "")
            raise TaskFileError(f"{path}: tasks[{identifier!r}]: {text}; {_HOW}") from None
    return list(tasks)


def _run(path: str) -> Mapping[str, Any]:
    if not Path(path).is_file():
        raise TaskFileError(f"{path}: there is no such file; {_HOW}")
    try:
        return runpy.run_path(path)
    except Exception as error:  # whatever the file raises is its author's to see
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == path]
        line = error.lineno if isinstance(error, SyntaxError) else (lines[-1] if lines else None)
        place = path if line is None else f"{path}, line {line}"
        raise TaskFileError(f"{place}: {type(error).__name__}: {error}") from None


def _checked(identifier: object) -> str:
    if not isinstance(identifier, str) or not identifier:
        raise TypeError("not a valid identifier, must be a text")
    return identifier


def _behavior(task: Callable[[Any], Any] | dict[str, Any] | object) -> Any:
    if callable(task):
        return {"output": task}
    if isinstance(task, dict) and "times" not in task:
        return task
    raise TypeError("not a valid task, must be a function, or a dict with arguments of on_task, but times")


if __name__ == "__main__":
    main()
