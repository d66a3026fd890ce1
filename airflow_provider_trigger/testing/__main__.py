"""Run the local Trigger.dev server from the command line."""

from __future__ import annotations

import argparse
import errno
import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .engine import constants
from .engine.environments import default_key
from .engine.runs import ServerRun
from .engine.states import ALIVE, FINAL
from .run_log import RunLog
from .server import TriggerDevServer
from .task_file import TaskFileError, add_tasks

# Between two checks of what became of the runs, in seconds.
_PAUSE = 0.1


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Serve until the process is interrupted or terminated.

    :param arguments: the command line, without the program's name
    """
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
        ("--host", str, constants.HOST, "the address to listen on"),
        ("--port", _port, constants.PORT, "the port, 0 for any free one"),
        ("--secret-key", str, default_key(constants.ENVIRONMENT), "the secret key"),
        ("--rate-limit", int, constants.RATE_LIMIT, "requests in a burst, 0 for no limit"),
        ("--latency", _seconds, constants.LATENCY, "seconds that every answer takes"),
        ("--speed", _speed, 1.0, "how many times as fast as usual runs execute, wait and expire"),
        ("--acknowledge-after", _seconds, constants.ACKNOWLEDGE_AFTER, "seconds to acknowledge a cancel"),
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


if __name__ == "__main__":
    main()
